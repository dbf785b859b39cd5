"""A database whose rows are copies of few: the same answers, from the scores of each kind alone."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.search import kinds
from bench.store.matrix import Matrix, from_array
from tests.support.exact import check, find, random_data, rows_of, unit


def test_worked_example(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows A B A C A B; A and B score 2, C 3: the list is 3, then 0 1 2 4 5."""
    monkeypatch.setattr(kinds, "FOLD", 2)
    a, b, c = [2.0, 1.0], [2.0, 5.0], [3.0, 0.0]
    found = find(np.array([a, b, a, c, a, b]), [[1.0, 0.0]], rows_of([0, 3, 5]), 4)
    assert found.ranks.rank.tolist() == [1, 0, 5]
    assert found.ranks.tied.tolist() == [4, 0, 4]
    assert found.ranks.score.tolist() == [2, 3, 2]
    assert found.shortlist.row.tolist() == [[3, 0, 1, 2]]
    assert found.shortlist.score.tolist() == [[3, 2, 2, 2]]
    assert found.norms == pytest.approx((5**0.5, 29**0.5))


@pytest.mark.parametrize("kind", ["duplicates", "quantised", "equal", "norms"])
@pytest.mark.parametrize("seed", range(4))
def test_the_answer_is_that_of_the_oracle(
    oracle: ModuleType, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(seed)
    seen = list[Any]()
    few = kinds.few

    def watched(parts: Any) -> Any:
        seen.append(few(parts))
        return seen[-1]

    monkeypatch.setattr(kinds, "few", watched)
    monkeypatch.setattr(kinds, "FOLD", 1 + seed % 2)
    monkeypatch.setattr(kinds, "CELLS", 1 + 30 * seed)
    monkeypatch.setattr(kinds, "READ_NUMBERS", 40 * (1 + seed))
    rows = random_data(kind, draw, 90, 5)[draw.integers(0, 14, 90)]
    parts = [rows[:50].astype(np.float32), rows[50:]]
    queries = np.concatenate([random_data("quantised", draw, 3, 5), draw.standard_normal((2, 5))])
    labelled = rows_of(*(draw.integers(0, 90, size) for size in (0, 1, 9, 90, 4)))
    for depth in (0, 7, 90):
        check(oracle, parts, queries, labelled, depth)
    assert all(found is not None for found in seen)


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
def test_each_kind_is_scored_once_for_a_query(
    stored: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(2)
    few = unit(draw.standard_normal((3, 24))).astype(stored)
    count, true = 0, kinds.pair_scores

    def score(rows: Any, at: Any, *rest: Any) -> Any:
        nonlocal count
        count += len(at)
        return true(rows, at, *rest)

    monkeypatch.setattr(kinds, "pair_scores", score)
    database = few[draw.integers(0, 3, 1000)]
    find(database, unit(draw.standard_normal((9, 24))), rows_of(*[range(500)] * 9), 100)
    assert count == 9 * 3


def test_a_database_of_many_kinds_is_left_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, read = 0, kinds.read

    def counted(parts: Any, low: int, high: int) -> Any:
        nonlocal rows
        rows += high - low
        return read(parts, low, high)

    monkeypatch.setattr(kinds, "read", counted)
    database = np.random.default_rng(3).standard_normal((10_000, 4)).astype(np.float32)
    assert kinds.few([from_array(database, "rows")]) is None
    assert rows == 10_000 // kinds.FOLD + 1
    assert kinds.few([from_array(database[:100], "rows")]) is None, "too few to be copies"


def test_rows_of_one_digest_that_differ_are_searched_as_others_are(
    oracle: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "_digests", lambda rows: np.zeros(len(rows), dtype=np.uint64))
    draw = np.random.default_rng(4)
    few = unit(draw.standard_normal((2, 6)))
    database = few[draw.integers(0, 2, 600)]
    assert kinds.few([from_array(database, "rows")]) is None
    check(oracle, database, unit(draw.standard_normal((2, 6))), rows_of([1, 5], []), 20)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_row_that_is_no_descriptor_is_named(bad: float) -> None:
    database = np.ones((600, 4), dtype=np.float32)
    database[550] = bad
    parts = [Matrix("part", (600, 4), array=database)]
    with pytest.raises(BenchError, match="row 550 of part"):
        find(parts, np.ones((1, 4)), rows_of([3]), 5)


def test_queries_too_large_for_float64_are_searched_as_others_are() -> None:
    """The search by bands says what is wrong, if anything is."""
    database = np.full((600, 4), 1e18, dtype=np.float32)
    parts = kinds.few([from_array(database, "rows")])
    assert parts is not None
    assert kinds.ranked(parts, np.full((1, 4), 1e300), rows_of([3]), 5) is None
