"""The report: its modules live in the top-level folder `report/`, e.g. `bench.report.build`."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
__path__ = [str(ROOT / "report")]
