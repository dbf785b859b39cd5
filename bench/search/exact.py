"""Exact ranks of the labelled images, and a shortlist, in one pass over the database.

No full ranking is made. A labelled image's rank is the number of rows that beat it, so the rows
are counted. Block by block, all queries are multiplied with the rows in the precision of the block
(fast). Around every labelled score is a band, as wide as the rounding of the fast product could
matter: scores above it are counted, and only rows inside it are scored again in float64, pair by
pair and always in the same order of additions. The same holds for what may be in a shortlist. So
the order is that of the float64 scores, score descending and then database row ascending, whatever
the block size, the threads or the library that multiplies.

How wide a band is is measured, not guessed: fast scores of sampled and labelled rows are compared
with their float64 scores, and `SAFETY` times the largest difference (relative to the norm of the
row) is the distance within which a row is scored again. So the fast product may as well be made on
a GPU. Queries go into it times a power of two, so that its numbers are of the size of the rows.

Where the time goes: the product; `depth` float64 scores a query; then, far behind, the counting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.search import kinds
from bench.search.block import LEAST_BLOCK, Asked, Counted, count
from bench.search.count import LOOKED_AT, Labels, best_of_each, labelled_ties, smallest
from bench.search.pairs import scores_of
from bench.store.matrix import Matrix, check_all, count_rows
from bench.types import LabelledRanks, Rows, Shortlist

MOST_BLOCK, SMALL_BLOCK = 8192, 2048
ASIDE_BYTES = 2 << 20  # for threads, and all that does not grow with the data
MOST_QUERIES = 1 << 16
TILE = 1 << 20  # fast scores made at a time, up to four times as many where rows are long
SCORE_BYTES, LISTED_BYTES = 5, 40  # working memory of a fast score, of a row in a list
LOOKED_BYTES = 32  # of a fast score while it is looked at
LABEL_BYTES, LABEL_BLOCK_BYTES = 200, 160  # of a labelled row: once, and for each block in work
THREAD_BYTES = 1 << 20  # in which float64 products are made

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
    """How much is done at a time.

    order    the queries in the order of how many rows they label, int64
    groups   slices of that order; for each the database is read once
    rows     rows of a block
    tile     queries multiplied with a block at a time
    threads  blocks side by side
    """

    order: Rows
    groups: list[slice]
    rows: int
    tile: int
    threads: int


def here(
    parts: list[Matrix], asked: Asked, _lasts: Callable[[], Float64], advance: Advance
) -> Iterable[Counted]:
    """Count the whole database as one piece, in this process."""
    return [count(parts, asked, 0, count_rows(parts), advance=advance)]


def search(  # noqa: PLR0913, PLR0917
    parts: Sequence[Matrix],
    queries: NDArray[np.float64],
    labelled: Sequence[Rows],
    depth: int,
    memory_bytes: int = 256 << 20,
    advance: Advance = lambda _rows: None,
    device: str = "cpu",
    threads: int | None = None,
    hand_out: HandOut = here,
) -> Found:
    """Rank the labelled rows of every query exactly, and keep the first `depth` rows.

    parts         the database, laid end to end; all of one dimension
    queries       (n_queries, dim) float64, finite, no zero rows
    labelled      per query the rows to rank, int64, sorted, unique
    depth         length of the shortlist; cut to the number of rows
    memory_bytes  what blocks of rows, counts and lists may take together; where it is too little
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
    plan = _plan(parts, labelled, depth, memory_bytes, threads, device)
    if hand_out is here and (few := kinds.few(parts)) is not None:
        found = kinds.ranked(few, queries, labelled, depth)
        if found is not None:
            advance(n_rows * len(plan.groups))
            return Found(*found, few.norms)
    ranks, labels, place = _scored(parts, queries, labelled, plan)
    shortlist = Shortlist(
        np.empty((len(queries), depth), dtype=np.int64), np.empty((len(queries), depth))
    )
    norms = (np.inf, 0.0)
    for group in plan.groups:
        chosen = plan.order[group]
        asked, mine = _asked(queries, labels, plan, group, depth, device)
        total = _Sum(asked)
        for counted in hand_out(parts, asked, total.lasts, advance):
            total.add(counted)
        if total.rows != n_rows:
            raise BenchError(f"{total.rows} of {n_rows} rows were counted; run the search again.")
        ranks.rank[place[mine]] = total.above
        ranks.tied[place[mine]] = total.tied + labelled_ties(asked.labels)
        shortlist.row[chosen] = total.row.reshape(len(chosen), depth)
        shortlist.score[chosen] = total.score.reshape(len(chosen), depth)
        norms = min(norms[0], total.norms[0]), max(norms[1], total.norms[1])
    return Found(ranks, shortlist, norms)


def passes(
    parts: Sequence[Matrix],
    labelled: Sequence[Rows],
    depth: int,
    memory_bytes: int,
) -> int:
    """Return how many times `search` will read the database, for progress."""
    return len(_plan(parts, labelled, depth, memory_bytes).groups)


def _plan(
    parts: Sequence[Matrix],
    labelled: Sequence[Rows],
    depth: int,
    memory_bytes: int,
    threads: int | None = None,
    device: str = "cpu",
) -> _Plan:
    """Divide the memory: half for the labels and lists of queries, half for blocks of rows.

    Queries that label as many rows are searched together: their counting is then of one shape.
    """
    n_rows, dim = count_rows(parts), parts[0].shape[1]
    half = max(memory_bytes - ASIDE_BYTES, memory_bytes // 2) // 2
    stored = max(part.dtype().itemsize for part in parts)
    copies = 4 * (stored != 4) + 4 * (device != "cpu")  # as float32, and staged for a GPU
    row_bytes, for_rows = dim * (stored + copies) + 64, half * 3 // 4
    sizes = np.array([len(rows) for rows in labelled], dtype=np.int64)
    order = np.argsort(sizes // 8, kind="stable")  # alike is enough, and few are moved
    lists = LISTED_BYTES * (4 * min(depth, n_rows) + 16) + 4 * dim
    groups = _groups(lists + LABEL_BYTES * sizes[order], half)  # whatever the threads and device
    labels = max((int(sizes[order[group]].sum()) for group in groups), default=0)
    least = LEAST_BLOCK * row_bytes + THREAD_BYTES + LABEL_BLOCK_BYTES * labels
    side_by_side = max(1, min(threads or _cores(), for_rows // least))
    most = max((group.stop - group.start for group in groups), default=1)
    for_scores = half // 4 // side_by_side
    scores = (for_scores - min(for_scores * 3 // 4, LOOKED_BYTES * LOOKED_AT)) // SCORE_BYTES
    if device == "cpu":
        scores = min(scores, TILE * min(4, 1 + dim // 1024))  # on a GPU: a block goes there once
    small = max(SMALL_BLOCK, 4 * int(sizes.max(initial=0)))  # each label costs time in each block
    rows = min(
        for_rows // side_by_side // row_bytes,
        max(small, scores // most),
        max(small, -(-n_rows // (4 * side_by_side))),
        -(-n_rows // side_by_side),
        MOST_BLOCK,
    )
    rows = max(LEAST_BLOCK, rows)
    tiles = -(-most // max(1, scores // rows))
    return _Plan(order, groups, rows, -(-most // tiles), side_by_side)


def _groups(each: Rows, most_bytes: int) -> list[slice]:
    """Cut queries that need so many bytes each into groups that fit, of one query at least."""
    groups, start, ends = [], 0, np.cumsum(each)
    while start < len(each):
        before = int(ends[start] - each[start])
        fit = int(np.searchsorted(ends, before + most_bytes, side="right"))
        end = max(start + 1, min(fit, start + MOST_QUERIES))
        groups.append(slice(start, end))
        start = end
    return groups


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _scored(
    parts: list[Matrix], queries: Float64, labelled: Sequence[Rows], plan: _Plan
) -> tuple[LabelledRanks, Labels, Rows]:
    """Return the labelled rows with their scores: as the answer has them, and as they are counted.

    The labels are in the order of `Labels`, their queries numbered as in the plan; the last array
    says for each where it stands in the answer, whose ranks and ties are still empty.
    """
    sizes = np.array([len(rows) for rows in labelled], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    row = np.concatenate([*labelled, np.empty(0, dtype=np.int64)]).astype(np.int64)
    query = np.repeat(np.arange(len(sizes)), sizes)
    with np.errstate(over="ignore", invalid="ignore"):
        score = scores_of(parts, row, queries, query, plan.rows, plan.threads)
    if not np.isfinite(score).all():
        check_all(parts)
    number = np.empty_like(plan.order)
    number[plan.order] = np.arange(len(number))
    some = sizes[plan.order]
    ends = np.repeat(offsets[1:][plan.order] + np.cumsum(some) - some, some)
    backwards = ends - 1 - np.arange(len(row))  # the order query, row descending
    place = backwards[smallest(some, score[backwards])]
    ranks = LabelledRanks(offsets, row, np.empty_like(row), score, np.empty_like(row))
    return ranks, Labels(number[query][place], row[place], score[place], count_rows(parts)), place


def _asked(
    queries: Float64, labels: Labels, plan: _Plan, group: slice, depth: int, device: str
) -> tuple[Asked, slice]:
    """Return what a group of queries asks of every piece, and which of the labels are theirs."""
    chosen = plan.order[group]
    low, high = np.searchsorted(labels.query, [group.start, group.stop])
    mine = slice(int(low), int(high))
    own = Labels(
        labels.query[mine] - group.start, labels.row[mine], labels.score[mine], labels.total
    )
    in_a_row = bool(np.all(np.diff(chosen) == 1))  # a view, where one will do
    some = queries[chosen[0] : chosen[-1] + 1] if in_a_row else queries[chosen]
    return Asked(some, own, depth, plan.rows, plan.tile, plan.threads, device), mine


class _Sum:
    """What the pieces add up to, in whatever order they come."""

    def __init__(self, asked: Asked) -> None:
        """Start with nothing."""
        self.asked = asked
        self.rows = 0
        self.norms = (np.inf, 0.0)
        self.above = np.zeros(len(asked.labels.row), dtype=np.int64)
        self.tied = np.zeros(len(asked.labels.row), dtype=np.int64)
        self.query, self.row = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self.score = np.empty(0)

    def add(self, counted: Counted) -> None:
        """Add one piece."""
        added = counted.added
        self.rows += counted.rows
        self.norms = min(self.norms[0], counted.norms[0]), max(self.norms[1], counted.norms[1])
        self.above += added.above
        self.tied += added.tied
        if len(added.query):
            query = np.concatenate([self.query, added.query])
            row, score = np.append(self.row, added.row), np.append(self.score, added.score)
            if len(self.query):
                best = best_of_each(query, row, score, self.asked.depth)
                query, row, score = query[best], row[best], score[best]
            self.query, self.row, self.score = query, row, score

    def lasts(self) -> Float64:
        """Return the last score of every list; minus infinity where it is not full yet."""
        depth, n_queries = self.asked.depth, len(self.asked.queries)
        ends = np.cumsum(np.bincount(self.query, minlength=n_queries))
        full = (np.diff(ends, prepend=0) == depth) & (depth > 0)
        out = np.full(n_queries, -np.inf)
        out[full] = self.score[ends[full] - 1]
        return out
