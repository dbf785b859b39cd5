"""A database whose rows are copies of few: ranks and lists from the scores of these alone.

Such are rows of a network that has collapsed, or of a file that was written wrongly. Every row ties
with hundreds of others, so that the search by bands would score all of them in float64. Here a
query gets the float64 score of each kind of row, and rows are counted by kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.search.count import best_of_each
from bench.search.pairs import pair_scores
from bench.store.matrix import Matrix, check_block, count_rows, read
from bench.types import LabelledRanks, Rows, Shortlist

FOLD = 128  # rows of a kind, on average, from which this is less work than a matrix product
READ_NUMBERS, CELLS = 1 << 20, 1 << 18  # numbers of rows read, and entries of tables, at a time

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Kinds:
    """The kinds of rows of a database.

    each   a row (dim,) of each kind, of the type that it is read as
    of     (n,) int64, the kind of every row
    row    (n,) int64, the rows in the order of kind, then row; `start` (n_kinds + 1,) is where the
           rows of a kind begin
    norms  the least and the largest norm of a row
    """

    each: list[NDArray[Any]]
    of: Rows
    row: Rows
    start: Rows
    norms: tuple[float, float]


def few(parts: Sequence[Matrix]) -> Kinds | None:
    """Return the kinds of rows of a database that has few; None as soon as it has many.

    Rows of another database are read until they are of more than one in `FOLD` kinds, about as
    many rows as that. Raises BenchError for a row that holds NaN or infinity or is all zeros.
    """
    total = count_rows(parts)
    most, low = total // FOLD, 0
    step = min(most + 1, max(1, READ_NUMBERS // parts[0].shape[1]))
    known: dict[tuple[str, int], int] = {}
    each, of, norms = list[NDArray[Any]](), np.empty(total, dtype=np.int64), (np.inf, 0.0)
    while most and low < total:
        stored = read(parts, low, min(low + step, total))
        _, (least, largest) = check_block(parts, low, stored)
        norms = min(norms[0], least), max(norms[1], largest)
        digests, first, back = np.unique(_digests(stored), return_index=True, return_inverse=True)
        number = np.empty(len(first), dtype=np.int64)
        for at, (digest, place) in enumerate(zip(digests.tolist(), first.tolist(), strict=True)):
            number[at] = known.setdefault((stored.dtype.str, digest), len(known))
            if number[at] == len(each):
                each.append(stored[place].copy())
        if len(known) > most:
            return None
        for at, kind in enumerate(number.tolist()):
            if np.any(stored[back == at] != each[kind]):  # rows of one digest that differ
                return None
        of[low : low + len(stored)] = number[back]
        low += len(stored)
    if not most:
        return None
    row = np.argsort(of, kind="stable")
    start = np.searchsorted(of[row], np.arange(len(each) + 1))
    return Kinds(each, of, row, start, norms)


def _digests(stored: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a number for each row: of equal rows the same, of others hardly ever."""
    rows = np.ascontiguousarray(stored)
    size = next(size for size in (8, 4, 2) if rows.strides[0] % size == 0)
    words = rows.view(f"u{size}")
    draw = np.random.default_rng(0).integers(0, 1 << 63, words.shape[1], dtype=np.uint64)
    out: NDArray[np.uint64] = np.einsum("ij,j->i", words.astype(np.uint64), 2 * draw + 1)
    return out


def ranked(
    kinds: Kinds, queries: Float64, labelled: Sequence[Rows], depth: int
) -> tuple[LabelledRanks, Shortlist] | None:
    """Return exact ranks of the labelled rows and the first `depth` rows, as `exact.search` does.

    None where a score is not finite.
    """
    sizes = np.array([len(rows) for rows in labelled], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    row = np.concatenate([*labelled, np.empty(0, dtype=np.int64)]).astype(np.int64)
    ranks = LabelledRanks(offsets, row, np.empty_like(row), np.empty(len(row)), np.empty_like(row))
    n, n_kinds = len(queries), len(kinds.each)
    listed = Shortlist(np.empty((n, depth), dtype=np.int64), np.empty((n, depth)))
    step = max(1, CELLS // max(n_kinds, depth))
    for low in range(0, n, step):
        part = slice(low, min(low + step, n))
        with np.errstate(over="ignore", invalid="ignore"):
            scores = np.stack([_scores(each, queries[part]) for each in kinds.each], axis=1)
        if not np.isfinite(scores).all():
            return None
        steps = _Steps(kinds, scores)
        mine = slice(int(offsets[part.start]), int(offsets[part.stop]))
        of = np.repeat(np.arange(len(scores)), sizes[part])
        ranks.score[mine] = scores[of, kinds.of[row[mine]]]
        ranks.rank[mine], ranks.tied[mine] = steps.ranks(of, row[mine])
        listed.row[part], listed.score[part] = steps.lists(depth)
    return ranks, listed


def _scores(each: NDArray[Any], queries: Float64) -> Float64:
    """Return the float64 scores (n_queries,) of one row (dim,)."""
    return pair_scores(each[None], np.zeros(len(queries), int), queries, np.arange(len(queries)))


class _Steps:
    """The kinds of rows from the best to the worst for each query; those of one score are a step.

    order       (n, n_kinds) the kinds, best first
    first, end  (n, n_kinds) where the step of each place begins and ends
    before      (n, n_kinds + 1) rows of the kinds before each place
    """

    def __init__(self, kinds: Kinds, scores: Float64) -> None:
        """Put the kinds in order; `scores` (n, n_kinds)."""
        self.kinds, n_kinds = kinds, scores.shape[1]
        self.order = np.argsort(-scores, axis=1, kind="stable")
        self.score = np.take_along_axis(scores, self.order, axis=1)
        new = np.ones(scores.shape, dtype=bool)
        new[:, 1:] = self.score[:, 1:] != self.score[:, :-1]
        at = np.arange(n_kinds)
        self.first = np.maximum.accumulate(np.where(new, at, 0), axis=1)
        last = np.ones_like(new)
        last[:, :-1] = new[:, 1:]
        ends = np.where(last, at + 1, n_kinds)
        self.end = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
        self.before = np.zeros((len(scores), n_kinds + 1), dtype=np.int64)
        np.cumsum(np.diff(kinds.start)[self.order], axis=1, out=self.before[:, 1:])

    def ranks(self, query: Rows, row: Rows) -> tuple[Rows, Rows]:
        """Return the ranks of rows, and how many others have the score of each."""
        kinds, places = self.kinds, np.empty_like(self.order)
        np.put_along_axis(places, self.order, np.arange(self.order.shape[1])[None], axis=1)
        place = places[query, kinds.of[row]]
        first, end = self.first[query, place], self.end[query, place]
        rank = self.before[query, first].copy()
        tied = self.before[query, end] - rank - 1
        total, number = len(kinds.of), np.repeat(np.arange(len(kinds.each)), np.diff(kinds.start))
        keys = number * total + kinds.row
        for step in range(int((end - first).max(initial=0))):
            some = np.flatnonzero(first + step < end)
            kind = self.order[query[some], first[some] + step]
            at = np.searchsorted(keys, kind * total + row[some])
            rank[some] += at - kinds.start[kind]
        return rank, tied

    def lists(self, depth: int) -> tuple[Rows, Float64]:
        """Return the first `depth` rows of each query, and their scores."""
        kinds, n = self.kinds, len(self.order)
        before = np.take_along_axis(self.before, self.first, axis=1)
        query, place = np.nonzero(before < depth)
        kind = self.order[query, place]
        size = np.minimum(np.diff(kinds.start)[kind], depth - before[query, place])
        entry = np.repeat(np.arange(len(size)), size)
        inside = np.arange(len(entry)) - (np.cumsum(size) - size)[entry]
        row = kinds.row[kinds.start[kind][entry] + inside]
        score = self.score[query, place][entry]
        best = best_of_each(query[entry], row, score, depth)
        return row[best].reshape(n, depth), score[best].reshape(n, depth)
