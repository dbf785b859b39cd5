"""The search: exact ranks of labelled rows and a shortlist, against a full ranking by sorting."""

from __future__ import annotations

import itertools
import math
import re
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import counting, piece, search
from bench.descriptors import Matrix, blocks, from_array, read, row_name, take
from bench.errors import BenchError

SAMPLED = piece.SAMPLE_ROWS


def unit(rows: np.ndarray) -> np.ndarray:
    """Bring rows to unit norm."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def rows_of(*rows: Sequence[int]) -> list[np.ndarray]:
    """Return lists of labelled rows as the search takes them."""
    return [np.array(sorted(set(r)), dtype=np.int64) for r in rows]


def find(database: Any, queries: Any, labelled: Any, depth: int, **options: Any) -> search.Found:
    """Search an array, or a list of arrays as parts; warnings are errors here."""
    parts = database if isinstance(database, list) else [database]
    wrapped = [
        p if isinstance(p, Matrix) else from_array(p, f"part{i}") for i, p in enumerate(parts)
    ]
    return search.search(wrapped, np.asarray(queries, np.float64), labelled, depth, **options)


def check(oracle: ModuleType, database, queries, labelled, depth: int, **options: Any) -> None:
    """Compare a search with the oracle: ranks, scores, ties and shortlist."""
    found = find(database, queries, labelled, depth, **options)
    whole = np.concatenate(database) if isinstance(database, list) else database
    for i, query in enumerate(np.asarray(queries, np.float64)):
        scores = oracle.scores(whole, query)
        listed = oracle.ranking(scores)
        place = {row: at for at, row in enumerate(listed)}
        part = found.ranks.of_query(i)
        assert found.ranks.row[part].tolist() == labelled[i].tolist()
        assert found.ranks.rank[part].tolist() == [place[row] for row in labelled[i]]
        assert found.ranks.tied[part].tolist() == [scores.count(scores[r]) - 1 for r in labelled[i]]
        size = max(map(abs, scores))
        expected = [scores[row] for row in labelled[i]]
        assert found.ranks.score[part] == pytest.approx(expected, abs=1e-13 * size)
        assert found.shortlist.row[i].tolist() == listed[:depth]
        in_list = [scores[row] for row in listed[:depth]]
        assert found.shortlist.score[i] == pytest.approx(in_list, abs=1e-13 * size)


def same(one: search.Found, other: search.Found) -> None:
    """Check that two answers are equal to the last bit."""
    for name in ("offsets", "row", "rank", "score", "tied"):
        assert np.array_equal(getattr(one.ranks, name), getattr(other.ranks, name)), name
    assert np.array_equal(one.shortlist.row, other.shortlist.row)
    assert np.array_equal(one.shortlist.score, other.shortlist.score)


# --- by hand ------------------------------------------------------------------------------------


def test_four_rows_worked_by_hand() -> None:
    database = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.5]], np.float32)
    found = find(database, [[1.0, 0.0]], rows_of([0, 2, 3]), 3)
    assert found.ranks.offsets.tolist() == [0, 3]
    assert found.ranks.row.tolist() == [0, 2, 3]
    assert found.ranks.rank.tolist() == [2, 1, 3], "rows 1 and 2 are equal: row 1 comes first"
    assert found.ranks.score.tolist() == [0.0, 1.0, -1.0]
    assert found.ranks.tied.tolist() == [0, 1, 0]
    assert found.shortlist.row.tolist() == [[1, 2, 0]]
    assert found.shortlist.score.tolist() == [[1.0, 1.0, 0.0]]
    assert found.norms == pytest.approx((1.0, math.hypot(1, 0.5)))


def test_types_and_shapes_are_those_that_the_record_keeps() -> None:
    found = find(np.eye(4, dtype=np.float32), np.eye(4)[:2], rows_of([1], []), 3)
    ranks = found.ranks
    for array in (ranks.offsets, ranks.row, ranks.rank, ranks.tied, found.shortlist.row):
        assert array.dtype == np.int64
    assert ranks.score.dtype == found.shortlist.score.dtype == np.float64
    assert found.shortlist.row.shape == found.shortlist.score.shape == (2, 3)


# --- against the oracle -------------------------------------------------------------------------


def random_data(kind: str, draw: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """Return rows of one of the kinds that descriptors come in."""
    rows = unit(draw.standard_normal((n, dim)))
    if kind == "duplicates":
        rows = rows[draw.integers(0, max(1, n // 4), n)]
    elif kind == "quantised":
        rows = np.round(rows * 2 * math.sqrt(dim)) + (np.arange(dim) == 0)
        rows[~rows.any(axis=1), 0] = 1
    elif kind == "norms":
        rows = rows * 10.0 ** draw.integers(-6, 7, (n, 1))
    elif kind == "equal":
        rows = np.repeat(rows[:1], n, axis=0)
    elif kind == "non-negative":
        rows = unit(np.abs(rows))
    elif kind == "one direction":
        rows = unit(1 + 1e-4 * draw.standard_normal((n, dim)))
    return rows


KINDS = ("random", "duplicates", "quantised", "norms", "equal", "non-negative", "one direction")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", ["float16", "float32", "float64"])
def test_every_kind_of_rows_in_every_type(oracle: ModuleType, kind: str, stored: str) -> None:
    draw = np.random.default_rng(KINDS.index(kind))
    if kind == "norms" and stored == "float16":
        pytest.skip("float16 cannot hold such norms")
    database = random_data(kind, draw, 330, 12).astype(stored)
    queries = random_data(kind, draw, 3, 12).astype(np.float32)
    labelled = rows_of(draw.integers(0, 330, 40), [], [0, 329])
    check(oracle, database, queries, labelled, 25)
    cut = [database[:1], database[1:150], database[150:151], database[151:]]
    check(oracle, cut, queries, labelled, 25, memory_bytes=1)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_small_integers_where_everything_ties(oracle: ModuleType, data) -> None:
    n, dim = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    numbers = st.lists(st.integers(-2, 2), min_size=dim, max_size=dim).filter(any)
    database = np.array(data.draw(st.lists(numbers, min_size=n, max_size=n)), np.float32)
    queries = data.draw(st.lists(numbers, min_size=1, max_size=3))
    labelled = rows_of(*(data.draw(st.sets(st.integers(0, n - 1))) for _ in queries))
    depth = data.draw(st.integers(0, n))
    at = data.draw(st.integers(0, n))
    parts = [part for part in (database[:at], database[at:]) if len(part)]
    check(oracle, parts, queries, labelled, depth)


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 513])
def test_sizes_around_a_block(oracle: ModuleType, n: int) -> None:
    draw = np.random.default_rng(n)
    database = unit(draw.standard_normal((n, 5))).astype(np.float32)
    check(oracle, database, database[:2], rows_of(*[[0, n // 2, n - 1]] * min(n, 2)), n,
          memory_bytes=1)  # fmt: skip


@pytest.mark.parametrize("dim", [1, 2, 7, 129, 4096])
def test_dimensions(oracle: ModuleType, dim: int) -> None:
    draw = np.random.default_rng(dim)
    database = draw.standard_normal((60, dim)).astype(np.float32)
    check(oracle, database, draw.standard_normal((2, dim)), rows_of(range(60), [3]), 60)


def test_every_row_may_be_labelled(oracle: ModuleType) -> None:
    draw = np.random.default_rng(0)
    database = random_data("duplicates", draw, 300, 6).astype(np.float32)
    check(oracle, database, database[:1], rows_of(range(300)), 300, memory_bytes=1)


# --- near ties ----------------------------------------------------------------------------------


def test_rows_that_differ_by_one_unit_in_the_last_place(oracle: ModuleType) -> None:
    """Float32 products cannot order these; float64 can, and one end of the data is labelled."""
    draw = np.random.default_rng(2)
    base = unit(draw.standard_normal((1, 48))).astype(np.float32)
    database = np.repeat(base, 600, axis=0)
    for row in range(600):
        column = row % 48
        steps = draw.integers(-2, 3)
        for _ in range(abs(steps)):
            database[row, column] = np.nextafter(
                database[row, column], np.float32(math.copysign(9, steps))
            )
    queries = np.concatenate([base, unit(draw.standard_normal((1, 48)))])
    check(oracle, database, queries, rows_of(range(0, 600, 7), range(100)), 50)
    check(oracle, database, queries, rows_of([300], [5]), 50, memory_bytes=1)


def test_rows_just_above_and_below_a_labelled_one(oracle: ModuleType) -> None:
    draw = np.random.default_rng(3)
    query = unit(draw.standard_normal((1, 64)))
    labelled_row = unit(draw.standard_normal((1, 64))).astype(np.float32)
    database = np.repeat(labelled_row, 400, axis=0)
    toward = np.where(query > 0, np.float32(9), np.float32(-9))
    database[:150] = np.nextafter(database[:150], toward)  # beaten by none of the others
    database[250:] = np.nextafter(database[250:], -toward)
    found = find(database, query, rows_of([200]), 400)
    assert found.ranks.rank.tolist() == [200]
    assert found.ranks.tied.tolist() == [99]
    check(oracle, database, query, rows_of([200]), 160)


def test_biased_rounding_that_no_sampled_row_shows() -> None:
    """All sampled rows multiply without error; the others add up 4096 like-signed roundings."""
    draw = np.random.default_rng(4)
    n, dim = 2 * SAMPLED, 4096
    database = np.zeros((n, dim), np.float32)
    sampled = np.linspace(0, n - 1, SAMPLED).astype(int)
    database[sampled, sampled % dim] = 1
    others = np.setdiff1d(np.arange(n), sampled)
    dense = 1 + 1e-4 * draw.standard_normal((len(others), dim), dtype=np.float32)
    database[others] = unit(dense).astype(np.float32)
    query = unit(1 + 1e-4 * draw.standard_normal((1, dim))).astype(np.float32).astype(np.float64)
    scores = counting.exact_scores(database, query[0])
    target = sampled[100]
    database[target] = 0
    database[target, 9] = np.median(scores[others]) / query[0, 9]
    scores = counting.exact_scores(database, query[0])
    order = np.lexsort((np.arange(n), -scores))
    found = find(database, query, rows_of([target]), 30)
    assert found.ranks.rank.tolist() == np.flatnonzero(order == target).tolist()
    assert found.shortlist.row[0].tolist() == order[:30].tolist()


# --- norms --------------------------------------------------------------------------------------


def test_one_huge_row_that_no_sample_sees_does_not_lose_its_place() -> None:
    """Its fast score lies under the floor of the list by rounding alone; its true one above."""
    n, dim, hidden = 6000, 32, 3001
    assert hidden not in np.linspace(0, n - 1, SAMPLED).astype(np.int64)
    tried = 0
    for seed in range(6):
        draw = np.random.default_rng(seed)
        database = unit(draw.standard_normal((n, dim))).astype(np.float32)
        query = unit(draw.standard_normal((1, dim)))
        best = np.sort(counting.exact_scores(database, query[0]))
        for _ in range(3000):
            across = draw.standard_normal(dim)
            across -= across @ query[0] * query[0]
            row = (2e7 * across / np.linalg.norm(across) + best[-3] * query[0]).astype(np.float32)
            fast = query[0].astype(np.float32) @ row
            if row.astype(np.float64) @ query[0] > best[-3] and fast < best[-20] - 1e-3:
                break
        else:
            continue
        tried += 1
        database[hidden] = row
        scores = counting.exact_scores(database, query[0])
        order = np.lexsort((np.arange(n), -scores))
        found = find(database, query, rows_of([5]), 20, memory_bytes=1 << 18)
        assert found.shortlist.row[0].tolist() == order[:20].tolist()
        assert found.ranks.rank.tolist() == np.flatnonzero(order == 5).tolist()
    assert tried > 2


@pytest.mark.parametrize("large", [1e3, 1e9, 1e17])
def test_large_norms_among_small_ones(oracle: ModuleType, large: float) -> None:
    draw = np.random.default_rng(7)
    database = unit(draw.standard_normal((700, 10)))
    database[draw.integers(0, 700, 9)] *= large
    database[draw.integers(0, 700, 9)] /= large
    queries = unit(draw.standard_normal((2, 10))) * [[1.0], [large]]
    labelled = rows_of(draw.integers(0, 700, 30), range(0, 700, 50))
    for stored in (np.float32, np.float64):
        check(oracle, database.astype(stored), queries, labelled, 40, memory_bytes=1)


def test_norms_are_the_least_and_the_largest() -> None:
    database = np.array([[3.0, 4.0], [0.0, 0.5], [1.0, 0.0]], np.float64)
    assert find(database, [[1.0, 1.0]], rows_of([]), 1).norms == pytest.approx((0.5, 5.0))


# --- the answer depends on nothing else ---------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_memory_budget_and_every_cut_give_the_same_bits(kind: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(9)
    database = random_data(kind, draw, 1500, 24).astype(np.float32)
    queries = random_data(kind, draw, 7, 24)
    labelled = rows_of(*(draw.integers(0, 1500, size) for size in (60, 0, 1, 5, 200, 3, 9)))
    first = find(database, queries, labelled, 33)
    for memory_bytes in (1, 1 << 16, 1 << 18, 1 << 21, 1 << 30):
        same(first, find(database, queries, labelled, 33, memory_bytes=memory_bytes))
    cuts = [0, 1, 2, 700, 701, 1500]
    parts = [database[a:b] for a, b in itertools.pairwise(cuts)]
    same(first, find(parts, queries, labelled, 33, memory_bytes=1 << 16))
    np.save(tmp_path / "rows.npy", database)
    np.save(tmp_path / "columns.npy", np.asfortranarray(database))
    for name in ("rows", "columns"):
        path = tmp_path / f"{name}.npy"
        same(first, find([Matrix(name, (1500, 24), path=path)], queries, labelled, 33))
    same(first, find(database.astype(">f4"), queries, labelled, 33))
    same(first, find(database.astype(np.float64), queries, labelled, 33))


def test_every_number_of_threads_gives_the_same_bits() -> None:
    draw = np.random.default_rng(21)
    database = random_data("duplicates", draw, 3000, 16).astype(np.float32)
    queries = unit(draw.standard_normal((3, 16)))
    labelled = rows_of(*(draw.integers(0, 3000, 40) for _ in queries))
    first = find(database, queries, labelled, 30, threads=1, memory_bytes=1 << 20)
    for threads in (2, 3, 8):
        same(first, find(database, queries, labelled, 30, threads=threads, memory_bytes=1 << 20))
    same(first, find(database, queries, labelled, 30))


def test_parts_of_several_types_in_memory_and_in_files(oracle: ModuleType, tmp_path: Path) -> None:
    """Blocks reach over parts; what each holds keeps its value."""
    draw = np.random.default_rng(22)
    parts: list[Any] = []
    rows = []
    for i, kind in enumerate(("<f4", ">f4", "<f2", "<f8", "<f4", "<f4")):
        block = unit(draw.standard_normal((90 + i, 9))).astype(kind)
        rows.append(block.astype(np.float64))
        if i % 2:
            path = tmp_path / f"{i}.npy"
            np.save(path, np.asfortranarray(block) if i == 5 else block)
            parts.append(Matrix(str(i), block.shape, path=path))
        else:
            parts.append(block)
    queries = unit(draw.standard_normal((2, 9)))
    labelled = rows_of(draw.integers(0, 555, 60), [0, 89, 90, 554])
    whole = np.concatenate(rows)
    first = find(parts, queries, labelled, 40)
    same(first, find(whole, queries, labelled, 40))
    same(first, find(parts, queries, labelled, 40, memory_bytes=1, threads=3))
    check(oracle, whole, queries, labelled, 40)


def test_a_coarse_product_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a GPU that multiplies float32 with ten bits: what is near a tie is scored again."""
    draw = np.random.default_rng(23)
    database = random_data("one direction", draw, 2000, 32).astype(np.float32)
    queries = unit(1 + 1e-4 * draw.standard_normal((3, 32)))
    labelled = rows_of(*(draw.integers(0, 2000, 30) for _ in queries))
    first = find(database, queries, labelled, 50)
    calls = []

    def coarse(array: np.ndarray) -> np.ndarray:
        bits = array.astype(np.float32).view(np.uint32)
        return ((bits + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)

    def product_on(device: str, fast_queries: np.ndarray) -> search.Product:
        calls.append(device)
        return lambda rows: coarse(fast_queries) @ coarse(rows).T

    monkeypatch.setattr(piece, "_product_on", product_on)
    same(first, find(database, queries, labelled, 50, device="cuda:1", memory_bytes=1 << 18))
    assert set(calls) == {"cuda:1"}


@pytest.mark.parametrize(
    "device",
    ["cpu:0", pytest.param("cuda", marks=pytest.mark.gpu)],  # the first: torch, without a GPU
)
def test_the_product_of_torch_gives_the_same_bits(device: str, tmp_path: Path) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    draw = np.random.default_rng(24)
    database = random_data("duplicates", draw, 5000, 64).astype(np.float32)
    np.save(tmp_path / "rows.npy", database)
    parts: list[Any] = [Matrix("rows", database.shape, path=tmp_path / "rows.npy")]
    queries = unit(draw.standard_normal((5, 64)))
    labelled = rows_of(*(draw.integers(0, 5000, 50) for _ in queries))
    first = find(parts, queries, labelled, 50)
    same(first, find(parts, queries, labelled, 50, device=device, memory_bytes=1 << 20))


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    rows = np.ones((500, 8), np.float32)
    parts = []
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", rows)
        parts.append(Matrix(name, rows.shape, path=tmp_path / f"{name}.npy"))
    with (tmp_path / "b.npy").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(BenchError, match=r"b\.npy ends before row"):
        read(parts, 400, 600)


# --- memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 16, 200])
@pytest.mark.parametrize("budget", [4 << 20, 64 << 20, 1 << 30])
@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
def test_blocks_in_work_fit_into_the_budget(threads: int, budget: int, stored: Any) -> None:
    parts = [from_array(np.ones((9000, 256), stored), "x")]
    labelled = rows_of(*[range(100)] * 70)
    plan = search._plan(parts, 70, labelled, 100, budget, threads)
    each = plan.rows * (256 * np.dtype(stored).itemsize + (256 * 4 if stored != np.float32 else 0))
    assert plan.threads * each <= budget / 2
    assert plan.threads <= threads
    assert plan.rows >= piece.LEAST_BLOCK
    assert plan.queries * (4 * plan.bins + 16 * 5 * 100) <= budget / 2
    assert plan.bins >= 1024
    assert search.passes(parts, 70, labelled, 100, budget) == -(-70 // plan.queries)


def test_little_memory_makes_tables_coarser_before_it_makes_more_passes() -> None:
    parts = [from_array(np.ones((1_000_000, 1), np.float32), "x")]
    labelled = rows_of(*[range(100)] * 70)
    bins = {}
    for mib in (16, 64, 256):
        assert search.passes(parts, 70, labelled, 100, mib << 20) == 1
        bins[mib] = search._plan(parts, 70, labelled, 100, mib << 20).bins
    assert bins[16] < bins[64] < bins[256] == counting.MOST_BINS


@pytest.mark.parametrize("budget", [8 << 20, 32 << 20])
def test_what_a_search_allocates_fits_into_the_budget(budget: int) -> None:
    """Many labelled rows and long lists; parts so small that every block is a copy."""
    draw = np.random.default_rng(25)
    database = unit(draw.standard_normal((40_000, 64))).astype(np.float32)
    parts = [from_array(part, str(i)) for i, part in enumerate(np.split(database, 400))]
    queries = database[:40].astype(np.float64)
    labelled = rows_of(*(draw.integers(0, 40_000, 500) for _ in queries))
    tracemalloc.start()
    search.search(parts, queries, labelled, 300, budget, threads=8)
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
        together = counting.exact_scores(rows, query)
        for row in (0, 1, 7, 127, 128, 129, 1023, 1024, 2099):
            assert counting.exact_scores(rows[row : row + 1], query)[0] == together[row]


def test_progress_counts_every_row_once_per_pass() -> None:
    database = np.random.default_rng(0).standard_normal((900, 4)).astype(np.float32)
    parts = [from_array(database, "rows")]
    queries = database[:9].astype(np.float64)
    labelled = rows_of(*[range(i, 900, 9) for i in range(9)])
    for memory_bytes in (1, 1 << 28):
        seen: list[int] = []
        find(database, queries, labelled, 5, memory_bytes=memory_bytes, advance=seen.append)
        assert sum(seen) == 900 * search.passes(parts, 9, labelled, 5, memory_bytes)


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
    "has a norm of 2e\\+25, out of the range of float32": 1e25,
    "has a norm of 2e-30, out of the range of float32": 1e-30,
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
