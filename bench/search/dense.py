"""Ranks and lists from a score for every row that a query searches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.types import NO_ROW, LabelledRanks, Rows, Shortlist

Float64 = NDArray[np.float64]


def ranked(
    scores: Sequence[Float64], rows: Sequence[Rows], labelled: Sequence[Rows], depth: int
) -> tuple[LabelledRanks, Shortlist]:
    """Return ranks of the labelled rows and the first `depth` rows of every query.

    `scores` (n) are those of the database rows `rows` (n) of a query, ascending, int64; larger is
    better, and of equal scores the smaller row comes first. `labelled` are among `rows`. Lists of
    queries with fewer rows end with `NO_ROW`.
    """
    depth = min(depth, max(map(len, rows), default=0))
    row = np.full((len(scores), depth), NO_ROW, dtype=np.int64)
    score = np.full((len(scores), depth), np.finfo(np.float64).min)
    entries = []
    for query, (mine, numbers, wanted) in enumerate(zip(scores, rows, labelled, strict=True)):
        order = np.argsort(-mine, kind="stable")
        first = order[:depth]
        row[query, : len(first)], score[query, : len(first)] = numbers[first], mine[first]
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        at, rising = np.searchsorted(numbers, wanted), mine[order][::-1]
        found = mine[at]
        tied = np.searchsorted(rising, found, "right") - np.searchsorted(rising, found, "left")
        entries.append((wanted, rank[at], found, tied - 1))
    whole = [np.concatenate([entry[i] for entry in entries]) for i in range(4)]
    offsets = np.cumsum([0, *(len(entry[0]) for entry in entries)], dtype=np.int64)
    return LabelledRanks(offsets, *whole), Shortlist(row, score)
