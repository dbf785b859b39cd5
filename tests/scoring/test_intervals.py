"""Intervals over landmarks: which queries are one, and how often the interval holds the truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.datasets import load
from bench.scoring import intervals
from bench.types import GroundTruth, Protocol

Scores = NDArray[np.float64]
Draw = Callable[[np.random.Generator, NDArray[np.int64]], Scores]


def protocol(*positives: list[int]) -> Protocol:
    none = np.array([], dtype=np.int64)
    truth = tuple(GroundTruth(np.array(rows, dtype=np.int64), none) for rows in positives)
    return Protocol("p", truth, ("map.trapezoid.junk-removed",))


def partition(groups: NDArray[np.int64]) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(groups == g).tolist()) for g in groups}


def test_one_photograph_of_two_buildings_does_not_make_them_one() -> None:
    item = protocol([0, 1, 2, 3], [0, 1, 2], [3, 4, 5, 6], [5, 6, 7], [])
    groups = intervals.landmark_groups([item], 9)
    assert partition(groups) == {frozenset({0, 1}), frozenset({2, 3}), frozenset({4})}
    by_one = intervals.landmark_groups([item], 9, intervals.FIRST)
    assert partition(by_one) == {frozenset({0, 1, 2, 3}), frozenset({4})}


def test_a_positive_of_two_protocols_counts_once() -> None:
    item = protocol([0, 1, 2, 3, 4], [4, 5, 6])
    assert len(partition(intervals.landmark_groups([item, item], 7))) == 2


def test_no_queries_and_no_positives_have_groups_too() -> None:
    assert intervals.landmark_groups([protocol()], 3).tolist() == []
    assert intervals.landmark_groups([protocol([], [])], 3).tolist() == [0, 1]


@pytest.mark.parametrize(("name", "landmarks"), [("roxford5k", 12), ("rparis6k", 11)])
def test_the_landmarks_of_the_revisited_sets_are_those_of_their_file_names(
    name: str,
    landmarks: int,
    shared: Callable[[str], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared(f"data/{name}/gnd_{name}.pkl")
    root = str(shared("data"))
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", root)
    here = load(name)
    groups = intervals.landmark_groups(here.protocols, len(here.database))
    assert len(partition(groups)) == landmarks
    generic = {"oxford", "paris_general"}
    for members in partition(groups):
        names = {here.queries[i].file.split("/")[-1].rsplit("_", 1)[0] for i in members} - generic
        assert len(names) <= 2, "a landmark, and a view of it from the next one"
    assert np.bincount(groups).max() <= 8
    assert (
        len(
            partition(
                intervals.landmark_groups(here.protocols, len(here.database), intervals.FIRST)
            )
        )
        == 7
    )


# --- coverage -----------------------------------------------------------------------------------


def beta(mean: float, alike: float, sharpness: float) -> Draw:
    """Scores like AP: skewed, in 0..1; `alike` is the correlation within a landmark."""

    def draw(rng: np.random.Generator, landmark: NDArray[np.int64]) -> Scores:
        a = (1 - alike) / alike
        mu = rng.beta(mean * a, (1 - mean) * a, size=landmark.max() + 1).clip(1e-3, 1 - 1e-3)
        return rng.beta(mu[landmark] * sharpness, (1 - mu[landmark]) * sharpness)

    return draw


def hits(mean: float, alike: float) -> Draw:
    """Scores like Recall@k: 0 or 1."""

    def draw(rng: np.random.Generator, landmark: NDArray[np.int64]) -> Scores:
        a = (1 - alike) / alike
        mu = rng.beta(mean * a, (1 - mean) * a, size=landmark.max() + 1)
        return (rng.random(len(landmark)) < mu[landmark]).astype(np.float64)

    return draw


def designs(rng: np.random.Generator, name: str) -> NDArray[np.int64]:
    """Return the landmark of every query: 11 of 5 to 7 queries, or 70 queries, each its own."""
    sizes = {"eleven": rng.integers(5, 8, size=11), "seventy": np.ones(70, dtype=np.int64)}[name]
    return np.repeat(np.arange(len(sizes)), sizes)


def coverage(design: str, mean: float, draw: Draw, method: str, times: int = 500) -> float:
    rng = np.random.default_rng(7)
    content = 0
    for seed in range(times):
        landmark = designs(rng, design)
        got = intervals.bootstrap(draw(rng, landmark), landmark, seed, method)
        assert got is not None
        content += got[0] <= mean <= got[1]
    return content / times


@pytest.mark.parametrize("design", ["eleven", "seventy"])
@pytest.mark.parametrize(
    ("mean", "draw"),
    [
        (0.75, beta(0.75, 0.3, 3)),
        (0.4, beta(0.4, 0.3, 3)),
        (0.9, beta(0.9, 0.2, 4)),
        (0.15, beta(0.15, 0.2, 3)),
        (0.7, hits(0.7, 0.2)),
    ],
    ids=["ap-75", "ap-40", "ap-90", "ap-15", "hits-70"],
)
def test_coverage_is_within_three_points_of_nominal(
    design: str, mean: float, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intervals, "DRAWS", 400)  # enough for a standard error
    assert abs(coverage(design, mean, draw, intervals.METHOD) - intervals.LEVEL) <= 0.03


def test_the_first_method_covers_less_and_is_kept_for_old_records_only() -> None:
    assert coverage("eleven", 0.9, beta(0.9, 0.2, 4), intervals.FIRST, 300) < 0.92


def test_taking_queries_for_independent_covers_too_little() -> None:
    rng, content = np.random.default_rng(1), 0
    draw = beta(0.6, 0.5, 8)
    for seed in range(300):
        landmark = designs(rng, "eleven")
        scores = draw(rng, landmark)
        low, high = intervals.bootstrap(scores, np.arange(len(scores)), seed) or (0, 0)
        content += low <= 0.6 <= high
    assert content / 300 < 0.85


def test_the_interval_of_a_paired_difference_covers() -> None:
    rng, content = np.random.default_rng(3), 0
    for seed in range(400):
        landmark = designs(rng, "eleven")
        level = rng.beta(2, 1, size=12)[landmark]
        shift = rng.normal(0.05, 0.1, size=12)[landmark]
        item = level + rng.normal(0, 0.1, len(level))
        other = level + shift + rng.normal(0, 0.1, len(level))
        low, high = intervals.of_difference(other - item, landmark, seed) or (1, 0)
        content += low <= 0.05 <= high
    assert abs(content / 400 - intervals.LEVEL) <= 0.03


def test_perfect_scores_are_not_certain() -> None:
    low, high = intervals.bootstrap(np.ones(22), np.repeat(np.arange(11), 2), 0) or (0, 0)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 11)), 1.0)
    low, high = intervals.bootstrap(np.zeros(11), np.arange(11), 0) or (0, 0)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 11)))


def test_equal_differences_have_no_interval() -> None:
    assert intervals.of_difference(np.zeros(8), np.arange(8), 0) is None


def test_many_landmarks_are_drawn_in_blocks_and_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = np.random.default_rng(0).random(500)
    whole = intervals.bootstrap(scores, np.arange(500), 0)
    monkeypatch.setattr(intervals, "BLOCK", 500 * 7)
    assert intervals.bootstrap(scores, np.arange(500), 0) == pytest.approx(whole)
