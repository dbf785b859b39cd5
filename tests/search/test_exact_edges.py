"""The exact search in little memory, at its edges, and rows that are no descriptors."""

from __future__ import annotations

import re
import tracemalloc
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.search import block, exact, pairs
from bench.store.matrix import blocks, from_array, row_name, take
from tests.support.exact import check, find, random_data, rows_of, unit

# --- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 16, 200])
@pytest.mark.parametrize("budget", [4 << 20, 64 << 20, 1 << 30])
@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
def test_blocks_in_work_fit_into_the_budget(threads: int, budget: int, stored: Any) -> None:
    parts = [from_array(np.ones((9000, 256), stored), "x")]
    labelled = rows_of(*[range(100)] * 70)
    plan = exact._plan(parts, labelled, 100, budget, threads)
    each = plan.rows * (256 * np.dtype(stored).itemsize + (256 * 4 if stored != np.float32 else 0))
    assert plan.threads * each <= budget / 2
    assert plan.threads <= threads
    assert plan.rows >= block.LEAST_BLOCK
    most = max(group.stop - group.start for group in plan.groups)
    assert most * (100 * exact.LABEL_BYTES + 16 * 5 * 100) <= budget / 2
    assert plan.threads * plan.tile * plan.rows * 4 <= budget / 2
    assert exact.passes(parts, labelled, 100, budget) == len(plan.groups)


@pytest.mark.slow
def test_little_memory_makes_smaller_blocks_before_it_makes_more_passes() -> None:
    parts = [from_array(np.ones((100_000, 4096), np.float16), "x")]
    labelled = rows_of(*[range(5)] * 70)
    rows = {}
    for mib in (16, 64, 256):
        assert exact.passes(parts, labelled, 100, mib << 20) == 1
        rows[mib] = exact._plan(parts, labelled, 100, mib << 20, 1).rows
    assert rows[16] < rows[64] < rows[256]


def test_no_query_asks_for_nothing() -> None:
    found = find(np.ones((3, 2), np.float32), np.empty((0, 2)), [], 2)
    assert found.ranks.offsets.tolist() == [0]
    assert found.shortlist.row.shape == (0, 2)


@pytest.mark.parametrize("budget", [8 << 20, 32 << 20])
def test_what_a_search_allocates_fits_into_the_budget(budget: int) -> None:
    """Many labelled rows and long lists; parts so small that every block is a copy."""
    draw = np.random.default_rng(25)
    database = unit(draw.standard_normal((40_000, 64))).astype(np.float32)
    parts = [from_array(part, str(i)) for i, part in enumerate(np.split(database, 400))]
    queries = database[:40].astype(np.float64)
    labelled = rows_of(*(draw.integers(0, 40_000, 500) for _ in queries))
    tracemalloc.start()
    exact.search(parts, queries, labelled, 300, budget, threads=8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < budget


def test_queries_in_another_order_or_alone_get_the_same_answer() -> None:
    draw = np.random.default_rng(10)
    database = random_data("duplicates", draw, 500, 16).astype(np.float32)
    queries = unit(draw.standard_normal((5, 16)))
    labelled = rows_of(*(draw.integers(0, 500, 20) for _ in queries))
    together = find(database, queries, labelled, 10)
    for i in range(5):
        alone = find(database, queries[i : i + 1], labelled[i : i + 1], 10)
        part = together.ranks.of_query(i)
        assert alone.ranks.rank.tolist() == together.ranks.rank[part].tolist()
        assert alone.ranks.score.tolist() == together.ranks.score[part].tolist()
        assert alone.shortlist.row[0].tolist() == together.shortlist.row[i].tolist()


def test_a_score_is_the_same_wherever_its_row_stands() -> None:
    draw = np.random.default_rng(11)
    for dim in (1, 3, 8, 127, 128, 129, 1000, 2048):
        rows = draw.standard_normal((2100, dim)).astype(np.float32)
        query = draw.standard_normal(dim)
        together = pairs.exact_scores(rows, query)
        for row in (0, 1, 7, 127, 128, 129, 1023, 1024, 2099):
            assert pairs.exact_scores(rows[row : row + 1], query)[0] == together[row]


def test_progress_counts_every_row_once_per_pass() -> None:
    database = np.random.default_rng(0).standard_normal((900, 4)).astype(np.float32)
    parts = [from_array(database, "rows")]
    queries = database[:9].astype(np.float64)
    labelled = rows_of(*[range(i, 900, 9) for i in range(9)])
    for memory_bytes in (1, 1 << 28):
        seen: list[int] = []
        find(database, queries, labelled, 5, memory_bytes=memory_bytes, advance=seen.append)
        assert sum(seen) == 900 * exact.passes(parts, labelled, 5, memory_bytes)


# --- edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 39, 40, 41, 10**9])
def test_the_shortlist_is_cut_to_the_number_of_rows(oracle: ModuleType, depth: int) -> None:
    draw = np.random.default_rng(12)
    database = random_data("duplicates", draw, 40, 4).astype(np.float32)
    check(oracle, database, database[:2], rows_of([1, 2], []), min(depth, 40))
    found = find(database, database[:2], rows_of([1, 2], []), depth)
    assert found.shortlist.row.shape == (2, min(depth, 40))


def test_one_row_and_one_dimension() -> None:
    found = find(np.array([[2.0]], np.float32), [[-3.0]], rows_of([0]), 100)
    assert found.ranks.rank.tolist() == [0]
    assert found.shortlist.row.tolist() == [[0]]
    assert found.shortlist.score.tolist() == [[-6.0]]


def test_no_labelled_rows_at_all_still_gives_a_shortlist(oracle: ModuleType) -> None:
    database = np.random.default_rng(13).standard_normal((50, 6)).astype(np.float32)
    check(oracle, database, database[:3], rows_of([], [], []), 9)


def test_a_shortlist_full_of_ties_takes_the_first_rows() -> None:
    database = np.ones((9000, 4), np.float32)
    found = find(database, np.ones((1, 4)), rows_of([8999]), 7, memory_bytes=1)
    assert found.shortlist.row.tolist() == [list(range(7))]
    assert found.ranks.rank.tolist() == [8999]
    assert found.ranks.tied.tolist() == [8999]


# --- rows that are no descriptors ---------------------------------------------------------------

BAD = {
    "contains NaN": np.nan,
    "contains infinity": np.inf,
    "is all zeros": 0.0,
    "has a norm of 2e\\+25, outside the range of float32": 1e25,
    "has a norm of 2e-30, outside the range of float32": 1e-30,
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("labelled", [[], [3], [299], [0, 310, 311, 312, 599]])
@pytest.mark.parametrize("stored", [np.float32, np.float64])
def test_a_bad_row_is_named_by_file_and_row(what: str, labelled, stored) -> None:
    """Also in the second and third file, whether labelled, sampled or neither."""
    draw = np.random.default_rng(14)
    clean = draw.standard_normal((600, 4)).astype(stored)
    for bad, name in ((299, "row 299 of a.npy"), (311, "row 11 of b.npy"), (599, "row 0 of c.npy")):
        database = clean.copy()
        database[bad] = BAD[what]
        database[min(bad + 1, 599) :, 0] = np.nan if bad < 599 else database[599:, 0]
        cuts = (database[:300], database[300:599], database[599:])
        parts = [
            from_array(part, label)
            for part, label in zip(cuts, ("a.npy", "b.npy", "c.npy"), strict=True)
        ]
        for memory_bytes in (1, 1 << 28):
            with pytest.raises(BenchError, match=rf"^{re.escape(name)} {what}; "):
                find(parts, clean[:1], rows_of(labelled), 5, memory_bytes=memory_bytes)


def test_a_row_name_is_its_part_and_its_row_there() -> None:
    parts = [from_array(np.ones((n, 2)), f"p{n}") for n in (3, 1, 5)]
    assert [row_name(parts, row) for row in (0, 2, 3, 4, 8)] == [
        "row 0 of p3", "row 2 of p3", "row 0 of p1", "row 0 of p5", "row 4 of p5",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0), (2, 2, 2), ()])
def test_only_a_matrix_holds_descriptors(shape) -> None:
    with pytest.raises(BenchError, match="x: descriptors must be a matrix"):
        from_array(np.ones(shape), "x")


@pytest.mark.parametrize("stored", [np.int64, np.uint8, np.complex64, np.bool_, "U3", object])
def test_only_floats_are_descriptors(stored) -> None:
    with pytest.raises(BenchError, match="x: descriptors must be floating-point"):
        from_array(np.ones((2, 2)).astype(stored), "x")


def test_blocks_and_rows_of_several_parts() -> None:
    whole = np.arange(22.0).reshape(11, 2)
    parts = [from_array(whole[:4], "a"), from_array(whole[4:5], "b"), from_array(whole[5:], "c")]
    for size in (1, 2, 3, 100):
        starts, pieces = zip(*blocks(parts, size), strict=True)
        assert np.array_equal(np.concatenate(pieces), whole)
        assert list(starts) == np.cumsum([0, *map(len, pieces)])[:-1].tolist()
    rows = np.array([10, 0, 4, 4, 3, 5])
    assert np.array_equal(take(parts, rows), whole[rows])
