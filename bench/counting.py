"""Counting, for one query, how many rows beat each labelled row; the arithmetic of `bench.piece`.

See `bench.search` for the idea: rows fall into the gaps between the labelled scores, and those
that fall too near one to trust a fast score are scored again in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.descriptors import Matrix, take
from bench.types import Rows

MOST_BINS = 1 << 18

Float64 = NDArray[np.float64]


def exact_scores(rows: NDArray[np.floating], query: Float64) -> Float64:
    """Return the float64 dot products (m,) of rows (m, dim) with one query (dim,).

    Each is summed alone, in an order that depends on `dim` only, so that equal rows have equal
    scores wherever they stand.
    """
    out = np.empty(len(rows), dtype=np.float64)
    for low in range(0, len(rows), 128):
        part = np.ascontiguousarray(rows[low : low + 128], dtype=np.float64)
        out[low : low + 128] = (part * query).sum(axis=1)
    return out


def true_scores(parts: Sequence[Matrix], rows: Rows, query: Float64) -> Float64:
    """Return the scores (m,) of the named rows of the database, as in `exact_scores`."""
    out = np.empty(len(rows), dtype=np.float64)
    for low in range(0, len(rows), 512):
        out[low : low + 512] = exact_scores(take(parts, rows[low : low + 512]), query)
    return out


def best_first(rows: Rows, scores: Float64, depth: int) -> tuple[Rows, Float64]:
    """Return the first `depth` of rows and scores in the order of a list: ties by row."""
    best = np.lexsort((rows, -scores))[:depth]
    return rows[best], scores[best]


def table_size(n_rows: int, n_labelled: int) -> int:
    """Return how fine a table from score to gap pays for so many rows and labelled scores."""
    return max(1024, min(MOST_BINS, n_rows * n_labelled // 100))


@dataclass(frozen=True)
class Gaps:
    """The labelled scores of one query as a table from fast score to the gap between them.

    `gap[bin]` is how many labelled scores lie surely below a fast score in that bin, or -1 where
    one lies so near that the row must be scored in float64. Bin 0 is below all of them.
    """

    per_unit: np.float32
    offset: np.float32
    gap: NDArray[Any]


@dataclass(frozen=True)
class Seen:
    """What one block of rows adds to one query: rows per gap, candidates, rows scored exactly."""

    hist: Rows | None
    hopeful: tuple[Rows, Float64]
    exact: tuple[Rows, Float64] | None


class Truth:
    """The labelled rows of one query, and how many rows beat each of them so far."""

    def __init__(self, labels: Rows, scores: Float64) -> None:
        """Order the labelled rows by score; `labels` int64 sorted, `scores` float64 beside it."""
        self.labels = labels
        self.scores = scores
        self.order = np.argsort(scores, kind="stable")
        self.ascending = scores[self.order]
        self.hist = np.zeros(len(labels) + 1, dtype=np.int64)
        self.beaten = np.zeros(len(labels), dtype=np.int64)
        self.tied = np.zeros(len(labels), dtype=np.int64)

    def table(self, near: float, most: int) -> Gaps | None:
        """Make the table from fast score to gap; scores closer than `near` count as ambiguous.

        It has at most `most` bins; with fewer, more rows are scored exactly.

        A bin is at least 1.5 `near` wide, so a row's true score is in its own bin or the next.
        """
        if len(self.labels) == 0:
            return None
        low = float(self.ascending[0]) - 2 * near
        width = float(self.ascending[-1]) + 2 * near - low
        bins = int(max(1, min(most, width / (1.5 * near))))
        per_unit = bins / width
        of = np.clip(((self.ascending - low) * per_unit).astype(np.int64), 0, bins - 1) + 1
        at = np.bincount(of, minlength=bins + 2)
        gap = np.concatenate([[0], np.cumsum(at)[:-1]])
        touched = at > 0
        unsure = touched.copy()
        unsure[1:] |= touched[:-1]
        unsure[:-1] |= touched[1:]
        gap[unsure] = -1
        kind = np.int16 if len(self.labels) < 1 << 15 else np.int32
        return Gaps(np.float32(per_unit), np.float32(1 - low * per_unit), gap.astype(kind))

    def add(self, seen: Seen) -> None:
        """Add what a block showed; rows scored exactly are compared score by score."""
        if seen.hist is None or seen.exact is None:
            return
        self.hist += seen.hist
        rows, scores = seen.exact
        left = np.searchsorted(self.ascending, scores, side="left")
        right = np.searchsorted(self.ascending, scores, side="right")
        self.hist += np.bincount(left, minlength=len(self.hist))
        for low in np.unique(left[right > left]):
            same = (left == low) & (right > left)
            group = self.order[low : right[same][0]]
            self.tied[group] += int(np.count_nonzero(same))
            self.beaten[group] += np.searchsorted(rows[same], self.labels[group])

    def result(self) -> tuple[Rows, Rows, Float64, Rows]:
        """Return (rows, ranks, scores, number of other rows with the same score)."""
        above = np.cumsum(self.hist[::-1])[::-1][1:]
        rank = self.beaten.copy()
        rank[self.order] += above
        best_first = np.lexsort((self.labels, -self.scores))
        rank[best_first] += np.arange(len(self.labels))
        _, group, size = np.unique(self.scores, return_inverse=True, return_counts=True)
        return self.labels, rank, self.scores, self.tied + size[group] - 1


class Candidates:
    """The rows of one query that may still be among the first `depth`.

    `floor` is the fast score under which a row cannot be: the last one of the list, less twice
    the distance within which fast scores are not trusted.
    """

    def __init__(self, depth: int) -> None:
        """Start with none."""
        self.depth = depth
        self.rows = np.empty(0, dtype=np.int64)
        self.scores = np.empty(0, dtype=np.float64)
        self.last = -np.inf if depth else np.inf
        self.floor = self.last

    def begin_at(self, last: float, near: float) -> None:
        """Take only rows that may reach the score `last`, which the whole list is known to."""
        if self.depth:
            self.last = last
            self.doubt(near)

    def doubt(self, near: float) -> None:
        """Lower the floor: from here on a fast score may be off by up to `near`."""
        self.floor = self.last - 2 * near

    def add(self, seen: Seen, near: float, parts: Sequence[Matrix], query: Float64) -> None:
        """Take the rows of a block that could still be in the list."""
        rows, scores = seen.hopeful
        if len(rows) == 0:
            return
        self.rows = np.concatenate([self.rows, rows])
        self.scores = np.concatenate([self.scores, scores])
        if len(self.rows) < max(self.depth, 1):
            return
        last = float(np.partition(self.scores, -self.depth)[-self.depth])
        kept = self.scores >= last - 2 * near
        self.rows, self.scores = self.rows[kept], self.scores[kept]
        if len(self.rows) > 4 * self.depth + 1024:
            self._cut(parts, query)
            last = float(self.scores[-1])
        self.last = max(last, self.last)
        self.doubt(near)

    def _cut(self, parts: Sequence[Matrix], query: Float64) -> None:
        exact = true_scores(parts, self.rows, query)
        self.rows, self.scores = best_first(self.rows, exact, self.depth)

    def result(self, parts: Sequence[Matrix], query: Float64) -> tuple[Rows, Float64]:
        """Return the list, best first, with float64 scores; ties by row."""
        if self.depth:
            self._cut(parts, query)
        return self.rows, self.scores


def look_at(
    start: int,
    fast: NDArray[np.float32],
    stored: NDArray[Any],
    query: Float64,
    labels: Rows,
    table: Gaps | None,
    short: Candidates,
    near: float,
) -> Seen:
    """Sort the rows of one block into the gaps of one query, and pick those for its list.

    `short` is only read. While its floor is low, as at the start, the best of the block are enough.
    """
    candidates = np.flatnonzero(fast >= short.floor)
    if len(candidates) > 2 * short.depth > 0:
        last = float(np.partition(fast[candidates], -short.depth)[-short.depth])
        candidates = candidates[fast[candidates] >= last - 2 * near]
    hopeful = start + candidates, fast[candidates].astype(np.float64)
    if table is None:
        return Seen(None, hopeful, None)
    bins = (fast * table.per_unit + table.offset).astype(np.intp)
    gaps = table.gap.take(bins, mode="clip")
    first, last = np.searchsorted(labels, [start, start + len(fast)])
    gaps[labels[first:last] - start] = 0
    unsure = np.flatnonzero(gaps < 0)
    gaps[unsure] = 0
    hist = np.bincount(gaps, minlength=len(labels) + 1)
    return Seen(hist, hopeful, (start + unsure, exact_scores(stored[unsure], query)))
