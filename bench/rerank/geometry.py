"""Geometric verification of one pair of images: matches between local features, affine inliers.

As DELG's official program does it (Cao, Araujo, Sim, ECCV 2020; `delf`, image_reranking): each
feature of the query is matched with its nearest feature of the database image, if that is near
enough; RANSAC looks for the affine map from the database image to the query that most matches
follow; their number is the score. Two ways give it:

compatible  a k-d tree and scikit-image's RANSAC, the official recipe
fast        a matrix product, and the same RANSAC (the same samples, the same stopping rule) with
            all hypotheses of a block in one product; so the counts are the same but for rounding

A method may ask for maps that keep photographs upright (`LocalRule.upright`), after Philbin et al.
(Object Retrieval with Large Vocabularies and Fast Spatial Matching, CVPR 2007, section 4): any
three matches have an affine map, and one that mirrors or flattens an image finds followers by
chance.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.types import LocalFeatures, LocalRule, Ransac, Rows

LEAST_MATCHES = 4  # three matches fit any affine map
INLIER_PX = 20.0
TRIALS = 1000
SEED = 0
BLOCK = 100  # hypotheses at once
LARGEST, LONGEST, TURN_DEG = 4.0, 3.0, 30.0  # of upright maps: scale, its ratio by axis, rotation

Points = NDArray[np.float64]


def inliers(query: LocalFeatures, other: LocalFeatures, rule: LocalRule, mode: Ransac) -> int:
    """Return how many matches follow the best affine map from `other` to `query`.

    The rule says what matches, and which maps there are. With fewer than LEAST_MATCHES matches, and
    where no sample of three gives a map, the answer is 0.
    """
    return len(inlier_matches(query, other, rule, mode)[0])


def inlier_matches(
    query: LocalFeatures, other: LocalFeatures, rule: LocalRule, mode: Ransac
) -> tuple[Rows, Rows]:
    """Return the matches that `inliers` counts: (rows of `query`, rows of `other`), both (n,)."""
    nothing = np.empty(0, dtype=np.int64)
    if min(len(query.points), len(other.points)) == 0:
        return nothing, nothing
    match, ransac = (
        (matches, affine_followers)
        if mode == "fast"
        else (matches_compatible, affine_followers_compatible)
    )
    mine, theirs = match(query.descriptors, other.descriptors, rule.match_distance, rule.mutual)
    if len(mine) < LEAST_MATCHES:
        return nothing, nothing
    source, target = other.points[theirs].astype(float), query.points[mine].astype(float)
    found = ransac(source, target, rule.upright)
    return mine[found], theirs[found]


def matches(
    query: NDArray[np.floating], other: NDArray[np.floating], distance: float, mutual: bool = False
) -> tuple[Rows, Rows]:
    """Return (rows of `query`, rows of `other`): nearest neighbours nearer than `distance`.

    Both are unit descriptors, (n, d) and (m, d), n and m at least 1, so the nearest is that with
    the largest product; equally near: the first. A row of `other` may be matched many times, but
    not if `mutual`: then a match is the nearest both ways.
    """
    products = query.astype(np.float32, copy=False) @ other.astype(np.float32, copy=False).T
    nearest = products.argmax(axis=1)
    best = products[np.arange(len(nearest)), nearest]
    near = best > 1 - distance * distance / 2
    if mutual:
        near &= products.argmax(axis=0)[nearest] == np.arange(len(nearest))
    mine = np.flatnonzero(near)
    return mine, nearest[mine]


def matches_compatible(
    query: NDArray[np.floating], other: NDArray[np.floating], distance: float, mutual: bool = False
) -> tuple[Rows, Rows]:
    """Return what `matches` does, from a k-d tree as in the official program."""
    from scipy.spatial import cKDTree

    _, nearest = cKDTree(other).query(query, distance_upper_bound=distance)
    mine = np.flatnonzero(nearest < len(other))
    theirs = np.asarray(nearest)[mine].astype(np.int64)
    if mutual:
        back = np.asarray(cKDTree(query).query(other[theirs])[1])
        mine, theirs = mine[back == mine], theirs[back == mine]
    return mine, theirs


def affine_inliers(source: Points, target: Points, upright: bool = False) -> int:
    """Return how many matches `affine_followers` marks."""
    return int(np.count_nonzero(affine_followers(source, target, upright)))


def affine_followers(source: Points, target: Points, upright: bool = False) -> NDArray[np.bool_]:
    """Mark the inliers (m,) of the best of up to TRIALS affine maps through three matches each.

    `source` and `target` are (m, 2) in pixels, m at least 3; a match is an inlier where its mapped
    source is nearer than INLIER_PX to its target. Trials stop early as in scikit-image. `upright`
    passes over maps that `keeps_upright` refuses.
    """
    samples = _samples(len(source))
    matched = np.vstack([source.T, np.ones(len(source)), target.T])  # (5, m)
    best, trials = 0, TRIALS
    followers = np.zeros(len(source), dtype=np.bool_)
    for low in range(0, TRIALS, BLOCK):
        if low >= trials:
            break
        maps = _maps(source, target, samples[low : low + BLOCK])
        if upright:
            maps[:, ~keeps_upright(maps[:, :, :2].swapaxes(0, 1))] = np.nan
        off = maps[0] @ matched[[0, 1, 2, 3]]
        np.multiply(off, off, out=off)
        across = maps[1] @ matched[[0, 1, 2, 4]]
        off += np.multiply(across, across, out=across)
        counts = np.count_nonzero(off < INLIER_PX * INLIER_PX, axis=1)
        for at in np.flatnonzero(counts > best):
            if low + at >= trials:
                break
            if counts[at] > best:
                best = int(counts[at])
                followers = off[at] < INLIER_PX * INLIER_PX
                trials = min(trials, _trials_needed(best, len(source)))
    return followers


def affine_inliers_compatible(source: Points, target: Points, upright: bool = False) -> int:
    """Return how many matches `affine_followers_compatible` marks."""
    return int(np.count_nonzero(affine_followers_compatible(source, target, upright)))


def affine_followers_compatible(
    source: Points, target: Points, upright: bool = False
) -> NDArray[np.bool_]:
    """Mark the inliers (m,) that scikit-image's RANSAC finds; as `affine_followers` otherwise.

    Not for threads: it silences warnings while it runs.
    """
    from skimage import measure
    from skimage.transform import AffineTransform

    ransac: Any = measure.ransac  # not typed

    def valid(model: Any, *_: Points) -> bool:
        return bool(keeps_upright(np.asarray(model.params, dtype=np.float64)[None, :2, :2])[0])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, found = ransac(
            (source, target),
            AffineTransform,
            min_samples=3,
            residual_threshold=INLIER_PX,
            max_trials=TRIALS,
            rng=SEED,
            is_model_valid=valid if upright else None,
        )
    return np.zeros(len(source), dtype=np.bool_) if found is None else np.asarray(found)


def keeps_upright(linear: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which linear parts of affine maps (n, 2, 2) a photographer may have made, as (n,) bool.

    These do not mirror, turn by TURN_DEG at most, scale by 1 / LARGEST to LARGEST, and by LONGEST
    times as much along one direction as across it at most. NaN never matches.
    """
    (a, b), (c, d) = linear.transpose(1, 2, 0)
    det, norm = a * d - b * c, a * a + b * b + c * c + d * d
    with np.errstate(invalid="ignore", divide="ignore"):
        large = np.sqrt((norm + np.sqrt(np.maximum(norm * norm - 4 * det * det, 0))) / 2)
        small = det / large
        turned = a + d < math.cos(math.radians(TURN_DEG)) * np.hypot(a + d, c - b)
        kept: NDArray[np.bool_] = (
            (small * LARGEST >= 1) & (large <= LARGEST) & (large <= LONGEST * small) & ~turned
        )
    return kept


@lru_cache(maxsize=4096)
def _samples(count: int) -> Rows:
    """Return the samples (TRIALS, 3) of matches that scikit-image draws from `count` matches."""
    draw = np.random.default_rng(SEED)
    drawn = [draw.choice(count, 3, replace=False) for _ in range(TRIALS)]
    return np.array(drawn, dtype=np.int64)


def _maps(source: Points, target: Points, samples: Rows) -> NDArray[np.float64]:
    """Return (2, n, 4): per sample and coordinate, the map's row and -1 for the target.

    Three points on a line fix no map; theirs is NaN, and a match is never its inlier.
    """
    origin, two, three = source[samples].transpose(1, 2, 0)  # each (2, n)
    first, second = two - origin, three - origin
    area = first[0] * second[1] - first[1] * second[0]
    area[area == 0] = np.nan
    begin, middle, end = target[samples].transpose(1, 2, 0)
    along, beyond = middle - begin, end - begin
    by_y = (along * second[1] - beyond * first[1]) / area
    by_x = (beyond * first[0] - along * second[0]) / area
    shift = begin - by_y * origin[0] - by_x * origin[1]
    return np.stack([by_y, by_x, shift, np.full_like(shift, -1.0)], axis=2)


def _trials_needed(found: int, count: int) -> int:
    """Return after how many trials scikit-image stops, `found` of `count` being inliers.

    The chance to have missed a better map is then below the rounding unit of float64.
    """
    tiny = np.finfo(float).eps
    missed = min(max(1 - (found / count) ** 3, tiny), 1 - tiny)
    return math.ceil(math.log(tiny) / math.log(missed))
