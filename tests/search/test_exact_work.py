"""How much work a search does, at the shapes of the field in small, and inputs that try its bounds.

Counted are rows scored in float64, rows read, and calls made for a block: nothing gets slow unseen.
"""

from __future__ import annotations

import threading
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench.search import areas, block, count, exact, pairs
from bench.store.matrix import from_array
from bench.types import Areas
from tests.support.exact import check, find, rows_of, unit

# Database, dimension, queries, labelled rows of a query, list: each of the field's, cut down.
SHAPES = {
    "Pitts30k": (1250, 512, 852, 5, 12),
    "Nordland": (3449, 64, 3449, 3, 12),
    "GLDv2": (6250, 64, 141, 5, 12),
    "SF-XL": (9000, 64, 50, 30, 12),
    "ROxford+R1M": (9000, 128, 70, 98, 12),
    "queries alone": (3000, 64, 40, 0, 12),
    "one label": (3000, 64, 40, 1, 12),
    "many labels": (9000, 64, 3, 2000, 12),
    "no list": (3000, 64, 40, 5, 0),
    "Tokyo 24/7": (7600, 64, 31, 40, 120),  # a list of ten times the largest group of cut-outs
}


def drawn(shape: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], int]:
    """Return database, queries, labelled rows anywhere among all others, and the list's length."""
    n, dim, n_queries, labels, depth = SHAPES[shape]
    draw = np.random.default_rng(1)
    database = unit(draw.standard_normal((n, dim))).astype(np.float32)
    queries = unit(draw.standard_normal((n_queries, dim))).astype(np.float32)
    labelled = [np.sort(draw.choice(n, labels, replace=False)) for _ in queries]
    return database, queries, labelled, depth


class Work:
    """Counts, by function, what is asked for: pairs to score, rows to read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        true, stored = pairs.pair_scores, block.read
        for module in (pairs, block):
            name = module.__name__

            def score(rows: Any, at: Any, *rest: Any, name: str = name) -> Any:
                self.pairs[name] = self.pairs.get(name, 0) + len(at)
                return true(rows, at, *rest)

            def read(parts: Any, low: int, high: int, *rest: Any, name: str = name) -> Any:
                self.rows[name] = self.rows.get(name, 0) + high - low
                return stored(parts, low, high, *rest)

            monkeypatch.setattr(module, "pair_scores", score)
            monkeypatch.setattr(module, "read", read)


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_scored_in_float64_and_rows_read(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database, queries, labelled, depth = drawn(shape)
    work = Work(monkeypatch)
    find(database, queries, labelled, depth, threads=1)
    labels = sum(map(len, labelled))
    assert work.rows["bench.search.block"] == len(database), "one pass"
    assert work.rows.get("bench.search.pairs", 0) <= 2 * len(database), "labels, and lists"
    listed = work.pairs["bench.search.pairs"] - labels
    assert len(queries) * depth <= listed <= len(queries) * depth * 1.02
    assert work.pairs.get("bench.search.block", 0) <= 0.2 * labels, "near a labelled score"


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("distractors", [0, 2500])
def test_types_and_distractors_add_no_work(
    stored: type, distractors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, queries, labelled, depth = drawn("Pitts30k")
    more = unit(np.random.default_rng(8).standard_normal((distractors, database.shape[1])))
    parts = [rows.astype(stored) for rows in (database, more) if len(rows)]
    work = Work(monkeypatch)
    find(parts, queries, labelled, depth, threads=1)
    total, labels = len(database) + distractors, sum(map(len, labelled))
    assert work.rows["bench.search.block"] == total, "one pass"
    assert work.rows.get("bench.search.pairs", 0) <= 2 * total, "labels, and lists"
    listed = work.pairs["bench.search.pairs"] - labels
    assert len(queries) * depth <= listed <= len(queries) * depth * 1.02
    assert work.pairs.get("bench.search.block", 0) <= 0.2 * labels, "near a labelled score"


def test_an_area_is_read_once_for_its_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """As MSLS is searched: city by city, and distractors once for each."""
    draw = np.random.default_rng(9)
    cities, at = np.sort(draw.integers(0, 6, 5000)), np.sort(draw.integers(0, 6, 300))
    parts = [from_array(unit(draw.standard_normal((n, 32))), "rows") for n in (5000, 700)]
    labelled = [
        np.sort(draw.choice(np.flatnonzero(cities == city), 7, replace=False)) for city in at
    ]
    queries = unit(draw.standard_normal((300, 32)))
    work = Work(monkeypatch)
    for job in areas.jobs(Areas(cities, at), parts, labelled):
        exact.search(job.parts, queries[job.queries], job.labelled, 12, threads=1)
    assert work.rows["bench.search.block"] == 5000 + 6 * 700
    assert work.pairs["bench.search.pairs"] <= 300 * (7 + 12 * 1.02)


@pytest.mark.parametrize("dim", [16, 700, 5000])
def test_pairs_are_scored_in_pieces_of_many(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one query where it has many pairs, else of several: never pair by pair."""
    draw, seen = np.random.default_rng(10), list[int]()
    rows, queries = draw.standard_normal((40, dim)), draw.standard_normal((9, dim))
    at, of = draw.integers(0, 40, 9 * 70), np.repeat(np.arange(9), 70)
    monkeypatch.setattr(pairs, "PAIR_NUMBERS", 10 * dim)
    pieces = pairs._runs

    def runs(of: Any, step: int) -> Any:
        out = pieces(of, step)
        seen.extend(high - low for low, high in out)
        return out

    monkeypatch.setattr(pairs, "_runs", runs)
    whole = pairs.pair_scores(rows, at, queries, of)
    mixed = draw.permutation(len(at))
    assert seen == [10] * 63
    assert np.array_equal(pairs.pair_scores(rows, at[mixed], queries, of[mixed]), whole[mixed])
    assert np.array_equal(whole, (rows[at] * queries[of]).sum(axis=1))


@pytest.mark.parametrize(("labels", "depth"), [(0, 12), (5, 12), (60, 12), (5, 0)])
def test_calls_for_a_block_do_not_grow_with_its_queries(labels: int, depth: int) -> None:
    """But for those on every 131,072 scores, which would make 2 ms of matrix product."""
    calls = {n_queries: calls_of_a_search(n_queries, labels, depth) for n_queries in (15, 60, 240)}
    assert calls[60] - calls[15] <= 8 * 60, calls
    assert calls[240] <= 8 * 70 * (1 + 240 * 2048 / count.LOOKED_AT), calls


def calls_of_a_search(n_queries: int, labels: int, depth: int) -> int:
    """Return how many functions, Python's and numpy's, a search of 8 blocks calls."""
    draw = np.random.default_rng(2)
    database = unit(draw.standard_normal((8 * 2048, 16))).astype(np.float32)
    queries = unit(draw.standard_normal((n_queries, 16))).astype(np.float32)
    labelled = [np.sort(draw.choice(len(database), labels, replace=False)) for _ in queries]
    count = 0

    def called(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call") and frame.f_code.co_filename.endswith(
            ("search/block.py", "search/count.py", "search/listing.py", "search/pairs.py")
        )

    threading.setprofile(called)
    try:
        find(database, queries, labelled, depth, threads=1)
    finally:
        threading.setprofile(None)
    assert count, "the files are named here as they are"
    return count


def test_every_query_of_a_plan_is_searched_once() -> None:
    sizes = np.random.default_rng(3).integers(0, 300, 500)
    parts = [block.Matrix("x", (10_000, 64), array=np.ones((1, 64), np.float32))]
    labelled = rows_of(*(range(size) for size in sizes))
    for mib in (1, 4, 16, 256):
        plan = exact._plan(parts, labelled, 100, mib << 20)
        searched = np.concatenate([plan.order[group] for group in plan.groups])
        assert np.array_equal(np.sort(searched), np.arange(500))
        assert len(plan.groups) == exact.passes(parts, labelled, 100, mib << 20)
    assert len(plan.groups) == 1


# --- inputs that try the bounds -----------------------------------------------------------------


@pytest.mark.parametrize("step", [1e-9, 1e-8, 6e-8, 1e-7, 1e-6, 1e-5])
@pytest.mark.parametrize("labels", [3, 400])
def test_scores_that_differ_by_less_than_float32_can_tell(
    oracle: ModuleType, step: float, labels: int
) -> None:
    """By comparison and by sorting; rows are float64, where such differences can be stored."""
    draw = np.random.default_rng(4)
    query = unit(draw.standard_normal((1, 24)))
    across = draw.standard_normal((900, 24))
    across -= (across @ query[0])[:, None] * query
    database = unit(across) + (0.3 + step * draw.permutation(900))[:, None] * query
    labelled = rows_of(draw.choice(900, labels, replace=False), [])
    queries = np.concatenate([query, unit(draw.standard_normal((1, 24)))])
    check(oracle, database, queries, labelled, 40)
    check(oracle, database, queries, labelled, 40, memory_bytes=1)


@pytest.mark.parametrize("size", [1e-300, 1e-38, 1e-10, 1.0, 1e10, 1e38, 1e150])
@pytest.mark.parametrize("norm", [1e-18, 1.0, 1e18])
def test_queries_and_rows_of_any_size(oracle: ModuleType, size: float, norm: float) -> None:
    """Products that float32 could not hold, and numbers far below a row's norm."""
    draw = np.random.default_rng(5)
    database = unit(draw.standard_normal((300, 8)))
    database[:, 0] *= 1e-9
    queries = unit(draw.standard_normal((2, 8)))
    check(oracle, (norm * database).astype(np.float32), size * queries, rows_of([2, 9], [7]), 20)


@pytest.mark.parametrize("kinds", [1, 2, 40])
def test_thousands_of_equal_rows_in_every_block(
    oracle: ModuleType, kinds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(6)
    monkeypatch.setattr(exact.kinds, "few", lambda parts: None)
    few = unit(draw.standard_normal((kinds, 16))).astype(np.float16)
    database = few[draw.integers(0, kinds, 3000)]
    labelled = rows_of([0, 2999], range(0, 3000, 50), [], range(1000, 1100))
    queries = unit(draw.standard_normal((4, 16)))
    work = Work(monkeypatch)
    check(oracle, database, queries, labelled, 30)
    assert work.pairs["bench.search.block"] < 4 * 3000, "equal rows are scored once"
    for threads, memory in ((1, 1), (3, 1 << 20)):
        check(oracle, database, queries, labelled, 30, threads=threads, memory_bytes=memory)


@pytest.mark.parametrize("compared", [0, 1000])
def test_sorted_or_compared_the_counts_are_the_same(
    oracle: ModuleType, compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count, "MOST_COMPARED", compared)
    draw = np.random.default_rng(7)
    database = draw.integers(-2, 3, (700, 4)) + np.where(draw.random((700, 4)) < 0.5, 0, 2.0**-27)
    database[~database.any(axis=1)] = 1
    queries = draw.integers(-2, 3, (5, 4)) + 0.5
    labelled = rows_of(*(draw.integers(0, 700, size) for size in (0, 1, 7, 90, 600)))
    check(oracle, database, queries, labelled, 30)
    check(oracle, database.astype(np.float32), queries, labelled, 30, memory_bytes=1)
