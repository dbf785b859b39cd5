"""Positions carry their unit and their zone: zones of UTM against the globe, degrees refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bench import datasets
from bench.data import metres
from bench.datasets._readers import zones
from bench.errors import BenchError
from tests.support.miniatures_places import photographs

SQUARED_ECCENTRICITY = 2 * zones.FLATTENING - zones.FLATTENING**2


def on_globe(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Return (n, 3) metres from the centre of the ellipsoid."""
    across = zones.RADIUS_M / np.sqrt(1 - SQUARED_ECCENTRICITY * np.sin(latitude) ** 2)
    return np.stack(
        [
            across * np.cos(latitude) * np.cos(longitude),
            across * np.cos(latitude) * np.sin(longitude),
            across * (1 - SQUARED_ECCENTRICITY) * np.sin(latitude),
        ],
        axis=1,
    )


def test_a_tower_whose_position_is_known() -> None:
    plane = zones.Plane(17, south=False).code  # CN Tower: 43 38' 33.24" N, 79 23' 13.7" W
    latitude = np.deg2rad(np.array([43 + 38 / 60 + 33.24 / 3600]))
    longitude = -np.deg2rad(np.array([79 + 23 / 60 + 13.7 / 3600]))
    got = zones._to_plane(latitude, longitude, plane)
    np.testing.assert_allclose(got, [[630084, 4833438]], atol=1)


def test_the_middle_of_a_zone_on_the_equator() -> None:
    zero = np.zeros(1)
    for zone, south, north in ((31, False, 0.0), (31, True, 10_000_000.0)):
        plane = zones.Plane(zone, south).code
        got = zones._to_plane(zero, zero + np.deg2rad(3), plane)
        np.testing.assert_allclose(got, [[500_000.0, north]], atol=1e-6)


@given(
    st.integers(1, 60), st.floats(-79, 83), st.floats(-0.3, 0.3), st.floats(-150, 150),
    st.floats(-150, 150),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_distances_across_a_border_are_those_on_the_globe(
    zone: int, latitude: float, off: float, right: float, up: float
) -> None:
    assume(abs(latitude) > 1)  # of one hemisphere
    plane, other = (zones.Plane(z, latitude < 0).code for z in (zone, zone % 60 + 1))
    border = np.deg2rad(6 * zone - 180 + off)
    xy = zones._to_plane(np.deg2rad(np.array([latitude])), np.array([border]), plane)
    there = zones.brought(xy, plane, other)
    moved = there + np.array([[right, up]])
    back = zones.brought(moved, other, plane)
    np.testing.assert_allclose(zones.brought(there, other, plane), xy, atol=1e-5)
    first, second = (on_globe(*zones._to_degrees(p, other)) for p in (there, moved))
    on_earth = float(np.linalg.norm(first - second))
    assert abs(float(np.linalg.norm(back - xy)) - on_earth) <= 2e-3 * on_earth + 1e-5


def test_the_equator_is_a_border_too() -> None:
    north, south = zones.Plane(37, south=False).code, zones.Plane(37, south=True).code
    got = zones.brought(np.array([[400_000.0, 3.0]]), north, south)
    np.testing.assert_allclose(got, [[400_000.0, 10_000_003.0]], atol=1e-6)
    found = zones.positives(
        np.array([[400_000.0, 3.0], [400_000.0, 40.0]]), np.array([north, north]),
        np.array([[400_000.0, 9_999_990.0], [400_000.0, 9_000_000.0]]), np.array([south, south]),
        25.0,
    )  # fmt: skip
    assert [rows.tolist() for rows in found] == [[0], []]


@pytest.mark.parametrize(
    ("fields", "plane"),
    [
        (["10", "S"], 20), (["54", "S"], 108), (["7", ""], 14), (["56", "J"], 113),
        (["d5", ".jpg"], 0), (["", ""], 0), (["12", ".jpg"], 0), (["0001", "x"], 0),
        (["12", "q0"], 0),
        (["61", "S"], None), (["0", "S"], None), (["10", "O"], None), ([], 0), (["٣", "S"], 0),
    ],
)  # fmt: skip
def test_fields_that_are_a_zone(fields: list[str], plane: int | None) -> None:
    assert zones.plane_of(fields) == plane


def lay(root, database: list[str], queries: list[str]) -> None:
    """Write eynsham with these names."""
    folder = root / "eynsham" / "images" / "test"
    for kind, names in (("database", database), ("queries", queries)):
        photographs(folder / kind, names)


def positives(dataset) -> list[list[int]]:
    """Return the positives of every query."""
    return [truth.positive.tolist() for truth in dataset.protocols[0].truth]


def test_two_cities_of_equal_numbers_are_apart_and_a_border_is_none(workspace) -> None:
    # 84 degrees west is the border of zones 16 and 17, at 33.7 degrees north.
    here, there = (zones.Plane(z, south=False).code for z in (16, 17))
    border = zones._to_plane(np.deg2rad([33.7]), np.deg2rad([-84.0]), here)[0]
    beyond = zones.brought(border[None] + [[4.0, 0.0]], here, there)[0]
    database = [
        f"@{border[0]:.2f}@{border[1]:.2f}@16@S@a@.jpg",
        f"@{border[0] + 100:.2f}@{border[1]:.2f}@16@S@b@.jpg",
        f"@{border[0]:.2f}@{border[1]:.2f}@48@S@c@.jpg",
    ]
    lay(workspace.data, database, [f"@{beyond[0]:.2f}@{beyond[1]:.2f}@17@S@q@.jpg", database[2]])
    dataset = datasets.load("eynsham")
    files = [image.file.split("/")[1] for image in dataset.database]
    assert positives(dataset) == [[files.index(database[0])], [files.index(database[2])]]


def test_one_zone_and_none_are_one_plane_and_more_are_asked_for(workspace) -> None:
    bare = "@500000.00@4000000.00@@@q@.jpg"
    lay(workspace.data, ["@500010.00@4000000.00@33@T@a@.jpg"], [bare])
    assert positives(datasets.load("eynsham")) == [[0]]
    lay(workspace.data, ["@500010.00@4000000.00@34@T@b@.jpg"], [])
    with pytest.raises(BenchError, match="lacks a UTM zone") as caught:
        datasets.load("eynsham")
    assert bare in str(caught.value)
    lay(workspace.data, ["@500010.00@4000000.00@75@T@b@.jpg"], [])
    with pytest.raises(BenchError, match="75@T@b"):
        datasets.load("eynsham")


LONDON = [(51.5 + i * 0.01, -0.1) for i in range(4)]
SYDNEY = [(-33.8 - i * 0.01, 151.2) for i in range(4)]
CITIES = [(-40.0 + 9 * i + 1e-5 * k, 20.0 * i) for i in range(9) for k in range(4)]
DEGREES = {
    "a street": ([(48.85 + i * 1e-5, 2.35) for i in range(9)], [(48.85004, 2.3501)]),
    "longitude first": ([(-79.99, 40.44 + i * 1e-4) for i in range(9)], [(-79.98, 40.4401)]),
    "two cities": (LONDON + SYDNEY, [(51.501, -0.101), (-33.81, 151.21)]),
    "the world": (CITIES, [(5.01, 100.0)]),
}
METRES = {
    "frames of one column": ([(0.0, 2.381 * i) for i in range(9)], [(0.0, 4.76)]),
    "frames, whole": ([(float(i), float(i)) for i in range(30)], [(3.0, 3.0)]),
    "a hall": ([(1.37 * i, 0.91 * (i % 7)) for i in range(60)], [(20.4, 1.3)]),
    "places 30 m apart": ([(30.5 * i, 0.7 * i) for i in range(5)], [(30.1, 0.2), (61.4, 1.1)]),
    "utm": ([(500_000.5 + i, 4_000_000.25) for i in range(5)], [(500_001.5, 4_000_000.0)]),
}


@pytest.mark.parametrize("kind", list(DEGREES))
def test_degrees_are_refused(kind: str, workspace) -> None:
    database, queries = (np.array(side) for side in DEGREES[kind])
    with pytest.raises(BenchError, match="degrees"):
        metres.check(database, queries, 25.0, "here")
    names = [[f"@{x:.6f}@{y:.6f}@{i}@.jpg" for i, (x, y) in enumerate(s)] for s in DEGREES[kind]]
    lay(workspace.data, *names)
    with pytest.raises(BenchError, match=r"eynsham: positions such as .* convert"):
        datasets.load("eynsham")


@pytest.mark.parametrize("kind", list(METRES))
def test_metres_and_frames_are_taken(kind: str) -> None:
    database, queries = (np.array(side) for side in METRES[kind])
    metres.check(database, queries, 25.0, "here")
    metres.check(queries[:0], database, 25.0, "here")
