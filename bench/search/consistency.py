"""Whether stored ranks and lists can come from one search: what `verify` asks of a record."""

from __future__ import annotations

import itertools

import numpy as np

from bench.types import NOT_RETRIEVED, LabelledRanks, Shortlist


def check_form(ranks: LabelledRanks, shortlist: Shortlist) -> None:
    """Refuse arrays of another type or shape with ValueError; what is in them is not looked at."""
    whole = (ranks.row, ranks.rank, ranks.tied)
    if any(a.dtype != np.int64 for a in (ranks.offsets, *whole, shortlist.row)):
        raise ValueError("offsets, rows, ranks and ties must be int64")
    if any(a.dtype != np.float64 for a in (ranks.score, shortlist.score)):
        raise ValueError("scores must be float64")
    shapes = {a.shape for a in (*whole, ranks.score)}
    if shapes != {(int(ranks.offsets[-1]),)} or np.any(np.diff(ranks.offsets, prepend=0) < 0):
        raise ValueError("the offsets do not fit the ranks")
    if shortlist.row.shape != shortlist.score.shape or shortlist.row.ndim != 2:
        raise ValueError("the shortlist lacks a score per row")


def faults(ranks: LabelledRanks, shortlist: Shortlist, n_rows: int, *, exact: bool) -> list[str]:
    """Return what contradicts one ranking of `n_rows` rows by score and then row.

    An index (not `exact`) leaves images without a rank.
    """
    found = (_fault(ranks, shortlist, q, n_rows, exact) for q in range(len(ranks.offsets) - 1))
    return [*itertools.islice(filter(None, found), 1)]


def _fault(
    ranks: LabelledRanks, shortlist: Shortlist, query: int, n_rows: int, exact: bool
) -> str | None:
    """Return what contradicts the ranking of one query, None where nothing does."""
    part = ranks.of_query(query)
    row, rank, score = ranks.row[part], ranks.rank[part], ranks.score[part]
    tied = ranks.tied[part]
    if np.any(np.diff(row) <= 0) or np.any((row < 0) | (row >= n_rows)):
        return f"the labelled rows of query {query} are not sorted rows of the database"
    if not exact:  # what was not retrieved has no rank to contradict
        kept = rank != NOT_RETRIEVED
        if np.any(score[~kept] != -np.inf) or np.any(tied[~kept] != 0):
            return f"images of query {query} that were not retrieved have a score"
        row, rank, score, tied = row[kept], rank[kept], score[kept], tied[kept]
    best_first = np.lexsort((row, -score))
    places = rank[best_first]
    if np.any(np.diff(places) <= 0) or np.any((rank < 0) | (rank >= n_rows)):
        return f"the ranks of query {query} contradict its scores"
    listed = shortlist.row[query]
    inside = rank < len(listed)
    if np.any(listed[rank[inside]] != row[inside]):
        return f"the ranks of query {query} contradict its shortlist"
    if len(np.intersect1d(listed, row)) != np.count_nonzero(inside):
        return f"the shortlist of query {query} contains labelled images that are ranked elsewhere"
    if not np.all(np.diff(shortlist.score[query]) <= 0):
        return f"the shortlist of query {query} is not in order of score"
    if np.any(shortlist.score[query][rank[inside]] != score[inside]):
        return f"the scores of query {query} contradict its shortlist"
    _, group, size = np.unique(score, return_inverse=True, return_counts=True)
    if np.any(tied < size[group] - 1) or np.any(tied >= n_rows):
        return f"the ties of query {query} contradict its scores"
    return None
