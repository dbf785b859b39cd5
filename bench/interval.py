"""Uncertainty of a mean over queries: a bootstrap over landmarks, not over single queries.

Queries that share a positive image look at the same landmark and succeed or fail together, so
they are drawn together: the groups are the connected components of queries and their positives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bench.types import Protocol

LEVEL = 0.95
DRAWS = 2000


def landmark_groups(protocols: Sequence[Protocol], n_rows: int) -> NDArray[np.int64]:
    """Return one group number per query, int64: queries linked by a shared positive are equal.

    The positives of all protocols count, so that the groups are the same for each of them.
    """
    n_queries = len(protocols[0].truth)
    query, row = [], []
    for protocol in protocols:
        for i, truth in enumerate(protocol.truth):
            query.append(np.full(len(truth.positive), i))
            row.append(truth.positive + n_queries)
    edges = (np.concatenate(query), np.concatenate(row))
    size = n_queries + n_rows
    graph = coo_array((np.ones(len(edges[0]), dtype=bool), edges), shape=(size, size))
    return connected_components(graph, directed=False)[1][:n_queries].astype(np.int64)


def bootstrap(
    values: NDArray[np.float64], groups: NDArray[np.int64], seed: int
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of the mean of `values`, or None where it says nothing.

    `values` has one float64 per query; NaN (a query without a score) is left out. Groups are
    drawn with replacement, `DRAWS` times. With fewer than two groups there is no interval.
    """
    scored = ~np.isnan(values)
    _, member = np.unique(groups[scored], return_inverse=True)
    if len(member) == 0 or member.max() < 1:
        return None
    total = np.bincount(member, weights=values[scored])
    count = np.bincount(member)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(total), size=(DRAWS, len(total)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
