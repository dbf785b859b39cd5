"""Positions in metres: degrees in their place are refused, whatever file they come from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError


def check(
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
