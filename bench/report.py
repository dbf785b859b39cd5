"""The report: its modules live in the top-level folder `report/`, e.g. `bench.report.build`."""

from __future__ import annotations

from bench.root import ROOT

__path__ = [str(ROOT / "report")]
