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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.counting import Truth, best_first, table_size, true_scores
from bench.descriptors import Matrix, check_all, count_rows
from bench.errors import BenchError
from bench.piece import LEAST_BLOCK, Asked, Counted, count
from bench.types import LabelledRanks, Rows, Shortlist

MOST_BLOCK = 8192
ASIDE_BYTES = 2 << 20  # for threads, and all that does not grow with the data
LEAST_BINS, MOST_QUERIES = 1 << 13, 512

Float64 = NDArray[np.float64]
Advance = Callable[[int], None]

# What has the pieces of a database counted, all of its rows once, and gives back what each adds;
# the function it gets says the last score of every list as it is by then, which spares work.
HandOut = Callable[[list[Matrix], Asked, Callable[[], Float64], Advance], Iterable[Counted]]


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


def here(
    parts: list[Matrix], asked: Asked, lasts: Callable[[], Float64], advance: Advance
) -> Iterable[Counted]:
    """Count the whole database as one piece, in this process."""
    return [count(parts, asked, 0, count_rows(parts), advance=advance)]


def search(
    parts: Sequence[Matrix],
    queries: NDArray[np.float64],
    labelled: Sequence[Rows],
    depth: int,
    memory_bytes: int = 256 << 20,
    advance: Advance = lambda rows: None,
    device: str = "cpu",
    threads: int | None = None,
    hand_out: HandOut = here,
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
    hand_out      who counts, and in which pieces

    The answer does not depend on the last five.

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
        asked = _asked(parts, queries[chosen], labelled[chosen], depth, plan, device)
        total = _Sum(asked)
        for counted in hand_out(parts, asked, total.lasts, advance):
            total.add(counted)
        if total.rows != n_rows:
            raise BenchError(f"{total.rows} rows were counted of {n_rows}; run the search again.")
        ranked += total.ranks()
        lists += total.lists
        norms = min(norms[0], total.norms[0]), max(norms[1], total.norms[1])
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


def _asked(
    parts: list[Matrix],
    queries: Float64,
    labelled: Sequence[Rows],
    depth: int,
    plan: _Plan,
    device: str,
) -> Asked:
    """Return what a block of queries asks of every piece."""
    with np.errstate(over="ignore", invalid="ignore"):
        scores = [true_scores(parts, *pair) for pair in zip(labelled, queries, strict=True)]
    if not all(np.isfinite(some).all() for some in scores):
        check_all(parts)
    return Asked(queries, labelled, scores, depth, plan.rows, plan.threads, plan.bins, device)


class _Sum:
    """What the pieces add up to, in whatever order they come."""

    def __init__(self, asked: Asked) -> None:
        """Start with nothing."""
        self.asked = asked
        self.rows = 0
        self.norms = (np.inf, 0.0)
        self.truths = [Truth(*pair) for pair in zip(asked.labels, asked.scores, strict=True)]
        nothing = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
        self.lists: list[tuple[Rows, Float64]] = [nothing for _ in asked.queries]

    def add(self, counted: Counted) -> None:
        """Add one piece."""
        self.rows += counted.rows
        self.norms = min(self.norms[0], counted.norms[0]), max(self.norms[1], counted.norms[1])
        for i, (truth, one) in enumerate(zip(self.truths, counted.each(self.asked), strict=True)):
            truth.hist += one.hist
            truth.beaten += one.beaten
            truth.tied += one.tied
            if len(one.row):
                row, score = self.lists[i]
                rows, scores = np.append(row, one.row), np.append(score, one.score)
                self.lists[i] = best_first(rows, scores, self.asked.depth)

    def lasts(self) -> Float64:
        """Return the last score of every list; minus infinity where it is not full yet."""
        depth = self.asked.depth
        full = [len(score) == depth > 0 for _, score in self.lists]
        pairs = zip(self.lists, full, strict=True)
        return np.array([score[-1] if there else -np.inf for (_, score), there in pairs])

    def ranks(self) -> list[tuple[Rows, Rows, Float64, Rows]]:
        """Return rows, ranks, scores and ties of every query."""
        return [truth.result() for truth in self.truths]
