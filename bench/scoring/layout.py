"""Where queries stand to each other: in space, along a route, or not known.

Blocks are cut from this (`bench.scoring.blocks`). It never enters a card: two data sets with the
same lists and labels have the same protocol, whether or not one of them knows positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from bench.types import Dataset, Protocol, Rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ALIKE = 0.5  # share of the shorter recording that shows places of another: they are one route

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Layout:
    """What distances between queries follow from.

    `points` (n_queries, d) float64: metres (rule "space", d = 2) or places along a route (rule
    "order", d = 1); queries at one point are views of one place. `part` (n_queries,) int64: queries
    of different parts, such as two cities, have nothing to do with each other.
    """

    rule: Literal["space", "order"]
    points: Points
    part: Rows


def layout_of(dataset: Dataset) -> Layout | None:
    """Return the layout of the queries of a data set; None where it knows neither.

    Positions are taken before order. Queries that search different areas are of different parts.
    """
    n = len(dataset.queries)
    area = np.zeros(n, dtype=np.int64) if dataset.areas is None else dataset.areas.queries
    if dataset.positions is not None:
        return Layout("space", dataset.positions, area)
    if dataset.order is None:
        return None
    recording, place = one_route(dataset.order, dataset.protocols, len(dataset.database))
    part = np.unique(np.column_stack([area, recording]), axis=0, return_inverse=True)[1]
    return Layout("order", place[:, None], part.ravel().astype(np.int64))


def one_route(order: Rows, protocols: Sequence[Protocol], n_rows: int) -> tuple[Rows, Points]:
    """Return recording (n,) int64 and place (n,) float64 of queries, several traversals as one.

    `order` (n, 2) int64 has the recording of each query and its place in it. Where at least half of
    a recording shares positives with a longer one, it is taken for another traversal of that
    route, in either direction: a query stands where the queries do that share its positives, and
    those that share none between their neighbours.
    """
    recording, place = order[:, 0].copy(), order[:, 1].astype(np.float64)
    shares = _share(protocols, n_rows)
    number, size = np.unique(recording, return_counts=True)
    routes: list[int] = []
    for drive in number[np.argsort(-size, kind="stable")]:
        own = np.flatnonzero(order[:, 0] == drive)
        for route in routes:
            there = np.flatnonzero(recording == route)
            found = shares[own][:, there]
            seen = np.diff(found.indptr) > 0
            if len(own) and seen.mean() >= ALIKE:
                at = np.array(
                    [
                        np.median(
                            place[there[found.indices[found.indptr[i] : found.indptr[i + 1]]]]
                        )
                        for i in np.flatnonzero(seen)
                    ]
                )
                before, first = np.unique(order[own[seen], 1], return_index=True)
                place[own] = np.interp(order[own, 1], before, at[first])
                place[own[seen]] = at
                recording[own] = route
                break
        else:
            routes.append(int(drive))
    return recording, place


def _share(protocols: Sequence[Protocol], n_rows: int) -> csr_array:
    """Return which queries share a positive under any protocol: sparse, (n, n)."""
    from scipy.sparse import csr_array

    n = len(protocols[0].truth)
    both = csr_array((n, n), dtype=np.int32)
    for protocol in protocols:
        counts = [len(truth.positive) for truth in protocol.truth]
        rows = np.concatenate([np.empty(0, np.int64), *(t.positive for t in protocol.truth)])
        pointers = np.cumsum([0, *counts])
        labels = csr_array((np.ones(len(rows), np.int32), rows, pointers), shape=(n, n_rows))
        both = both + labels @ labels.T
    return csr_array(both)
