"""Distances between places: thresholds, view directions, and positions in names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.datasets._readers import by_distance, utm
from bench.errors import BenchError


def test_the_threshold_and_its_strictness() -> None:
    database = np.array([[0.0, 0.0], [15.0, 20.0], [25.0, 0.0], [25.0000001, 0.0], [3.0, 4.0]])
    query = np.zeros((1, 2))
    assert by_distance.positives(database, query, 25.0)[0].tolist() == [0, 1, 2, 4]
    assert by_distance.positives(database, query, 25.0, strict=True)[0].tolist() == [0, 4]
    assert by_distance.positives(database, query, 5.0)[0].tolist() == [0, 4]
    assert [p.tolist() for p in by_distance.positives(database, query + 900, 25.0)] == [[]]
    assert by_distance.positives(database, np.empty((0, 2)), 25.0) == []


@pytest.mark.parametrize("strict", [False, True])
def test_positives_are_those_of_all_pairs(strict: bool) -> None:
    draw = np.random.default_rng(3)
    database = draw.integers(0, 60, (500, 2)).astype(np.float64)
    queries = draw.integers(0, 60, (2100, 2)).astype(np.float64)
    near = by_distance.positives(database, queries, 5.0, strict=strict)
    assert len(near) == 2100
    for query, rows in zip(queries, near, strict=True):
        squares = ((database - query) ** 2).sum(axis=1)
        right = squares < 25 if strict else squares <= 25
        assert rows.tolist() == np.flatnonzero(right).tolist()
        assert rows.dtype == np.int64


def test_a_hundred_thousand_positions_need_no_table_of_all_pairs(tmp_path: Path) -> None:
    """All pairs of 100,000 and 20,000 positions would take 16 GB."""
    draw = np.random.default_rng(0)
    database = draw.uniform(0, 20_000, (100_000, 2))
    queries = database[:20_000] + np.array([3.0, 4.0])
    near = by_distance.positives(database, queries, 25.0)
    assert all(i in rows for i, rows in enumerate(near[:200]))
    assert 20_000 < sum(map(len, near)) < 60_000


def test_view_directions_around_north() -> None:
    angles = np.array([350.0, 10.0, 180.0, 49.0, 51.0, np.nan])
    kept = by_distance.within_angle(np.arange(6), 10.0, angles, 40.0)
    assert kept.tolist() == [0, 1, 3]
    assert by_distance.within_angle(np.arange(6), np.nan, angles, 40.0).tolist() == []


def test_positions_in_names() -> None:
    assert utm.position("a/@0543263.69@4179336.01@10@S@.jpg") == (543263.69, 4179336.01)
    for name in ("a.jpg", "@1@x@.jpg", "@@2@.jpg"):
        with pytest.raises(BenchError, match="has no position in its name"):
            utm.position(name)
