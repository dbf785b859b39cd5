"""Zones of UTM: positions of different zones are planes of their own, compared at their borders.

East and north are those of transverse Mercator projections of 6 degrees each (60 zones, two
hemispheres), so the same two numbers mean 120 places on Earth. A position is brought into a
neighbouring plane by the series of Krüger to the fourth order of the flattening, which is exact to
a hundredth of a millimetre within a few degrees (C. F. F. Karney: Transverse Mercator with an
accuracy of a few nanometers, Journal of Geodesy 85, 2011, section 3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.datasets._readers import by_distance

Floats = NDArray[np.float64]
Planes = NDArray[np.int64]

ZONES = 60
BANDS = "CDEFGHJKLMNPQRSTUVWX"  # of latitude, from 80 degrees south; N and after are north
NOT_STATED = 0

RADIUS_M, FLATTENING = 6378137.0, 1 / 298.257223563  # WGS 84
SCALE, EAST_M, NORTH_OF_SOUTH_M = 0.9996, 500_000.0, 10_000_000.0
_N = FLATTENING / (2 - FLATTENING)
_MEAN_M = RADIUS_M / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64)
_ALPHA = (
    _N / 2 - 2 * _N**2 / 3 + 5 * _N**3 / 16 + 41 * _N**4 / 180,
    13 * _N**2 / 48 - 3 * _N**3 / 5 + 557 * _N**4 / 1440,
    61 * _N**3 / 240 - 103 * _N**4 / 140,
    49561 * _N**4 / 161280,
)
_BETA = (
    _N / 2 - 2 * _N**2 / 3 + 37 * _N**3 / 96 - _N**4 / 360,
    _N**2 / 48 + _N**3 / 15 - 437 * _N**4 / 1440,
    17 * _N**3 / 480 - 37 * _N**4 / 840,
    4397 * _N**4 / 161280,
)
_DELTA = (
    2 * _N - 2 * _N**2 / 3 - 2 * _N**3 + 116 * _N**4 / 45,
    7 * _N**2 / 3 - 8 * _N**3 / 5 - 227 * _N**4 / 45,
    56 * _N**3 / 15 - 136 * _N**4 / 35,
    4279 * _N**4 / 630,
)


class Plane(NamedTuple):
    """A zone, 1 to 60, and a hemisphere."""

    zone: int
    south: bool

    @property
    def code(self) -> int:
        """Return the plane as a number above zero."""
        return 2 * self.zone + self.south


def plane_of(fields: list[str]) -> int | None:
    """Return the code of the plane that the fields zone and letter of a name state.

    NOT_STATED without a zone, and None for a zone that does not exist. A zone is one or two digits
    before a letter of a band of latitude, or before an empty field.
    """
    zone, letter = (*fields, "", "")[:2]
    if not (zone.isascii() and zone.isdecimal() and len(zone) <= 2):
        return NOT_STATED
    if letter and (len(letter) > 1 or not letter.isalpha()):
        return NOT_STATED
    if not 1 <= int(zone) <= ZONES or (letter and letter.upper() not in BANDS):
        return None
    return Plane(int(zone), bool(letter) and letter.upper() < "N").code


def positives(
    database: Floats, rows_in: Planes, queries: Floats, asked_in: Planes, threshold: float
) -> list[NDArray[np.int64]]:
    """Return per query the database rows within `threshold` metres, ascending.

    Positions (n, 2) are east and north; `rows_in` and `asked_in` (n,) int64 are codes of their
    planes. A query is compared with the rows of its own plane, as they are, and with those of the
    neighbouring ones, brought into it.
    """
    out: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)] * len(queries)
    present = np.unique(rows_in)
    for plane in np.unique(asked_in).tolist():
        asked = np.flatnonzero(asked_in == plane)
        near, moved = [], []
        for other in present.tolist():
            if not _are_neighbours(plane, other):
                continue
            rows = np.flatnonzero(rows_in == other)
            xy = database[rows] if other == plane else brought(database[rows], other, plane)
            near.append(rows)
            moved.append(xy)
        if not near:
            continue
        numbers = np.concatenate(near)
        order = np.argsort(numbers, kind="stable")
        there = np.concatenate(moved)[order]
        for query, rows in zip(
            asked.tolist(), by_distance.positives(there, queries[asked], threshold), strict=True
        ):
            out[query] = numbers[order][rows].astype(np.int64)
    return out


def brought(xy: Floats, plane: int, other: int) -> Floats:
    """Return positions (n, 2) of one plane in another, in metres."""
    return _to_plane(*_to_degrees(xy, plane), other)


def _are_neighbours(plane: int, other: int) -> bool:
    apart = abs(plane // 2 - other // 2)
    return min(apart, ZONES - apart) <= 1


def _central(plane: int) -> float:
    """Return the longitude of the middle of a zone, in radians."""
    return float(np.deg2rad(6 * (plane // 2) - 183))


def _to_degrees(xy: Floats, plane: int) -> tuple[Floats, Floats]:
    """Return latitude and longitude in radians."""
    south = NORTH_OF_SOUTH_M if plane % 2 else 0.0
    xi = (xy[:, 1] - south) / (SCALE * _MEAN_M)
    eta = (xy[:, 0] - EAST_M) / (SCALE * _MEAN_M)
    first, second = xi.copy(), eta.copy()
    for j, beta in enumerate(_BETA, 1):
        first -= beta * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
        second -= beta * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
    conformal = np.arcsin(np.sin(first) / np.cosh(second))
    latitude = conformal.copy()
    for j, delta in enumerate(_DELTA, 1):
        latitude += delta * np.sin(2 * j * conformal)
    return latitude, _central(plane) + np.arctan2(np.sinh(second), np.cos(first))


def _to_plane(latitude: Floats, longitude: Floats, plane: int) -> Floats:
    root = 2 * np.sqrt(_N) / (1 + _N)
    sine = np.sin(latitude)
    tangent = np.sinh(np.arctanh(sine) - root * np.arctanh(root * sine))
    turn = longitude - _central(plane)
    turn = np.arctan2(np.sin(turn), np.cos(turn))
    first = np.arctan2(tangent, np.cos(turn))
    second = np.arctanh(np.sin(turn) / np.sqrt(1 + tangent**2))
    xi, eta = first.copy(), second.copy()
    for j, alpha in enumerate(_ALPHA, 1):
        xi += alpha * np.sin(2 * j * first) * np.cosh(2 * j * second)
        eta += alpha * np.cos(2 * j * first) * np.sinh(2 * j * second)
    south = NORTH_OF_SOUTH_M if plane % 2 else 0.0
    north = SCALE * _MEAN_M * xi + south
    return np.stack([EAST_M + SCALE * _MEAN_M * eta, north], axis=1)
