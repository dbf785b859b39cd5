"""Simulated routes: how often an interval holds the truth, and a paired test is wrong.

`python -m tests.support.routes` simulates every scenario 2,000 times (some minutes), prints the
table of bench/scoring/README.md and draws its picture. The truth of every scenario is MEAN.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from bench.records import compare
from bench.scoring import intervals
from bench.scoring.blocks import choose, for_test
from bench.scoring.intervals import LANDMARKS, Blocks
from bench.scoring.layout import Layout

MEAN = 0.75
FRAMES = 2760
TIMES = 2000
RHOS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
FLIPS = 999  # of a test, in place of 20,000
PICTURE = Path(__file__).resolve().parents[2] / "bench" / "scoring" / "coverage.png"

Rng = np.random.Generator
Values = NDArray[np.float64]
Draw = Callable[[Rng, int], Values]  # (times, queries), 0 or 1


@dataclass(frozen=True)
class Scenario:
    """Queries, where they stand to each other, and how their successes are drawn."""

    name: str
    layout: Layout | NDArray[np.int64]  # landmarks, a number per query
    draw: Draw


@dataclass(frozen=True)
class Outcome:
    """Of the draws with enough blocks: coverage, level; the share of others; median blocks."""

    coverage: float
    level: float
    few: float
    few_tests: float
    blocks: float
    naive: float


def kept(n: int, rho: float) -> Draw:
    """Keep the success of the frame before with probability `rho`, else draw anew."""

    def draw(rng: Rng, times: int) -> Values:
        anew = rng.random((times, n)) >= rho
        anew[:, 0] = True
        fresh = rng.random((times, n)) < MEAN
        since = np.maximum.accumulate(np.where(anew, np.arange(n), 0), axis=1)
        return np.take_along_axis(fresh, since, axis=1).astype(np.float64)

    return draw


def hardness(n: int, rho: float) -> Draw:
    """Draw a coin at places hard or easy, which correlate by `rho` with the next."""

    def draw(rng: Rng, times: int) -> Values:
        return _coin(rng, _walk(rng, times, n, rho))

    return draw


def threshold(n: int, rho: float) -> Draw:
    """Succeed where a hidden quality, which correlates by `rho` with the next, is high enough."""

    def draw(rng: Rng, times: int) -> Values:
        return (_walk(rng, times, n, rho) < norm.ppf(MEAN)).astype(np.float64)

    return draw


def on_map(points: Values, range_m: float) -> Draw:
    """Draw a coin at hard and easy places on a map; their correlation is 1/e in `range_m`."""
    places, of_place = np.unique(points, axis=0, return_inverse=True)
    far = np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=2))
    root = np.linalg.cholesky(np.exp(-far / range_m) + 1e-8 * np.eye(len(places)))

    def draw(rng: Rng, times: int) -> Values:
        quality = (rng.standard_normal((times, len(places))) @ root.T)[:, of_place.ravel()]
        return _coin(rng, quality)

    return draw


def landmarks(groups: NDArray[np.int64]) -> Draw:
    """Give every landmark a probability of its own, Beta with a correlation of 0.2."""

    def draw(rng: Rng, times: int) -> Values:
        chance = rng.beta(4 * MEAN, 4 * (1 - MEAN), size=(times, groups.max() + 1))
        return (rng.random((times, len(groups))) < chance[:, groups]).astype(np.float64)

    return draw


def _walk(rng: Rng, times: int, n: int, rho: float) -> Values:
    noise = rng.standard_normal((times, n))
    noise[:, 1:] *= np.sqrt(1 - rho**2)
    walk: Values = lfilter([1], [1, -rho], noise, axis=1)
    return walk


def _coin(rng: Rng, quality: Values) -> Values:
    chance = norm.cdf(norm.ppf(MEAN) * np.sqrt(2) + quality)
    return (rng.random(quality.shape) < chance).astype(np.float64)


def route(n: int, recordings: int = 1) -> Layout:
    """Return the layout of `recordings` traversals of n places."""
    place = np.tile(np.arange(n, dtype=np.float64), recordings)
    return Layout("order", place[:, None], np.zeros(len(place), dtype=np.int64))


def winding(n: int, step_m: float, seed: int = 3) -> Values:
    """Return points (n, 2) along a road that turns."""
    turn = np.cumsum(np.random.default_rng(seed).standard_normal(n) * 0.2)
    return np.cumsum(np.column_stack([np.cos(turn), np.sin(turn)]) * step_m, axis=0)


def streets() -> Values:
    """Return points (1000, 2) of ten streets of 2 km in two cities 100 km apart."""
    along, zero = np.linspace(0, 2000, 100), np.zeros(100)
    first = [np.column_stack([along, zero + 220 * i]) for i in range(5)]
    second = [np.column_stack([zero + 400 * i + 1e5, along]) for i in range(5)]
    return np.concatenate([*first, *second])


def space(points: Values) -> Layout:
    """Return the layout of queries with positions."""
    return Layout("space", points, np.zeros(len(points), dtype=np.int64))


def scenarios() -> Iterator[Scenario]:
    """Yield the scenarios of the README, in its order."""
    groups = np.repeat(np.arange(11), 6)
    yield Scenario("11 landmarks of 6 queries", groups, landmarks(groups))
    for rho in (0, 0.5, 0.9, 0.95, 0.99):
        yield Scenario(f"route, kept, ρ = {rho}", route(FRAMES), kept(FRAMES, rho))
    for rho in (0.9, 0.95, 0.99):
        yield Scenario(f"route, hardness, ρ = {rho}", route(FRAMES), hardness(FRAMES, rho))
    for rho in (0.9, 0.95, 0.99):
        yield Scenario(f"route, threshold, ρ = {rho}", route(FRAMES), threshold(FRAMES, rho))
    for range_m in (30, 100, 300):
        yield Scenario(
            f"10 streets, 2 cities, {range_m} m", space(streets()), on_map(streets(), range_m)
        )
    views = winding(284, 8).repeat(24, axis=0)
    for range_m in (30, 100):
        yield Scenario(f"panoramas, 24 views, {range_m} m", space(views), on_map(views, range_m))
    road = winding(700, 10)
    twice = np.concatenate([road, road + np.random.default_rng(4).normal(0, 3, road.shape)])
    for range_m in (50, 200):
        yield Scenario(f"2 traversals, {range_m} m", space(twice), on_map(twice, range_m))
    for rho in (0.9, 0.98):
        draw = hardness(700, rho)
        yield Scenario(f"2 traversals, order, ρ = {rho}", route(700, 2), _both_ways(draw, 700))
    yield Scenario("5 places of 60 views", space(winding(5, 200).repeat(60, axis=0)),
                   on_map(winding(5, 200).repeat(60, axis=0), 50))  # fmt: skip
    yield Scenario("120 frames, kept, ρ = 0.99", route(120), kept(120, 0.99))


def _both_ways(draw: Draw, n: int) -> Draw:
    """Return two traversals of the same places: the quality of a place is that of both."""

    def twice(rng: Rng, times: int) -> Values:
        state = rng.integers(1 << 32)
        first = draw(np.random.default_rng(state), times)
        again = draw(np.random.default_rng(state), times)
        mixed = rng.random((times, n)) < 0.5  # half of the places: another day, another coin
        other = draw(rng, times)
        return np.concatenate([first, np.where(mixed, again, other)], axis=1)

    return twice


def outcome(scenario: Scenario, times: int, seed: int = 0) -> Outcome:
    """Simulate one scenario: intervals of one method, and the test of two that are alike."""
    rng = np.random.default_rng(seed)
    first, other = scenario.draw(rng, times), scenario.draw(rng, times)
    content, naive, wrong, counts, tests = 0, 0, 0, [], 0
    alone = np.arange(first.shape[1])
    with flips(FLIPS):
        for i in range(times):
            blocks = cut(first[i], scenario.layout)
            around = intervals.of_mean(first[i], blocks, i)
            if around is not None:
                counts.append(blocks.count)
                content += around[0] <= MEAN <= around[1]
            single = intervals.of_mean(first[i], Blocks("order", alone), i)
            naive += single is not None and single[0] <= MEAN <= single[1]
            differ = cut(other[i] - first[i], scenario.layout, for_test)
            if differ.enough:
                tests += 1
                test = compare.permutation(
                    other[i] - first[i], differ.of_query, seed=i, seen=differ.seen
                )
                wrong += test.p < compare.SIGNIFICANT
    few, few_tests = 1 - len(counts) / times, 1 - tests / times
    median = float(np.median(counts)) if counts else 0.0
    covers = content / len(counts) if counts else np.nan
    level = wrong / tests if tests else np.nan
    return Outcome(covers, level, few, few_tests, median, naive / times)


def cut(
    values: Values,
    layout: Layout | NDArray[np.int64],
    made: Callable[[Values, Layout], Blocks] = choose,
) -> Blocks:
    """Return the blocks for the mean of values."""
    if isinstance(layout, Layout):
        return made(values, layout)
    return Blocks(LANDMARKS, layout, method=intervals.METHOD)


@contextmanager
def flips(count: int) -> Iterator[None]:
    """Let tests draw fewer flips."""
    before, compare.FLIPS = compare.FLIPS, count
    try:
        yield
    finally:
        compare.FLIPS = before


def table(times: int) -> Iterator[str]:
    """Yield the rows of the table in Markdown."""
    yield "| scenario | coverage, % | level, % | too few, % | blocks | single queries, % |"
    yield "|---|---|---|---|---|---|"
    for scenario in scenarios():
        made = outcome(scenario, times)
        cells = (
            f"{100 * made.coverage:.1f}",
            f"{100 * made.level:.1f}",
            f"{100 * made.few:.1f}",
            f"{made.blocks:.0f}",
            f"{100 * made.naive:.1f}",
        )
        yield f"| {scenario.name} | {' | '.join(cells)} |"


def draw(times: int, path: Path, rhos: Sequence[float] = RHOS) -> None:
    """Draw coverage against dependence, for blocks and for single queries."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for place, (title, make) in zip(axes, (("kept", kept), ("hardness", hardness)), strict=True):
        made = [outcome(Scenario("", route(FRAMES), make(FRAMES, rho)), times) for rho in rhos]
        x = np.arange(len(rhos))
        place.axhspan(92, 98, color="0.92", label="95 ± 3 %")
        place.plot(x, [100 * item.naive for item in made], "s--", color="#b35806",
                   label="independent queries")  # fmt: skip
        place.plot(x, [100 * item.coverage for item in made], "o-", color="#2166ac", label="blocks")
        for i, item in enumerate(made):
            few = f"\n{100 * item.few:.0f} % too few" if item.few > 0.005 else ""
            text = f"{item.blocks:.0f}{few}"
            place.annotate(text, (i, 100 * item.coverage), (0, -14), textcoords="offset points",
                           ha="center", va="top", fontsize=6, color="#2166ac")  # fmt: skip
        place.set_xticks(x, [f"{rho:g}" for rho in rhos])
        place.set_xlabel("ρ from frame to frame")
        place.set_title(f"{title}, {FRAMES:,} frames, mean {MEAN:g}", fontsize=9)
        place.set_ylim(0, 102)
    axes[0].set_ylabel("intervals that hold the truth, %")
    axes[0].legend(loc="lower left", fontsize=8, frameon=False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    for line in table(repetitions):
        print(line, flush=True)
    draw(repetitions, PICTURE)
