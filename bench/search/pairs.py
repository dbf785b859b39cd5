"""Float64 scores of (query, row) pairs, each summed in an order that depends on `dim` alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.store.matrix import Matrix, count_rows, read, take
from bench.types import Rows

PAIR_NUMBERS = 1 << 15  # numbers multiplied at a time: they stay in the cache
TAKEN_NUMBERS = 1 << 18  # numbers of single rows that are read at a time

Float64 = NDArray[np.float64]


def exact_scores(rows: NDArray[np.floating], query: Float64) -> Float64:
    """Return the float64 dot products (m,) of rows (m, dim) with one query (dim,).

    Each is summed alone, in an order that depends on `dim` only, so that equal rows have equal
    scores wherever they stand.
    """
    at = np.arange(len(rows))
    return pair_scores(np.asarray(rows), at, query[None], np.zeros_like(at))


def pair_scores(rows: NDArray[Any], at: Rows, queries: Float64, of: Rows) -> Float64:
    """Return the float64 dot products (m,) of the rows `at` with the queries `of`, pair by pair.

    rows     (n, dim) any float type
    queries  (n_queries, dim) float64
    """
    dim, out = rows.shape[1], np.empty(len(at), dtype=np.float64)
    step = max(1, min(PAIR_NUMBERS // dim, len(at)))
    some, product = np.empty((step, dim), dtype=rows.dtype), np.empty((step, dim))
    other, runs = np.empty((step, dim)), _runs(of, step)
    for low, high in runs or zip(*_ends(len(at), step), strict=True):
        here, left, right = slice(low, high), product[: high - low], other[: high - low]
        rows.take(at[here], axis=0, out=some[: high - low], mode="clip")
        left[...] = some[: high - low]  # numpy multiplies numbers of one type twice as fast
        if not runs or low == 0 or of[low] != of[low - 1]:  # numpy repeats a row at half the speed
            queries.take(of[here], axis=0, out=right, mode="clip")
        left *= right
        np.add.reduce(left, axis=1, out=out[here])
    return out


def _ends(size: int, step: int) -> tuple[list[int], list[int]]:
    """Return where pieces of `step` begin and end."""
    starts = list(range(0, size, step))
    return starts, [*starts[1:], size]


def _runs(of: Rows, step: int) -> list[tuple[int, int]]:
    """Return pieces of one query each, of equal sizes up to `step`, the first the largest.

    None where most queries have fewer pairs than that: then a piece holds several queries.
    """
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    if len(of) <= step * len(starts):
        return []
    out = []
    for low, high in zip(starts.tolist(), [*starts[1:].tolist(), len(of)], strict=True):
        size = -(-(high - low) // -(-(high - low) // step))
        out += [(at, min(at + size, high)) for at in range(low, high, size)]
    return out


def scores_of(
    parts: Sequence[Matrix], rows: Rows, queries: Float64, of: Rows, chunk: int, threads: int = 1
) -> Float64:
    """Return the scores of the rows of a database with the queries `of`, as in `pair_scores`.

    The pairs are taken in the order of rows, `chunk` rows of the database at a time, so that a row
    is read once however many queries name it. Where few rows of a chunk are named they alone are
    read.
    """
    total = count_rows(parts)
    number = rows // chunk
    kind = np.uint16 if total // chunk < 1 << 16 else np.int64
    order = np.argsort(number.astype(kind), kind="stable")
    starts = np.flatnonzero(np.diff(number[order], prepend=-1))
    out = np.empty(len(rows), dtype=np.float64)

    def score(pairs: Rows) -> None:
        low = int(number[pairs[0]]) * chunk
        size = min(chunk, total - low)
        named = np.zeros(size, dtype=bool)
        named[rows[pairs] - low] = True
        if 4 * np.count_nonzero(named) > size:
            out[pairs] = pair_scores(
                read(parts, low, low + size), rows[pairs] - low, queries, of[pairs]
            )
            return
        place = np.cumsum(named) - 1
        each = np.flatnonzero(named)
        most = max(1, TAKEN_NUMBERS // parts[0].shape[1])
        where = place[rows[pairs] - low]
        for first in range(0, len(each), most):
            taken = take(parts, low + each[first : first + most])
            mine = pairs if len(each) <= most else pairs[where // most == first // most]
            out[mine] = pair_scores(taken, place[rows[mine] - low] - first, queries, of[mine])

    groups = np.split(order, starts[1:]) if len(order) else []
    if threads == 1 or len(groups) < 2:
        for pairs in groups:
            score(pairs)
    else:
        known = np.geterr()  # each thread has settings of its own
        with ThreadPoolExecutor(threads, initializer=lambda: np.seterr(**known)) as pool:
            list(pool.map(score, groups))
    return out
