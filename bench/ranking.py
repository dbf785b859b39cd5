"""Rankings: the list that all protocols share, lists in another order, and ranks that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.types import NO_ROW, LabelledRanks, Ranking, Shortlist

Float64 = NDArray[np.float64]


def one_list(ranks: LabelledRanks, shortlist: Shortlist, protocols: int) -> Ranking:
    """Return the ranking that all protocols share."""
    return Ranking((ranks,), (shortlist,), (0,) * protocols)


def reordered(before: Ranking, strengths: Sequence[Float64]) -> Ranking:
    """Return a ranking with every list in the order of its strengths (n_queries, depth).

    Larger is stronger; of equals the one before comes first. Places without a strength, NaN, keep
    their order behind those that have one. A list's scores are its strengths then, and the least
    float64 where there is none; ranks of images behind the list stay.
    """
    lists = []
    for listed, stated in zip(before.shortlist, strengths, strict=True):
        strength = np.asarray(stated, dtype=np.float64)
        key = np.where(np.isnan(strength) | (listed.row == NO_ROW), np.inf, -strength)
        order = np.argsort(key, axis=1, kind="stable")
        score = np.where(np.isinf(key), np.finfo(np.float64).min, strength)
        lists.append(Shortlist(*(np.take_along_axis(a, order, 1) for a in (listed.row, score))))
    ranks = tuple(follow(*pair) for pair in zip(before.ranks, lists, strict=True))
    return Ranking(ranks, tuple(lists), before.of)


def follow(ranks: LabelledRanks, after: Shortlist) -> LabelledRanks:
    """Return the ranks of the labelled images once their shortlist has the order of `after`.

    An image in the list has its place there as rank; the others keep theirs, being behind it.
    """
    rank = ranks.rank.copy()
    for query, listed in enumerate(after.row):
        part = ranks.of_query(query)
        inside = np.flatnonzero(np.isin(ranks.row[part], listed))
        order = np.argsort(listed)
        at = np.searchsorted(listed, ranks.row[part][inside], sorter=order)
        rank[part.start + inside] = order[at]
    return replace(ranks, rank=rank)
