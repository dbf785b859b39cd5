"""Costs that were measured earlier: taken where nothing has changed, measured anew on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.describe import loading
from bench.measure import earlier
from bench.settings import Settings
from bench.store.matrix import from_array
from bench.system import machine
from bench.system.memory import Peaks


@pytest.fixture
def fresh() -> Any:
    """Return what measures, and counts how often it did."""

    class Fresh:
        count = 0

        def describing(self) -> earlier.Measured:
            self.count += 1
            latency = {"measure": "sample", "n": self.count}
            return earlier.Measured(latency, {"parameters": 1}, Peaks("cpu"))

        def search(self) -> dict[str, Any]:
            self.count += 1
            return {"queries": self.count}

    return Fresh()


def test_describing_is_measured_once_and_anew_with_the_option(workspace, fresh) -> None:
    method = loading.load("random-unit", None, "cpu")
    other = loading.load("random-unit", None, "cpu", Settings(batch_size=3))

    def cost(store: str, how: Any = "sample", of: Any = method) -> earlier.Measured:
        return earlier.of_describing(of, store, how, fresh.describing)

    first = cost("a")
    assert not first.earlier
    assert "measured" not in first.latency
    again = cost("a")
    assert again.earlier
    assert fresh.count == 1
    day = again.latency.pop("measured")
    assert len(day) == len("2026-01-31")
    assert again.latency == first.latency
    assert again.memory == first.memory
    assert cost("b").latency["n"] == 2, "other pixels or another method"
    assert cost("a", of=other).latency["n"] == 3, "other settings"
    assert cost("a", "latency").latency == {"measure": "sample", "n": 4}
    assert cost("a").latency["n"] == 4, "the newest"


def test_the_largest_peak_of_both_runs_is_the_peak(workspace, fresh) -> None:
    method = loading.load("random-unit", None, "cpu")
    large = Peaks("cpu", {"resident_bytes": 1 << 50})

    def measured() -> earlier.Measured:
        return earlier.Measured({}, {}, large)

    earlier.of_describing(method, "a", "sample", measured)
    found = earlier.of_describing(method, "a", "sample", measured)
    assert found.peaks.total()["resident_bytes"] == 1 << 50


def test_a_search_is_measured_once_where_a_store_names_the_rows(
    workspace, fresh, monkeypatch
) -> None:
    rows = np.eye(3, dtype=np.float32)

    def cost(key: str | None, depth: int = 2, how: Any = "sample") -> dict[str, Any]:
        parts, queries = [from_array(rows, "d", key)], [from_array(rows[:1], "q", "q")]
        return earlier.of_search(parts, queries, depth, 1 << 20, None, how, fresh.search)

    assert cost("a") == {"measure": "sample", "queries": 1}
    again = cost("a")
    assert again.pop("measured").startswith("20")
    assert again == {"measure": "sample", "queries": 1}
    assert cost("a", depth=3)["queries"] == 2
    assert cost("a", how="latency") == {"measure": "latency", "queries": 3}
    assert cost("a")["queries"] == 3
    assert cost(None)["queries"] == 4
    assert cost(None)["queries"] == 5, "brought rows have no name"
    about = machine.describe(None)
    monkeypatch.setattr(machine, "describe", lambda device: {**about, "processor": "another"})
    assert cost("a")["queries"] == 6, "another machine"
    monkeypatch.setattr(
        machine, "describe", lambda device: {**about, "processor": "another", "processor_mhz": 1}
    )
    assert cost("a")["queries"] == 6, "its clock of the moment is not"


@pytest.mark.parametrize("how", ["sample", "latency"])
def test_figures_of_a_busy_machine_are_replaced_by_the_same_command(
    workspace, fresh, how: Any
) -> None:
    method = loading.load("random-unit", None, "cpu")

    def busy() -> earlier.Measured:
        made = fresh.describing()
        return earlier.Measured({**made.latency, "busy": ["waited"]}, made.memory, made.peaks)

    def cost(by: Any, how: Any = "sample") -> dict[str, Any]:
        return earlier.of_describing(method, "a", how, by).latency

    assert cost(busy, how) == {"measure": "sample", "n": 1, "busy": ["waited"]}
    assert cost(busy)["n"] == 2, "not kept, so measured again"
    good = cost(fresh.describing)
    assert good["n"] == 3
    assert cost(busy)["n"] == 3, "kept"
    assert cost(busy, "latency")["busy"] == ["waited"]
    assert cost(busy)["n"] == 3, "what was good stays"


@pytest.mark.slow
def test_a_run_measures_once(workspace, cli, tiny: Path, quick_costs) -> None:
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu",
             "--limit", "40", "--measure")  # fmt: skip
    assert "measure:" in cli(*arguments, "sample").err
    result = cli(*arguments, "sample")
    assert "measure" not in result.err
    assert "measured 20" in result.out
    assert "measure:" in cli(*arguments, "latency").err
