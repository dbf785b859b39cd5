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


def check_metres(
    database: NDArray[np.float64], queries: NDArray[np.float64], threshold: float, where: object
) -> None:
    """Refuse positions that look like latitudes and longitudes; `where` begins the sentence.

    They are within 90 and 180 in one order or the other, have decimals, and both numbers vary; and
    of this is true: every query has every image as a positive, or database images are less than
    0.001 apart (a millimetre, or 100 m), or in clusters narrower than 1 with nothing between 1 and
    the threshold. Frame counts and rooms in metres are none of these.
    """
    from scipy.spatial import cKDTree

    if not len(database) or not len(queries):
        return
    points = np.concatenate([database, queries])
    span = np.abs(points).max(axis=0)
    if span.min() > 90 or span.max() > 180 or not np.ptp(points, axis=0).any():
        return
    if not points.any(axis=0).all() or not (points % 1).any():
        return
    places = np.unique(database, axis=0)
    apart = _spacing(places)
    most = max(
        float(np.hypot(*np.abs(queries - corner).max(axis=0))) for corner in _corners(database)
    )
    if most > threshold and apart >= 0.001:
        near, all_near = cKDTree(places), cKDTree(np.unique(queries, axis=0))
        close, within = (int(all_near.count_neighbors(near, r)) for r in (1.0, threshold))
        if apart > 0.5 or close < within:
            return
    raise BenchError(
        f"{where}: positions such as {points[0].tolist()} are degrees (latitude and longitude), "
        f"but positives are within {threshold:g} metres; convert the positions to metres (UTM)."
    )


def _corners(points: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([[low[0], low[1]], [low[0], high[1]], [high[0], low[1]], [high[0], high[1]]])


def _spacing(places: NDArray[np.float64]) -> float:
    """Return the median distance of different places from the next one; infinity for one place."""
    from scipy.spatial import cKDTree

    if len(places) < 2:
        return float("inf")
    some = places if len(places) <= 10_000 else places[:: len(places) // 10_000]
    distances = np.asarray(cKDTree(places).query(some, k=2)[0])
    return float(np.median(distances[:, 1]))


def rules(threshold: float, *, strict: bool = False, unit: str = "m") -> dict[str, Any]:
    """Return the card's entry on positives by distance."""
    return {
        "positive": "planar-distance",
        f"threshold_{unit}": threshold,
        "comparison": "<" if strict else "<=",
    }
