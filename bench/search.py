"""Exact ranks of the labelled images, and a shortlist, in one pass over the database.

No full ranking is made. A labelled image's rank is the number of rows that beat it, so the rows
are counted: block by block the scores are multiplied in the precision of the block (fast), and
every row is dropped into the gap between two labelled scores where it falls. Rows that fall so
near a labelled score that the rounding of the fast product could matter are scored again in
float64, one pair at a time and always in the same order of additions. So the order is that of
the float64 scores, score descending and then database row ascending, whatever the block size,
the threads or the library that multiplies.

How near is near is measured, not guessed: the fast scores of all labelled rows and of a sample
of others are compared with their float64 scores, and `SAFETY` times the largest difference
(relative to the norms) is the distance within which a row is scored again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.counting import Candidates, Gaps, Seen, Truth, exact_scores, look_at, table_size
from bench.descriptors import Matrix, blocks, check_block, take
from bench.types import LabelledRanks, Rows, Shortlist

SAFETY = 6.0
LEAST_ERROR = 2.0**-23
SAMPLE_ROWS = 1024

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What a search gives: exact ranks, shortlist, and the least and largest norm of a row."""

    ranks: LabelledRanks
    shortlist: Shortlist
    norms: tuple[float, float]


def search(
    parts: Sequence[Matrix],
    queries: NDArray[np.float64],
    labelled: Sequence[Rows],
    depth: int,
    memory_bytes: int = 256 << 20,
    advance: Callable[[int], None] = lambda rows: None,
) -> Found:
    """Rank the labelled rows of every query exactly, and keep the first `depth` rows.

    parts         the database, laid end to end; all of one dimension
    queries       (n_queries, dim) float64, finite, no zero rows
    labelled      per query the rows to rank, int64, sorted, unique
    depth         length of the shortlist; cut to the number of rows
    memory_bytes  about what the working arrays may take; the answer does not depend on it
    advance       called with the number of rows done, for progress

    Raises BenchError for a database row that holds NaN or infinity or is all zeros.
    """
    parts = list(parts)
    n_rows = sum(part.shape[0] for part in parts)
    depth = min(depth, n_rows)
    at_once, rows = _plan(parts, len(queries), labelled, memory_bytes)
    ranked: list[tuple[Rows, Rows, Float64, Rows]] = []
    lists: list[tuple[Rows, Float64]] = []
    norms = (np.inf, 0.0)
    for first in range(0, len(queries), at_once):
        chosen = slice(first, first + at_once)
        results, seen = _search_block(
            parts, queries[chosen], labelled[chosen], depth, rows, advance
        )
        ranked += [one for one, _ in results]
        lists += [short for _, short in results]
        norms = min(norms[0], seen[0]), max(norms[1], seen[1])
    offsets = np.cumsum([0, *(len(one[0]) for one in ranked)], dtype=np.int64)
    row, rank, score, tied = (
        np.concatenate([one[i] for one in ranked]) if ranked else np.empty(0) for i in range(4)
    )
    ranks = LabelledRanks(
        offsets,
        row.astype(np.int64),
        rank.astype(np.int64),
        score.astype(np.float64),
        tied.astype(np.int64),
    )
    shortlist = Shortlist(
        np.array([short[0] for short in lists], dtype=np.int64).reshape(len(queries), depth),
        np.array([short[1] for short in lists], dtype=np.float64).reshape(len(queries), depth),
    )
    return Found(ranks, shortlist, norms)


def passes(
    parts: Sequence[Matrix], n_queries: int, labelled: Sequence[Rows], memory_bytes: int
) -> int:
    """Return how many times `search` will read the database, for progress."""
    return -(-n_queries // _plan(list(parts), n_queries, labelled, memory_bytes)[0])


def _plan(
    parts: list[Matrix], n_queries: int, labelled: Sequence[Rows], memory_bytes: int
) -> tuple[int, int]:
    """Return how many queries and how many database rows to take at a time."""
    n_rows, dim = sum(part.shape[0] for part in parts), parts[0].shape[1]
    table_bytes = 4 * table_size(n_rows, max(map(len, labelled), default=0))
    at_once = max(1, min(n_queries, memory_bytes // 2 // table_bytes, 512))
    row_bytes = 8 * dim + 4 * at_once + 64
    return at_once, max(256, min(16384, memory_bytes // 2 // row_bytes))


def _search_block(
    parts: list[Matrix],
    queries: Float64,
    labelled: Sequence[Rows],
    depth: int,
    rows: int,
    advance: Callable[[int], None],
) -> tuple[
    list[tuple[tuple[Rows, Rows, Float64, Rows], tuple[Rows, Float64]]], tuple[float, float]
]:
    """Do one block of queries: one pass over the database, blocks of rows side by side.

    The workers only look; what they saw is added up here, so nothing is shared while it changes.
    Returns ranks and list per query, and the least and largest norm of a row.
    """
    fast_queries = queries.astype(np.float32)
    n_rows = sum(part.shape[0] for part in parts)
    error, largest = _fast_error(parts, fast_queries, queries, labelled, n_rows)
    truths = [
        Truth(labels, exact_scores(take(parts, labels), query))
        for labels, query in zip(labelled, queries, strict=True)
    ]
    shorts = [Candidates(depth) for _ in queries]
    norms = np.sqrt((queries * queries).sum(axis=1))

    def trusted(largest: float) -> tuple[float, Float64, list[Gaps | None]]:
        near = error * largest * norms
        tables = [t.table(float(n), n_rows) for t, n in zip(truths, near, strict=True)]
        return largest, near, tables

    state = trusted(largest)

    def look(start: int, stored: NDArray[Any]) -> tuple[tuple[float, float], list[Seen] | None]:
        largest, _, tables = state
        block, norms = check_block(parts, start, stored)
        if norms[1] > largest:
            return norms, None
        fast = fast_queries @ block.T
        seen = [
            look_at(
                start, fast[i], stored, queries[i], truths[i].labels, tables[i], shorts[i].floor
            )
            for i in range(len(queries))
        ]
        return norms, seen

    span = (np.inf, 0.0)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool, threadpool_limits(1, "blas"):
        for start, stored, ((least, most), seen) in _in_order(
            pool, threads, look, blocks(parts, rows)
        ):
            span = min(span[0], least), max(span[1], most)
            if most > state[0]:
                state = trusted(most * 1.01)
                for i, short in enumerate(shorts):
                    short.doubt(float(state[1][i]))
            if seen is None:
                _, seen = look(start, stored)
            for i, one in enumerate(seen):
                truths[i].add(one)
                shorts[i].add(one, float(state[1][i]), parts, queries[i])
            advance(len(stored))
    results = [
        (truth.result(), short.result(parts, query))
        for truth, short, query in zip(truths, shorts, queries, strict=True)
    ]
    return results, span


def _in_order(
    pool: ThreadPoolExecutor,
    ahead: int,
    look: Callable[[int, NDArray[Any]], Any],
    work: Iterator[tuple[int, NDArray[Any]]],
) -> Iterator[tuple[int, NDArray[Any], Any]]:
    """Run `look` on the blocks, a few ahead of the one whose result is given back."""
    waiting: deque[tuple[int, NDArray[Any], Future[Any]]] = deque()
    for start, stored in work:
        waiting.append((start, stored, pool.submit(look, start, stored)))
        if len(waiting) > ahead:
            start, stored, future = waiting.popleft()
            yield start, stored, future.result()
    for start, stored, future in waiting:
        yield start, stored, future.result()


def _fast_error(
    parts: list[Matrix],
    fast_queries: NDArray[np.float32],
    queries: Float64,
    labelled: Sequence[Rows],
    n_rows: int,
) -> tuple[float, float]:
    """Measure by how much a fast score may differ from its float64 score, per unit of norms.

    Returns that, with the safety factor, and the largest norm among the rows looked at. If one of
    them is no descriptor, the first such row of the database is refused.
    """
    spread = np.linspace(0, n_rows - 1, min(n_rows, SAMPLE_ROWS)).astype(np.int64)
    known = np.unique(np.concatenate([spread, *labelled]))
    worst, largest = LEAST_ERROR * max(1.0, np.sqrt(parts[0].shape[1]) / 64), 0.0
    query_norms = np.sqrt((queries * queries).sum(axis=1))
    for low in range(0, len(known), 2048):
        rows = take(parts, known[low : low + 2048])
        with np.errstate(over="ignore"):
            single = rows.astype(np.float32)
        squares = np.einsum("ij,ij->i", single, single)
        if not np.all(np.isfinite(squares) & (squares > 0)):
            for start, stored in blocks(parts, 4096):
                check_block(parts, start, stored)
        norms = np.sqrt((rows * rows).sum(axis=1))
        largest = max(largest, float(norms.max()) * 1.01)
        off = np.abs(fast_queries @ single.T - queries @ rows.T) / np.outer(query_norms, norms)
        worst = max(worst, float(off.max()))
    return SAFETY * worst, largest
