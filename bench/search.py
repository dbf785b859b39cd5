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
(relative to the norms) is the distance within which a row is scored again. So the fast product
may as well be made on a GPU.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.counting import Candidates, Gaps, Seen, Truth, look_at, table_size, true_scores
from bench.descriptors import Matrix, blocks, check_block, count_rows, read, take
from bench.types import LabelledRanks, Rows, Shortlist

SAFETY = 6.0
LEAST_ERROR = 2.0**-23
SAMPLE_ROWS = 1024
LEAST_BLOCK, MOST_BLOCK = 256, 8192
ASIDE_BYTES = 2 << 20  # for threads, and all that does not grow with the data
LEAST_BINS, MOST_QUERIES = 1 << 13, 512

Float64 = NDArray[np.float64]
Product = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Found:
    """What a search gives: exact ranks, shortlist, and the least and largest norm of a row."""

    ranks: LabelledRanks
    shortlist: Shortlist
    norms: tuple[float, float]


@dataclass(frozen=True)
class _Plan:
    """How much is done at a time: queries, rows of a block, blocks side by side.

    `bins` is the most that a table of a query may have.
    """

    queries: int
    rows: int
    threads: int
    bins: int


def search(
    parts: Sequence[Matrix],
    queries: NDArray[np.float64],
    labelled: Sequence[Rows],
    depth: int,
    memory_bytes: int = 256 << 20,
    advance: Callable[[int], None] = lambda rows: None,
    device: str = "cpu",
    threads: int | None = None,
) -> Found:
    """Rank the labelled rows of every query exactly, and keep the first `depth` rows.

    parts         the database, laid end to end; all of one dimension
    queries       (n_queries, dim) float64, finite, no zero rows
    labelled      per query the rows to rank, int64, sorted, unique
    depth         length of the shortlist; cut to the number of rows
    memory_bytes  what blocks of rows, tables and lists may take together; where it is too little
                  for one query and one small block, that much is taken
    advance       called with the number of rows done, for progress
    device        where the fast product is made: "cpu", or a GPU by its name in torch
    threads       blocks looked at side by side; None: as many as there are cores

    The answer does not depend on the last four.

    Raises BenchError for a database row that holds NaN or infinity or is all zeros.
    """
    parts = list(parts)
    n_rows = count_rows(parts)
    depth = min(depth, n_rows)
    plan = _plan(parts, len(queries), labelled, depth, memory_bytes, threads, device)
    ranked: list[tuple[Rows, Rows, Float64, Rows]] = []
    lists: list[tuple[Rows, Float64]] = []
    norms = (np.inf, 0.0)
    for first in range(0, len(queries), plan.queries):
        chosen = slice(first, first + plan.queries)
        results, seen = _search_block(
            parts, queries[chosen], labelled[chosen], depth, plan, advance, device
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
    parts: Sequence[Matrix],
    n_queries: int,
    labelled: Sequence[Rows],
    depth: int,
    memory_bytes: int,
) -> int:
    """Return how many times `search` will read the database, for progress."""
    return -(-n_queries // _plan(parts, n_queries, labelled, depth, memory_bytes).queries)


def _plan(
    parts: Sequence[Matrix],
    n_queries: int,
    labelled: Sequence[Rows],
    depth: int,
    memory_bytes: int,
    threads: int | None = None,
    device: str = "cpu",
) -> _Plan:
    """Divide the memory: half for the tables and lists of queries, half for blocks of rows."""
    n_rows, dim = count_rows(parts), parts[0].shape[1]
    half = max(memory_bytes - ASIDE_BYTES, memory_bytes // 2) // 2
    together = min(n_queries, MOST_QUERIES)
    most = max(map(len, labelled), default=0)
    list_bytes = 32 * (5 * min(depth, n_rows) + 1024) + 128 * most
    wanted = table_size(n_rows, most)
    bins = max(min(wanted, LEAST_BINS), min(wanted, (half // max(together, 1) - list_bytes) // 4))
    at_once = max(1, min(together, half // (4 * bins + list_bytes)))
    stored = max(part.dtype().itemsize for part in parts)
    copies = 4 * (stored != 4) + 4 * (device != "cpu")  # as float32, and staged for a GPU
    row_bytes = dim * (stored + copies) + 4 * at_once + 64
    in_work = half // row_bytes
    side_by_side = max(1, min(threads or _cores(), in_work // LEAST_BLOCK))
    rows = max(LEAST_BLOCK, min(MOST_BLOCK, in_work // side_by_side))
    return _Plan(at_once, rows, side_by_side, bins)


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _product_on(device: str, fast_queries: NDArray[np.float32]) -> Product:
    """Return the function that multiplies rows (m, dim) float32: scores (n_queries, m) float32.

    A GPU gets the queries once, and each block as it comes; float32 there is float32, not TF32.
    """
    if device == "cpu":
        return lambda rows: fast_queries @ rows.T
    import torch

    there, matmul = torch.from_numpy(fast_queries).to(device), torch.backends.cuda.matmul
    pinned = device.startswith("cuda")

    def product(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        staged = torch.empty(rows.shape, dtype=torch.float32, pin_memory=pinned)
        staged.numpy()[...] = rows
        before, matmul.allow_tf32 = matmul.allow_tf32, False
        try:
            with torch.inference_mode():
                out: NDArray[np.float32] = (there @ staged.to(device).T).cpu().numpy()
        finally:
            matmul.allow_tf32 = before
        return out

    return product


def _search_block(
    parts: list[Matrix],
    queries: Float64,
    labelled: Sequence[Rows],
    depth: int,
    plan: _Plan,
    advance: Callable[[int], None],
    device: str,
) -> tuple[
    list[tuple[tuple[Rows, Rows, Float64, Rows], tuple[Rows, Float64]]], tuple[float, float]
]:
    """Do one block of queries: one pass over the database, blocks of rows side by side.

    The workers only look; what they saw is added up here, so nothing is shared while it changes.
    Returns ranks and list per query, and the least and largest norm of a row.
    """
    fast_queries = queries.astype(np.float32)
    n_rows = count_rows(parts)
    product = _product_on(device, fast_queries)
    error, largest = _fast_error(parts, product, queries, labelled, n_rows)
    truths = [
        Truth(labels, true_scores(parts, labels, query))
        for labels, query in zip(labelled, queries, strict=True)
    ]
    shorts = [Candidates(depth) for _ in queries]
    norms = np.sqrt((queries * queries).sum(axis=1))

    def trusted(largest: float) -> tuple[float, Float64, list[Gaps | None]]:
        near = error * largest * norms
        tables = [t.table(float(n), plan.bins) for t, n in zip(truths, near, strict=True)]
        return largest, near, tables

    state = trusted(largest)

    held = threading.local()

    def look(start: int) -> tuple[tuple[float, float], list[Seen] | None]:
        if not hasattr(held, "scratch"):
            size = plan.rows * parts[0].shape[1] * max(part.dtype().itemsize for part in parts)
            held.scratch = np.empty(size, dtype=np.uint8)
        stored = read(parts, start, min(start + plan.rows, n_rows), held.scratch)
        largest, near, tables = state
        block, norms = check_block(parts, start, stored)
        if norms[1] > largest:
            return norms, None
        fast = product(block)
        seen = [
            look_at(
                start,
                fast[i],
                stored,
                queries[i],
                truths[i].labels,
                tables[i],
                shorts[i],
                float(near[i]),
            )
            for i in range(len(queries))
        ]
        return norms, seen

    span = (np.inf, 0.0)
    with ThreadPoolExecutor(plan.threads) as pool, threadpool_limits(1, "blas"):
        starts = range(0, n_rows, plan.rows)
        for start, ((least, most), seen) in _in_order(pool, plan.threads, look, starts):
            span = min(span[0], least), max(span[1], most)
            if most > state[0]:
                state = trusted(most * 1.01)
                for i, short in enumerate(shorts):
                    short.doubt(float(state[1][i]))
            if seen is None:
                _, seen = look(start)
            assert seen is not None
            for i, one in enumerate(seen):
                truths[i].add(one)
                shorts[i].add(one, float(state[1][i]), parts, queries[i])
            advance(min(plan.rows, n_rows - start))
    results = [
        (truth.result(), short.result(parts, query))
        for truth, short, query in zip(truths, shorts, queries, strict=True)
    ]
    return results, span


def _in_order(
    pool: ThreadPoolExecutor, ahead: int, look: Callable[[int], Any], starts: Iterable[int]
) -> Iterator[tuple[int, Any]]:
    """Run `look` on the blocks, a few ahead of the one whose result is given back."""
    waiting: deque[tuple[int, Future[Any]]] = deque()
    for start in starts:
        waiting.append((start, pool.submit(look, start)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _fast_error(
    parts: list[Matrix],
    product: Product,
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
    for low in range(0, len(known), 512):
        rows = take(parts, known[low : low + 512])
        with np.errstate(over="ignore"):
            single = rows.astype(np.float32)
        squares = np.einsum("ij,ij->i", single, single)
        if not np.all(np.isfinite(squares) & (squares > 0)):
            for start, stored in blocks(parts, 512):
                check_block(parts, start, stored)
        norms = np.sqrt((rows * rows).sum(axis=1))
        largest = max(largest, float(norms.max()) * 1.01)
        off = np.abs(product(single) - queries @ rows.T) / np.outer(query_norms, norms)
        worst = max(worst, float(off.max()))
    return SAFETY * worst, largest
