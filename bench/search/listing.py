"""The rows that may be in the list of a query, picked by their fast scores.

See `bench.search.exact` for the idea. A list begins with the best of the first block; from then on
only what reaches its last score, as far as the fast product can tell, is looked at.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.search.count import best_of_each, smallest
from bench.types import Rows

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Score = Callable[[Rows, Rows], Float64]  # of queries and rows, pair by pair, in float64


def most_kept(depth: int) -> int:
    """Return how many rows of a query are kept by their fast scores, for a list of that length."""
    return 2 * depth + 64


def below(scores: Float64) -> Float32:
    """Return float32 numbers just below float64 ones."""
    return np.nextafter(scores.astype(np.float32), np.float32(-np.inf))


def hopeful(fast: Float32, floor: Float32, depth: int, near: float) -> tuple[Rows, Rows, Float32]:
    """Return queries, columns and scores of what may be among the first `depth`, row by row.

    fast   (n, m) float32
    floor  (n,) float32, the fast score below which a row surely is not
    near   by how much a fast score may differ from the true one

    Where the floors are low, as at the start, the best of the block are enough.
    """
    width = fast.shape[1]
    if depth == 0:
        nothing = np.empty(0, dtype=np.int64)
        return nothing, nothing.copy(), np.empty(0, dtype=np.float32)
    mask = fast >= floor[:, None]
    if width > depth and np.count_nonzero(mask) > 2 * depth * len(fast):
        last = np.partition(fast, width - depth, axis=1)[:, width - depth].astype(np.float64)
        floor = np.maximum(floor, below(last - 2 * near))
        np.greater_equal(fast, floor[:, None], out=mask)
    place = np.flatnonzero(mask)
    query = place // width
    return query, place - query * width, fast.ravel()[place]


def settle(
    query: Rows, row: Rows, value: Float32, depth: int, score: Score, exponents: Rows
) -> tuple[Rows, Rows, Float32]:
    """Cut to `depth` the lists that are long because their rows tie, by their float64 scores.

    query, row  (n,); a list longer than `most_kept` is cut, the others stay as they are
    value       (n,) float32, fast scores; those of the rows scored become the true ones
    exponents   (n_queries,), a true score is a fast one times 2 ** exponent
    """
    long = np.bincount(query, minlength=1) > most_kept(depth)
    if not long.any():
        return query, row, value
    doubtful = np.flatnonzero(long[query])
    some, at = query[doubtful].astype(np.int64), row[doubtful]
    true = score(some, at)
    kept = ~long[query]
    kept[doubtful[best_of_each(some, at, true, depth)]] = True
    value[doubtful] = np.ldexp(true, -exponents[some])
    return query[kept], row[kept], value[kept]


class Lists:
    """The rows that may still be among the first `depth` of each query, by their fast scores.

    `last` (n_queries,) is a fast score that the last of the list surely has.
    """

    def __init__(self, n_queries: int, depth: int, score: Score, exponents: Rows) -> None:
        """Start with none; `score` and `exponents` as in `settle`."""
        self.depth, self.score, self.exponents = depth, score, exponents
        self.near = 0.0
        self.last = np.full(n_queries, -np.inf)
        self.waiting = 0
        self.query: list[NDArray[np.uint16]] = [np.empty(0, dtype=np.uint16)]
        self.row: list[Rows] = [np.empty(0, dtype=np.int64)]
        self.value: list[Float32] = [np.empty(0, dtype=np.float32)]

    def add(self, query: Rows, row: Rows, value: Float32, near: float) -> None:
        """Take what a block showed, whose fast scores are off by up to `near`; in order of rows."""
        self.near = max(self.near, near)
        self.query.append(query.astype(np.uint16))  # sorted in one go by numpy
        self.row.append(row)
        self.value.append(value)
        self.waiting += len(query)
        if self.waiting >= self.depth * len(self.last):
            self._merge()

    def _merge(self) -> None:
        """Drop candidates no longer among the first; the rest is in the order query, row."""
        depth, n = self.depth, len(self.last)
        numbers = np.concatenate(self.query)
        order = np.argsort(numbers, kind="stable")
        query = numbers[order].astype(np.int64)
        row, value = np.concatenate(self.row)[order], np.concatenate(self.value)[order]
        if depth and len(query) >= depth:
            last = _kth(query, value, n, depth)
            self.last = np.maximum(self.last, last - self.near)
            kept = np.flatnonzero(value >= below(last - 2 * self.near)[query])
            query, row, value = settle(
                query[kept], row[kept], value[kept], depth, self.score, self.exponents
            )
        self.query, self.row, self.value = [query.astype(np.uint16)], [row], [value]
        self.waiting = 0

    def result(self) -> tuple[Rows, Rows, Float64]:
        """Return queries, rows and float64 scores of all lists, best first; ties by row."""
        self._merge()
        query, row = self.query[0].astype(np.int64), self.row[0]
        score = self.score(query, row)
        best = best_in_order(query, score, self.depth)
        return query[best], row[best], score[best]


def _kth(query: Rows, value: Float32, n: int, depth: int) -> Float64:
    """Return the `depth`-th largest value of each of n queries, ascending in `query`, or -inf."""
    sizes = np.bincount(query, minlength=n)
    most = int(sizes.max())
    out = np.full(n, -np.inf)
    if most >= depth:
        wide = np.full((n, most), -np.inf, dtype=np.float32)
        wide[query, np.arange(len(query)) - (np.cumsum(sizes) - sizes)[query]] = value
        wide.partition(most - depth, axis=1)
        out[:] = wide[:, most - depth]
    return out


def best_in_order(query: Rows, score: Float64, depth: int) -> Rows:
    """Return where the first `depth` of each query stand; the input is in the order query, row."""
    return smallest(np.bincount(query), -score, depth)
