"""Searches at stated sizes: rows as the run's are stored, and a reason for what is not measured."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.measure import sizes, timing
from bench.measure.timing import Effort
from bench.store.matrix import Matrix, from_array, read
from bench.system import memory

QUERY = np.eye(1, 4)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    effort = Effort(things=3, rounds=3, budget_s=0.1, round_s=0.0)
    monkeypatch.setattr(timing, "EFFORTS", {"sample": effort, "latency": effort})
    monkeypatch.setattr(sizes, "SIZES", (10, 100, 1000))


def rows(dim: int, kind: Any = np.float32) -> Matrix:
    return from_array(np.ones((3, dim), dtype=kind), "rows")


def measured(like: Matrix, build: Any) -> list[dict[str, Any]]:
    return sizes.measure(like, [np.ones((1, like.shape[1]))] * 3, "sample", build)


def test_every_size_is_built_and_searched() -> None:
    built: list[tuple[int, int]] = []
    asked: list[Any] = []

    def build(parts: list[Matrix]) -> Any:
        built.append(parts[0].shape)
        return asked.append

    text = measured(rows(4), build)
    assert built == [(10, 4), (100, 4), (1000, 4)]
    assert [item["rows"] for item in text] == [10, 100, 1000]
    for item in text:
        assert item["ms_per_query"]["rounds"] == 3
        assert isinstance(item["busy"], list)
    assert {query.shape for query in asked} == {(1, 4)}


@pytest.mark.parametrize("dim", [3, 96])
def test_rows_are_drawn_of_unit_length_and_none_twice(dim: int, monkeypatch) -> None:
    monkeypatch.setattr(sizes, "BLOCK", 50)
    made = read([sizes.drawn(rows(dim), 333)], 0, 333)
    assert made.shape == (333, dim)
    assert made.dtype == np.float32
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    assert len(np.unique(made, axis=0)) == 333
    off = made[:200] @ made[200:].T
    assert abs(off.mean()) < 0.05, "blocks point anywhere, not where another does"
    assert sizes.drawn(rows(dim, np.float64), 5).dtype() == np.float64
    assert sizes.drawn(rows(dim, np.float16), 5).row_bytes() == 2 * dim


def test_codes_are_drawn_bytes_that_the_decoder_of_the_run_decodes() -> None:
    codes = np.zeros((2, 6), dtype=np.uint8)
    like = Matrix("codes", (2, 3), array=codes, decode=lambda c: c[:, :3].astype(np.float32))
    made = sizes.drawn(like, 1000)
    assert made.shape == (1000, 3)
    assert made.row_bytes() == 6
    assert made.stored().dtype == np.uint8
    values = read([made], 0, 1000)
    assert 100 < values.mean() < 155
    assert len(np.unique(made.stored(), axis=0)) == 1000


def test_what_takes_too_much_memory_has_a_reason(monkeypatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * 1600 + 1)
    text = measured(rows(4), lambda parts: lambda query: None)
    assert [item.get("reason") for item in text] == [None, None, "memory"]
    assert text[2] == {"rows": 1000, "ms_per_query": None, "reason": "memory"}


def test_what_would_take_too_long_has_a_reason(monkeypatch) -> None:
    monkeypatch.setattr(sizes, "BUDGET_S", {"sample": 0.2})

    def build(parts: list[Matrix]) -> Any:
        time.sleep(0.05)  # so ten times as many rows would take half a second
        return lambda query: None

    text = measured(rows(4), build)
    assert [item.get("reason") for item in text] == [None, "time", "time"]


def test_what_an_index_refuses_is_the_reason() -> None:
    def build(parts: list[Matrix]) -> Any:
        raise BenchError("16 lists for 10 rows")

    text = measured(rows(4), build)
    assert {item["reason"] for item in text} == {"16 lists for 10 rows"}
