"""Positives by distance: which database images are near a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

AT_ONCE = 1024  # queries; bounds the memory, and changes nothing
WIDER = 1 + 1e-9  # of the search in the tree, whose candidates are then measured


def positives(
    database: NDArray[np.float64],
    queries: NDArray[np.float64],
    threshold: float,
    *,
    strict: bool = False,
) -> list[NDArray[np.int64]]:
    """Return per query the database rows within a distance, ascending int64; there may be none.

    `database` (n, d) and `queries` (m, d) are float64 and finite, in the unit of `threshold`. A row
    is a positive if its squared distance is at most threshold² (`strict`: below it), in float64.
    Candidates come from a k-d tree, so not all pairs are ever in memory.
    """
    from scipy.spatial import cKDTree

    out: list[NDArray[np.int64]] = []
    tree = cKDTree(database)
    for low in range(0, len(queries), AT_ONCE):
        some = queries[low : low + AT_ONCE]
        found = tree.query_ball_point(some, threshold * WIDER, return_sorted=True)
        near = cast(Sequence[list[int]], found)  # of several points, a list each
        counts = np.array([len(rows) for rows in near], dtype=np.int64)
        flat = np.array([row for rows in near for row in rows], dtype=np.int64)
        off = database[flat] - np.repeat(some, counts, axis=0)
        squares = np.einsum("ij,ij->i", off, off)
        kept = squares < threshold**2 if strict else squares <= threshold**2
        owner = np.repeat(np.arange(len(some)), counts)[kept]
        out += np.split(flat[kept], np.searchsorted(owner, np.arange(1, len(some))))
    return out


def within_angle(
    positive: NDArray[np.int64], angle: float, of_rows: NDArray[np.float64], most: float
) -> NDArray[np.int64]:
    """Return the positives whose compass angle is at most `most` degrees off; NaN is never."""
    off = np.abs((of_rows[positive] - angle + 180) % 360 - 180)
    return positive[off <= most]


def checked(values: Any, count: int, where: object) -> NDArray[np.float64]:
    """Return positions as (count, 2) float64, or refuse them; `where` begins the sentence."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BenchError(f"{where} must be numbers: {error}.") from error
    if found.shape != (count, 2):
        raise BenchError(f"{where} must contain {count} pairs of numbers, but has {found.shape}.")
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise BenchError(f"{where}: position {bad[0]} is {found[bad[0]].tolist()}, not finite.")
    return found


def rules(threshold: float, *, strict: bool = False, unit: str = "m") -> dict[str, Any]:
    """Return the card's entry on positives by distance."""
    return {
        "positive": "planar-distance",
        f"threshold_{unit}": threshold,
        "comparison": "<" if strict else "<=",
    }
