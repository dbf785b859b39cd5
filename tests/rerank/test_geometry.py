"""Matches and affine inliers of two images: by hand, against scikit-image, and under motions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bench.rerank import geometry
from bench.types import LocalFeatures, LocalRule, Ransac

BOTH = pytest.mark.parametrize("mode", ["fast", "compatible"])
RANSAC = pytest.mark.parametrize(
    "ransac", [geometry.affine_inliers, geometry.affine_inliers_compatible]
)
Affine = Callable[[np.ndarray, np.ndarray], int]


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def features(points: np.ndarray, descriptors: np.ndarray) -> LocalFeatures:
    ones = np.ones(len(points), dtype=np.float32)
    return LocalFeatures(points.astype(np.float32), ones, ones, descriptors)


def pair(seed: int, count: int = 120, true: int = 30) -> tuple[LocalFeatures, LocalFeatures]:
    """Return a query and an image on the grids of several scales; `true` features correspond."""
    draw = np.random.default_rng(seed)
    scale = draw.choice([0.25, 0.35355338, 0.5, 0.70710677, 1.0, 1.4142135, 2.0], (count, 1))
    grid = 32 * draw.integers(0, 30, (count, 2)) / scale
    image = features(grid, unit(draw.standard_normal((count, 16))))
    points = 32 * draw.integers(0, 30, (count, 2)) / scale
    rows = unit(draw.standard_normal((count, 16)))
    turn = np.eye(2) + 0.2 * draw.standard_normal((2, 2))
    points[:true] = grid[:true] @ turn.T + draw.uniform(-90, 90, 2) + draw.normal(0, 6, (true, 2))
    rows[:true] = unit(image.descriptors[:true] + 0.1 * draw.standard_normal((true, 16)))
    return features(points, rows), image


# --- matches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("match", [geometry.matches, geometry.matches_compatible])
def test_matches_by_hand(match: Callable[..., tuple[np.ndarray, np.ndarray]]) -> None:
    """Angles 0, 60 and 180 degrees; nearest at 10, 30 and 50 degrees; 30 degrees are 0.5176."""
    query = angles(0, 60, 180)
    other = angles(90, 10, 130)
    mine, theirs = match(query, other, 1.0)
    assert mine.tolist() == [0, 1, 2]
    assert theirs.tolist() == [1, 0, 2]
    assert match(query, other, 0.6)[0].tolist() == [0, 1]
    assert match(query, other, 0.51)[0].tolist() == [0]
    assert match(query, other, 0.17)[0].tolist() == []


def angles(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def test_one_feature_may_be_matched_often_and_equal_ones_give_the_first() -> None:
    mine, theirs = geometry.matches(angles(1, 2, 3), angles(2, 2), 1.0)
    assert mine.tolist() == [0, 1, 2]
    assert theirs.tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_matches_are_those_of_the_tree(seed: int) -> None:
    query, image = pair(seed)
    for distance in (0.5, 0.9, 1.0):
        fast = geometry.matches(query.descriptors, image.descriptors, distance)
        slow = geometry.matches_compatible(query.descriptors, image.descriptors, distance)
        assert np.array_equal(fast, slow)


@pytest.mark.parametrize("seed", range(5))
def test_mutual_matches_are_nearest_both_ways(seed: int) -> None:
    query, image = pair(seed)
    for distance in (0.5, 1.3):
        fast = geometry.matches(query.descriptors, image.descriptors, distance, True)
        slow = geometry.matches_compatible(query.descriptors, image.descriptors, distance, True)
        assert np.array_equal(fast, slow)
        there = geometry.matches(query.descriptors, image.descriptors, distance)
        back = geometry.matches(image.descriptors, query.descriptors, distance)
        both = set(zip(*map(np.ndarray.tolist, there), strict=True)) & {
            (mine, theirs) for theirs, mine in zip(*map(np.ndarray.tolist, back), strict=True)
        }
        assert set(zip(*map(np.ndarray.tolist, fast), strict=True)) == both
        assert len(set(fast[1].tolist())) == len(fast[1])
        assert (len(fast[1]) < len(there[1])) == (distance > 1)


def test_a_rule_may_ask_for_mutual_matches() -> None:
    """Five features of the query are all nearest to the first of four: one pair is left."""
    query = features(np.arange(10.0).reshape(5, 2), angles(1, 2, 3, 4, 5))
    image = features(SQUARE[:4], angles(0, 90, 180, 270))
    rule = LocalRule(dim=2, stride_px=1, match_distance=0.5)
    for mode in ("fast", "compatible"):
        match = geometry.matches if mode == "fast" else geometry.matches_compatible
        assert len(match(query.descriptors, image.descriptors, 0.5)[0]) == 5
        assert [x.tolist() for x in match(query.descriptors, image.descriptors, 0.5, True)] == [
            [0], [0]
        ]  # fmt: skip
        assert geometry.inliers(query, image, replace(rule, mutual=True), mode) == 0


# --- affine inliers -----------------------------------------------------------------------------

SQUARE = np.array([[0, 0], [0, 400], [400, 0], [400, 400], [100, 250], [300, 120]], dtype=float)


def near(distance: float, *, upright: bool = False) -> LocalRule:
    """Return a rule that matches below a distance."""
    return LocalRule(dim=2, stride_px=1, match_distance=distance, upright=upright)


@RANSAC
def test_inliers_by_hand(ransac: Affine) -> None:
    """Six points under one map and two elsewhere: six, whatever the map."""
    stray = np.array([[50, 60], [350, 20]], dtype=float)
    source = np.concatenate([SQUARE, stray])
    for turn, shift in (
        ([[1, 0], [0, 1]], [0, 0]),
        ([[0, -1], [1, 0]], [500, 7]),
        ([[2, 0.5], [0.3, 1]], [-80, 40]),
        ([[1, 0], [0, -1]], [0, 300]),
    ):
        astray = stray + np.array([[5e3, 0], [0, 9e3]])
        target = np.concatenate([SQUARE @ np.array(turn).T + shift, astray])
        assert ransac(source, target) == 6


@RANSAC
@pytest.mark.parametrize(("off", "count"), [(19.9, 5), (20.1, 4)])
def test_an_inlier_is_nearer_than_twenty_pixels(ransac: Affine, off: float, count: int) -> None:
    """Four corners stay and their centre moves; a map that follows it moves two corners twice."""
    source = np.array([[0, 0], [0, 40], [40, 0], [40, 40], [20, 20]], dtype=float)
    target = source.copy()
    target[4] += [off, 0]
    assert ransac(source, target) == count


@BOTH
def test_three_matches_count_for_nothing(mode: Ransac) -> None:
    three, four = angles(0, 90, 180), angles(0, 90, 180, 270)
    points = SQUARE[:4]
    whole = features(points, four)
    assert geometry.inliers(features(points[:3], three), whole, near(0.5), mode) == 0
    assert geometry.inliers(whole, whole, near(0.5), mode) == 4


@BOTH
def test_no_features_count_for_nothing(mode: Ransac) -> None:
    none = features(np.empty((0, 2)), np.empty((0, 2), dtype=np.float32))
    some = features(SQUARE[:4], angles(0, 90, 180, 270))
    assert geometry.inliers(none, some, near(1.0), mode) == 0
    assert geometry.inliers(some, none, near(1.0), mode) == 0
    assert geometry.inliers(some, some, near(1e-9), mode) in (0, 4), "a distance of 0 is rounding"


def test_points_on_a_line_fix_no_map() -> None:
    line = np.arange(10.0)[:, None] * [3.0, 4.0]
    assert geometry.affine_inliers(line, line) == 0


@pytest.mark.slow
@pytest.mark.parametrize("true", [0, 5, 12, 30, 90])
def test_fast_counts_are_those_of_scikit_image(true: int) -> None:
    """The same samples and the same stopping rule: equal but for a rounding at the threshold."""
    differing = 0
    for seed in range(6):
        query, image = pair(100 * true + seed, true=true)
        fast = geometry.inliers(query, image, near(1.0), "fast")
        slow = geometry.inliers(query, image, near(1.0), "compatible")
        assert abs(fast - slow) <= 1
        differing += fast != slow
        assert fast >= (0.8 * true if true >= 30 else 3)
    assert differing <= 1


def test_trials_stop_as_in_scikit_image() -> None:
    from skimage.measure.fit import _dynamic_max_trials

    for found in range(3, 51):
        assert geometry._trials_needed(found, 50) == _dynamic_max_trials(found, 50, 3, 1)


@pytest.mark.parametrize("seed", range(3))
def test_motions_of_the_image_change_nothing(seed: int) -> None:
    """Residuals are measured in the query, so the image may be shifted, turned and stretched."""
    query, image = pair(seed)
    count = geometry.inliers(query, image, near(1.0), "fast")
    for turn in ([[1, 0], [0, 1]], [[0, 1], [-1, 0]], [[0.5, 0], [0, 2]]):
        moved = features(image.points @ np.array(turn) + [123, -45], image.descriptors)
        assert abs(geometry.inliers(query, moved, near(1.0), "fast") - count) <= 1
    shifted = features(query.points + np.float32(64), query.descriptors)
    assert geometry.inliers(shifted, image, near(1.0), "fast") == count
    turned = features(query.points[:, ::-1], query.descriptors)
    assert abs(geometry.inliers(turned, image, near(1.0), "fast") - count) <= 1


def test_half_precision_moves_counts_little() -> None:
    for seed in range(5):
        query, image = pair(seed)
        half = features(image.points, image.descriptors.astype(np.float16))
        exact = geometry.inliers(query, image, near(1.0), "fast")
        assert abs(geometry.inliers(query, half, near(1.0), "fast") - exact) <= 3


# --- maps that keep photographs upright ---------------------------------------------------------


def turned(degrees: float, across: float = 1.0, along: float = 1.0) -> np.ndarray:
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rotation @ np.diag([across, along])


@pytest.mark.parametrize(
    ("linear", "kept"),
    [(turned(0), True), (turned(29), True), (turned(-29), True), (turned(31), False),
     (turned(180), False), (turned(0, 3.9, 3.9), True), (turned(0, 4.1, 4.1), False),
     (turned(0, 0.26, 0.26), True), (turned(0, 0.24, 0.24), False), (turned(0, 2.9, 1), True),
     (turned(0, 1, 3.1), False), (turned(0, -1, 1), False), (turned(0, 1, 0), False),
     (np.full((2, 2), np.nan), False), (np.zeros((2, 2)), False)],
)  # fmt: skip
def test_which_maps_a_photographer_may_have_made(linear: np.ndarray, kept: bool) -> None:
    assert geometry.keeps_upright(linear[None]).tolist() == [kept]


def test_the_same_from_singular_values_and_the_polar_decomposition() -> None:
    maps = np.random.default_rng(0).normal(0, 1, (2000, 2, 2)) + np.eye(2)
    found = geometry.keeps_upright(maps)
    wanted = []
    for linear in maps:
        left, values, right = np.linalg.svd(linear)
        turn = left @ right
        angle = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
        wanted.append(
            np.linalg.det(linear) > 0 and abs(angle) <= 30 and values[1] >= 0.25
            and values[0] <= 4 and values[0] <= 3 * values[1]
        )  # fmt: skip
    assert found.tolist() == wanted
    assert 100 < found.sum() < 1900


@BOTH
def test_mirrored_turned_and_flattened_images_do_not_count(mode: Ransac) -> None:
    query, image = pair(7, true=60)
    whole = geometry.inliers(query, image, near(1.0), mode)
    assert whole >= 48
    for change in ([[1, 0], [0, -1]], [[0, 1], [-1, 0]], [[1, 0], [0, 0.01]]):
        moved = features(image.points @ np.array(change), image.descriptors)
        assert geometry.inliers(query, moved, near(1.0), mode) >= whole - 1
        assert geometry.inliers(query, moved, near(1.0, upright=True), mode) < whole / 2


@pytest.mark.slow
@pytest.mark.parametrize("true", [0, 5, 30, 90])
def test_fast_counts_of_upright_maps_are_those_of_scikit_image(true: int) -> None:
    for seed in range(4):
        query, image = pair(100 * true + seed, true=true)
        fast = geometry.inliers(query, image, near(1.0, upright=True), "fast")
        slow = geometry.inliers(query, image, near(1.0, upright=True), "compatible")
        assert abs(fast - slow) <= 1
