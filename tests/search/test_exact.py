"""Exact ranks: by hand, against the oracle, near ties, and that they depend on nothing else."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.search import block, exact, pairs
from bench.store.matrix import Matrix, read
from tests.support.exact import check, find, random_data, rows_of, unit

SAMPLED = block.SAMPLE_ROWS


def same(first: exact.Found, other: exact.Found) -> None:
    """Check that two answers are equal to the last bit."""
    for name in ("offsets", "row", "rank", "score", "tied"):
        assert np.array_equal(getattr(first.ranks, name), getattr(other.ranks, name)), name
    assert np.array_equal(first.shortlist.row, other.shortlist.row)
    assert np.array_equal(first.shortlist.score, other.shortlist.score)


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


@pytest.mark.slow
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
    scores = pairs.exact_scores(database, query[0])
    target = sampled[100]
    database[target] = 0
    database[target, 9] = np.median(scores[others]) / query[0, 9]
    scores = pairs.exact_scores(database, query[0])
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
        best = np.sort(pairs.exact_scores(database, query[0]))
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
        scores = pairs.exact_scores(database, query[0])
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

    def product_on(device: str, fast_queries: np.ndarray) -> Any:
        calls.append(device)
        return lambda rows: coarse(fast_queries) @ coarse(rows).T

    monkeypatch.setattr(block, "_product_on", product_on)
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
