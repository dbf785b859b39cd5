"""Blocks of queries that can be taken for independent, where places follow one another.

Queries of one street, or a few frames apart, succeed and fail together, so that the mean of n of
them is less sure than that of n independent ones. Blocks of neighbours that are long beside the
dependence are nearly independent (block bootstrap: Künsch, Annals of Statistics 1989; t-tests of
few blocks: Ibragimov, Müller, JBES 2010). How long that is follows from the scores:

1. Queries are gathered in at most CELLS compact cells, of equal size where the places allow it.
2. The correlation of the sums of cells is taken for an exponential of the distance, and a part
   that queries do not share. Its range and its strength are not estimated by one value: all of a
   grid are weighted by their restricted likelihood (REML: Patterson, Thompson, Biometrika 1971),
   independence having ALONE of the weight before.
3. For every number of blocks and every model it is known which share of the variance of the mean
   the sums of blocks will show; what correlates across their borders is not seen. That share is
   taken so low that models of CAUTION of the weight are below it.
4. There are as many blocks as leave a share of KEPT, at least LEAST, and variances are divided by
   the share. Where LEAST blocks leave less than SEEN, there are too few.

Politis and White's length (Econometric Reviews 2004, corrected 2009) answers the same question for
one long series. It is the best length for the error of a variance, which makes intervals too short
(92 of 100 where there should be 95, and 80 where dependence is weak and long); it knows neither
places with many views nor maps. `bench/scoring/README.md` has the simulations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.scoring.intervals import LEAST, Blocks, Groups, Values, landmarks
from bench.scoring.layout import Layout, Points, layout_of
from bench.types import Dataset

CELLS = 100
KEPT = 0.8
SEEN = 0.25
CAUTION = 0.15
ALONE = 0.5
OF_TESTS = (13, 0.5, 0.1)  # least, caution and alone for sign flips
VIEWS = 6  # places of a cell that stand for it where distances are measured
RANGES, STRENGTHS, COUNTS = 14, 16, 26  # how fine the grids are
LOOSE = 0.25  # how far from equal blocks may be, so that a cut falls into a gap

Table = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cells:
    """Compact groups of neighbouring queries, and what correlates them at every range.

    `of_query` (n_queries,) int64; `centre` (P, d); `alike` (RANGES, P, P): mean of
    exp(-distance / range) over places of two cells, 0 between parts.
    """

    of_query: Groups
    centre: Points
    alike: Table


@dataclass(frozen=True, eq=False)
class Models:
    """What the fit needs for one choice of scored queries.

    `counts` (P,) scored queries of a cell; `axes` per range the orthogonal axes (P, P - 1) in which
    sums of cells, over the root of their counts, are independent, `spread` (RANGES, P - 1) their
    variance; `strength` (RANGES, STRENGTHS); `groups` a partition of the cells for each of the
    `numbers` of blocks; `seen` (len(groups), 1 + RANGES * STRENGTHS) the share of the variance of
    the mean that they show.
    """

    counts: Values
    axes: Table
    spread: Table
    strength: Table
    groups: tuple[Groups, ...]
    numbers: Groups
    seen: Table


def blocks_of(dataset: Dataset, values: Values) -> Blocks:
    """Return the blocks for the mean of `values` on a data set: landmarks without a layout."""
    layout = layout_of(dataset)
    if layout is None:
        return landmarks(dataset.protocols, len(dataset.database))
    return choose(values, layout)


def for_test(differences: Values, layout: Layout) -> Blocks:
    """Return the blocks whose signs a test flips, for paired differences, NaN where left out.

    Sign flips of few blocks have few different sums, and keep below their level; so there are 13
    or more, and the share that they show is the middle of what is likely. Independence has a tenth
    of the weight: with one half, weak dependence over a tenth of a street went unseen, and tests
    had a level of 7 to 8 % where it should be 5.
    """
    return choose(differences, layout, *OF_TESTS)


def choose(
    values: Values,
    layout: Layout,
    least: int = LEAST,
    caution: float = CAUTION,
    alone: float = ALONE,
) -> Blocks:
    """Return the blocks for the mean of `values`: one float64 per query, NaN where left out.

    There are `least` or more where there are as many places, and models of `caution` of the weight
    see less than they should. `alone` is the weight of independence before.

    One block of no use (`enough` False) where there are fewer than LEAST places, where all values
    are equal, so that nothing says how they depend on each other, and where the dependence is too
    long.
    """
    scored = ~np.isnan(values)
    few = Blocks(layout.rule, np.zeros(len(values), dtype=np.int64), enough=False)
    if np.count_nonzero(scored) < LEAST:
        return few
    cells = cells_of(layout)
    counts = np.bincount(cells.of_query[scored], minlength=len(cells.centre))
    if np.count_nonzero(counts) < LEAST:
        return few
    models = _models(layout, scored.tobytes())
    off = values[scored] - values[scored].mean()
    total = np.bincount(cells.of_query[scored], weights=off, minlength=len(counts))
    sums: Values = total[counts > 0].astype(np.float64)
    if not np.any(np.abs(sums) > 1e-9):
        return few
    weights = _weights(models, sums, alone)
    order = np.argsort(models.seen, axis=1)
    reached = np.cumsum(weights[order], axis=1) >= caution
    at = np.take_along_axis(order, reached.argmax(axis=1)[:, None], axis=1)
    seen = np.take_along_axis(models.seen, at, axis=1)[:, 0]
    fewest = int(np.searchsorted(models.numbers, min(least, models.numbers[-1])))
    chosen = int(np.flatnonzero(seen >= KEPT).max(initial=fewest))
    if seen[chosen] < SEEN:
        return few
    return Blocks(
        layout.rule,
        models.groups[chosen][cells.of_query],
        seen=round(float(min(seen[chosen], 1.0)), 6),
        dependent=chosen < len(seen) - 1,
    )


@lru_cache(maxsize=4)
def cells_of(layout: Layout) -> Cells:
    """Return the cells of a layout: one for each place, or CELLS of about as many queries."""
    points = _side_by_side(layout)
    places, of_place = np.unique(points, axis=0, return_inverse=True)
    of_place = of_place.ravel()
    views = np.bincount(of_place).astype(np.float64)
    cell = split(places, views, min(CELLS, len(places)))
    n = int(cell.max(initial=-1)) + 1
    part = np.zeros(len(places), dtype=np.int64)
    part[of_place] = layout.part
    standing = [_spread_out(np.flatnonzero(cell == i)) for i in range(n)]
    at, owner = np.concatenate(standing), np.repeat(np.arange(n), [len(s) for s in standing])
    mean = np.zeros((len(at), n))
    mean[np.arange(len(at)), owner] = 1 / np.bincount(owner)[owner]
    weight = np.bincount(cell, weights=views)
    centre = np.column_stack(
        [np.bincount(cell, weights=views * column) / weight for column in places.T]
    )
    far = np.sqrt(((places[at][:, None] - places[at][None]) ** 2).sum(axis=2))
    far[part[at][:, None] != part[at][None]] = np.inf
    alike = [mean.T @ np.exp(-far / reach) @ mean for reach in _ranges(far, owner)]
    return Cells(cell[of_place].astype(np.int64), centre, np.array(alike))


def split(points: Points, weights: Values, count: int) -> Groups:
    """Return a number per point, int64: `count` compact groups of about the same weight.

    `points` (n, d), n >= count. A group is cut across its longest side, again and again; the cut
    falls into the widest gap near to where the weights would have it, so that streets and cities
    stay whole.
    """
    out = np.zeros(len(points), dtype=np.int64)
    todo, made = [(np.arange(len(points)), count)], 0
    while todo:
        own, k = todo.pop()
        if k <= 1 or len(own) <= 1:
            out[own], made = made, made + 1
            continue
        side = np.ptp(points[own], axis=0).argmax()
        own = own[np.argsort(points[own, side], kind="stable")]
        reached, left = np.cumsum(weights[own]), k // 2
        off = np.abs(reached[:-1] - reached[-1] * left / k)
        place = np.arange(1, len(own))
        possible = (place >= left) & (len(own) - place >= k - left)
        near = possible & (off <= LOOSE * reached[-1] / k)
        gap = np.diff(points[own, side])
        if near.any():
            cut = int(np.where(near, gap, -1.0).argmax()) + 1
        else:
            cut = int(np.where(possible, off, np.inf).argmin()) + 1
        todo += [(own[cut:], k - left), (own[:cut], left)]
    return out


@lru_cache(maxsize=8)
def _models(layout: Layout, scored: bytes) -> Models:
    """Return the models of a layout for the queries that are scored, a byte for each."""
    cells = cells_of(layout)
    mask = np.frombuffer(scored, dtype=np.bool_)
    every = np.bincount(cells.of_query[mask], minlength=len(cells.centre))
    kept = np.flatnonzero(every)
    counts = every[kept].astype(np.float64)
    ks = np.unique(np.round(np.geomspace(LEAST, len(kept), COUNTS)).astype(np.int64))
    groups = [split(cells.centre, np.maximum(every, 1e-6), int(k)) for k in ks]
    root = np.sqrt(counts)
    basis = _orthogonal_to(root)
    axes, spread, strength, seen = [], [], [], [np.ones((len(ks), 1))]
    for alike in cells.alike[:, kept][:, :, kept]:
        variance, rotation = np.linalg.eigh(basis.T @ (root[:, None] * alike * root) @ basis)
        variance = np.maximum(variance, 0.0)
        ratio = np.geomspace(0.03, 3000, STRENGTHS) / max(variance.mean(), 1e-12)
        axes.append(basis @ rotation)
        spread.append(variance)
        strength.append(ratio)
        shared = counts[:, None] * alike * counts
        seen.append(np.array([_seen(shared, counts, group[kept], ratio) for group in groups]))
    return Models(
        counts,
        np.array(axes),
        np.array(spread),
        np.array(strength),
        tuple(groups),
        ks,
        np.concatenate(seen, axis=1),
    )


def _seen(shared: Table, counts: Values, group: Groups, strength: Values) -> Values:
    """Return which share of the variance of the mean sums of blocks show, for every strength.

    `shared` (P, P) is the covariance of sums of cells at strength 1. Expected is the sum of squares
    of (sum of a block - mean x its queries), times k / (k - 1), over the variance of the total.
    """
    k, n = int(group.max()) + 1, counts.sum()
    member = np.zeros((len(group), k))
    member[np.arange(len(group)), group] = 1
    size = member.T @ counts
    within = np.einsum("pk,pk->k", member, shared @ member)
    with_all = member.T @ shared.sum(axis=1)
    common = (within - 2 * size / n * with_all + (size / n) ** 2 * shared.sum()).sum()
    alone = (size - size**2 / n).sum()
    full = int(np.count_nonzero(size))
    shown = (alone + strength * common) * full / (full - 1)
    out: Values = shown / (n + strength * shared.sum())
    return out


def _weights(models: Models, sums: Values, alone: float) -> Values:
    """Return the weight of independence, `alone` before, and of every model: together 1."""
    scaled = sums / np.sqrt(models.counts)
    n = len(scaled) - 1
    likelihood = [np.array([-n / 2 * np.log(scaled @ scaled / n)])]
    for axes, spread, strength in zip(models.axes, models.spread, models.strength, strict=True):
        variance = 1 + strength[:, None] * spread
        squares = ((scaled @ axes) ** 2 / variance).sum(axis=1)
        likelihood.append(-n / 2 * np.log(squares / n) - np.log(variance).sum(axis=1) / 2)
    log = np.concatenate(likelihood)
    log[0] += np.log(alone)
    log[1:] += np.log((1 - alone) / (len(log) - 1))
    weights = np.exp(log - log.max())
    out: Values = weights / weights.sum()
    return out


def _ranges(far: Table, owner: Groups) -> Values:
    """Return the ranges that are tried: from the width of a cell to a sixth of the layout."""
    between = np.where(owner[:, None] == owner, np.inf, far)
    nearest = between.min(axis=1)
    nearest = nearest[np.isfinite(nearest)]
    within = far[np.isfinite(far)]
    widest = max(float(np.quantile(within, 0.99)), 1e-6)
    least = float(np.median(nearest)) if len(nearest) else widest
    low = max(least / 2, widest * 1e-4)
    tried: Values = np.geomspace(low, max(widest / 6, 2 * low), RANGES)
    return tried


def _side_by_side(layout: Layout) -> Points:
    """Return the points with parts beside each other, farther apart than any of them is wide."""
    points = layout.points - layout.points.min(axis=0, initial=np.inf)
    wide = 2.0 * float(points.max(initial=0.0)) + 1.0
    low = {part: points[layout.part == part].min(axis=0) for part in np.unique(layout.part)}
    points = points - np.array([low[part] for part in layout.part]).reshape(points.shape)
    points[:, 0] += wide * np.unique(layout.part, return_inverse=True)[1].ravel()
    out: Points = points
    return out


def _spread_out(members: Groups) -> Groups:
    """Return at most VIEWS of the members, evenly."""
    at = np.linspace(0, len(members) - 1, min(VIEWS, len(members)))
    return members[np.unique(np.round(at).astype(np.int64))]


def _orthogonal_to(vector: Values) -> Table:
    """Return (n, n - 1) orthonormal columns that are orthogonal to a vector (Householder)."""
    unit = vector / np.linalg.norm(vector)
    mirror = unit.copy()
    mirror[0] += 1.0
    whole = np.eye(len(unit)) - 2 * np.outer(mirror, mirror) / (mirror @ mirror)
    return np.asarray(whole[:, 1:])
