"""What the tests of the exact search share: rows, a search, and its check by the oracle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench.search import exact
from bench.store.matrix import Matrix, from_array


def unit(rows: np.ndarray) -> np.ndarray:
    """Bring rows to unit norm."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def rows_of(*rows: Sequence[int]) -> list[np.ndarray]:
    """Return lists of labelled rows as the search takes them."""
    return [np.array(sorted(set(r)), dtype=np.int64) for r in rows]


def find(database: Any, queries: Any, labelled: Any, depth: int, **options: Any) -> exact.Found:
    """Search an array, or a list of arrays as parts; warnings are errors here."""
    parts = database if isinstance(database, list) else [database]
    wrapped = [
        p if isinstance(p, Matrix) else from_array(p, f"part{i}") for i, p in enumerate(parts)
    ]
    return exact.search(wrapped, np.asarray(queries, np.float64), labelled, depth, **options)


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
