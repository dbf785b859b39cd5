"""Costs measured in a moment, whatever else the machine does."""

from __future__ import annotations

import math
from typing import Any

import pytest

HELD = {"empty_bytes": 500, "weights_bytes": 30, "activations_bytes": 7}


@pytest.fixture
def quick_costs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Take every machine for quiet, search only the smallest size, and start no process.

    Returns what the processes that measure memory would have been asked.
    """
    from bench.measure import alone, busy, sizes

    asked: list[Any] = []

    def measure(of: Any) -> dict[str, Any]:
        asked.append(of)
        return {"resident": dict(HELD), "device": None}

    monkeypatch.setattr(busy, "MOST", dict.fromkeys(busy.MOST, math.inf))
    monkeypatch.setattr(sizes, "BUDGET_S", {"sample": 0.0, "latency": 0.0})
    monkeypatch.setattr(alone, "measure", measure)
    return asked
