"""Uncertainty of a mean over queries: over landmarks or blocks of places, not over single queries.

Queries of one landmark succeed and fail together, so they are drawn together. Two queries look at
the same landmark where they share at least half of the positives of the one that has fewer, and
landmarks are the connected groups of that relation. A single shared photograph is not enough:
photographs that show two buildings would link 42 of the 70 queries of Revisited Oxford, and 26 of
Paris; half of the positives, or a quarter, or three quarters, give the 11 landmarks of the file
names (and one query of Oxford alone).

The interval is that of Student's t, with one degree of freedom less than there are landmarks,
around the logit of the mean, with the standard error of the bootstrap times sqrt(k / (k - 1)). The
plain bootstrap takes the k landmarks for all there are, and with eleven of them its percentile
interval holds the truth 84 to 92 times in 100 instead of 95 (Cameron, Gelbach, Miller, REStat 2008,
on few clusters; Efron, Tibshirani, An Introduction to the Bootstrap, 1993). The logit keeps both
ends within 0..1, and the longer arm on the side where scores can still go.
tests/scoring/test_intervals.py simulates the coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.types import Protocol

LEVEL = 0.95
DRAWS = 2000
SHARE = 0.5  # of the positives of the query that has fewer
BLOCK = 1 << 20  # numbers drawn at once; bounds the memory of many landmarks
EDGE = 1e-9  # a mean nearer to 0 or 1 than this is there but for rounding

METHOD = "landmarks-by-half/bootstrap-t-logit"
FIRST = "landmarks-by-one/percentile"  # of records that do not name their method
OF_BLOCKS = "blocks-by-likelihood/t-logit"
LANDMARKS = "landmarks"
RULES = (LANDMARKS, "space", "order")
LEAST = 6  # blocks: with fewer, no test of sign flips can reach p < 0.05
FAILING = 0.5  # least failures, and successes, in blocks, for an interval

Groups = NDArray[np.int64]
Values = NDArray[np.float64]
Interval = tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Blocks:
    """Which queries are taken together, by which of RULES, and what their sums show.

    `of_query` (n_queries,) int64: one number per query. `seen` is the share of the variance of the
    mean that sums of blocks show, by which it is divided: neighbouring blocks depend a little on
    each other. `dependent`: whether scores depend on each other beyond the smallest blocks.
    `enough` is False where no interval holds what it promises. Landmarks have the last three as
    they stand here; `method` says how intervals are made.
    """

    rule: str
    of_query: Groups
    seen: float = 1.0
    dependent: bool = False
    enough: bool = True
    method: str = OF_BLOCKS

    @property
    def count(self) -> int:
        """Return the number of blocks."""
        return len(np.unique(self.of_query))


def landmarks(protocols: Sequence[Protocol], n_rows: int, method: str = METHOD) -> Blocks:
    """Return landmarks as blocks; `method` is METHOD, or FIRST for the oldest records."""
    return Blocks(LANDMARKS, landmark_groups(protocols, n_rows, method), method=method)


def of_mean(values: Values, blocks: Blocks, seed: int) -> Interval:
    """Return the 95 % interval of the mean of `values` by the method of the blocks, or None.

    `values` has one float64 in 0..1 per query; NaN is left out. Landmarks are drawn with `seed`.
    Of blocks there must be LEAST; and where scores depend on each other, failures and successes
    must each fill FAILING of a block, because rarer ones say too little of their own dependence.
    """
    from scipy.special import expit, logit

    if blocks.rule == LANDMARKS:
        return bootstrap(values, blocks.of_query, seed, blocks.method)
    error = _standard_error(values, blocks)
    if error is None:
        return None
    mean, standard, k = error
    if min(mean, 1 - mean) < EDGE:
        return _bound(mean, k)
    if blocks.dependent and k * min(mean, 1 - mean) < FAILING:
        return None
    arm = _t(k) * standard / (mean * (1 - mean))
    low, high = expit(logit(mean) + np.array([-arm, arm]))
    return min(float(low), mean), max(float(high), mean)


def of_pairs(differences: Values, blocks: Blocks, seed: int) -> Interval:
    """Return the 95 % interval of the mean of paired differences, -1..1, or None."""
    if blocks.rule == LANDMARKS:
        return of_difference(differences, blocks.of_query, seed)
    error = _standard_error(differences, blocks)
    if error is None or error[1] < EDGE:
        return None
    mean, standard, k = error
    arm = _t(k) * standard
    return max(mean - arm, -1.0), min(mean + arm, 1.0)


def _standard_error(values: Values, blocks: Blocks) -> tuple[float, float, int] | None:
    """Return mean, standard error and number of blocks, None where these are too few."""
    total, count = sums(values, blocks.of_query)
    k = len(total)
    if not blocks.enough or k < LEAST:
        return None
    n = count.sum()
    mean = float(total.sum() / n)
    variance = ((total - mean * count) ** 2).sum() / n**2 * k / (k - 1) / blocks.seen
    return mean, float(np.sqrt(variance)), k


def landmark_groups(protocols: Sequence[Protocol], n_rows: int, method: str = METHOD) -> Groups:
    """Return one number per query, int64: queries of one landmark have the same.

    The positives of all protocols count, so that the groups are the same for each of them; a
    query without positives is alone. No queries give an empty array.
    """
    from scipy.sparse import coo_array, csr_array
    from scipy.sparse.csgraph import connected_components

    n_queries = len(protocols[0].truth)
    query, row = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for protocol in protocols:
        for i, truth in enumerate(protocol.truth):
            query.append(np.full(len(truth.positive), i))
            row.append(truth.positive)
    at = (np.concatenate(query), np.concatenate(row))
    labels = csr_array(coo_array((np.ones(len(at[0])), at), shape=(n_queries, n_rows)))
    labels.data[:] = 1  # a positive of two protocols is one positive
    count = np.diff(labels.indptr)
    shared = coo_array(labels @ labels.T)
    first, other = shared.coords
    needed = SHARE * np.minimum(count[first], count[other]) if method == METHOD else 1
    linked = shared.data >= needed
    kept = (np.ones(np.count_nonzero(linked)), (first[linked], other[linked]))
    graph = csr_array(coo_array(kept, shape=shared.shape))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def bootstrap(values: Values, groups: Groups, seed: int, method: str = METHOD) -> Interval:
    """Return the 95 % interval of the mean of `values`, or None where it says nothing.

    `values` has one float64 in 0..1 per query; NaN (a query without a score) is left out. `groups`
    are those of `landmark_groups`, drawn with replacement `DRAWS` times. With fewer than two there
    is no interval. Where every score is 1 (or 0) nothing can be drawn that differs, and the bound
    is the exact one of a binomial of k landmarks without a failure, 0.025^(1/k): for scores within
    0..1, the chance of k perfect landmarks is at most the k-th power of the true mean.
    """
    from scipy.special import expit, logit

    drawn = _drawn(values, groups, seed)
    if drawn is None:
        return None
    means, mean, k = drawn
    tail = (1 - LEVEL) / 2
    if method == FIRST:
        low, high = np.quantile(means, [tail, 1 - tail])
        return float(low), float(high)
    if min(mean, 1 - mean) < EDGE:
        return _bound(mean, k)
    arm = _t(k) * means.std() * np.sqrt(k / (k - 1)) / (mean * (1 - mean))
    low, high = expit(logit(mean) + np.array([-arm, arm]))
    return min(float(low), mean), max(float(high), mean)


def of_difference(values: Values, groups: Groups, seed: int) -> Interval:
    """Return the 95 % interval of the mean of paired differences, -1..1, by the same means.

    As `bootstrap`, but on the plain scale, where differences of two methods have no end near. None
    too where all landmarks differ alike, for instance not at all: nothing says how sure that is.
    """
    drawn = _drawn(values, groups, seed)
    if drawn is None:
        return None
    means, mean, k = drawn
    if means.std() < EDGE:
        return None
    arm = float(_t(k) * means.std() * np.sqrt(k / (k - 1)))
    return max(mean - arm, -1.0), min(mean + arm, 1.0)


def sums(values: Values, groups: Groups) -> tuple[Values, Groups]:
    """Return sum and number of the scored values of every landmark that has any, two (k,)."""
    scored = ~np.isnan(values)
    _, member = np.unique(groups[scored], return_inverse=True)
    total = np.bincount(member, weights=values[scored]).astype(np.float64)
    return total, np.bincount(member).astype(np.int64)


def _drawn(values: Values, groups: Groups, seed: int) -> tuple[Values, float, int] | None:
    """Return the means of `DRAWS` draws of landmarks, the mean of all, and how many there are."""
    total, count = sums(values, groups)
    k = len(total)
    if k < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.empty(DRAWS)
    step = max(1, BLOCK // k)
    for start in range(0, DRAWS, step):
        drawn = rng.integers(0, k, size=(min(step, DRAWS - start), k))
        means[start : start + step] = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    return means, float(total.sum() / count.sum()), k


def _bound(mean: float, k: int) -> tuple[float, float]:
    """Return the interval of k blocks without a failure, or without a success."""
    bound = float(((1 - LEVEL) / 2) ** (1 / k))
    return (bound, 1.0) if mean > 1 / 2 else (0.0, 1 - bound)


def _t(k: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(k - 1, (1 + LEVEL) / 2))


def stated(blocks: Blocks) -> dict[str, Any]:
    """Return the entries of a record for its intervals: method, level, rule, number of blocks.

    Blocks of places also have `seen` and `dependent`; with too few, there are no blocks.
    """
    out: dict[str, Any] = {"method": blocks.method, "level": LEVEL, "rule": blocks.rule}
    if not blocks.enough:
        return {**out, "blocks": 0}
    out["blocks"] = blocks.count
    if blocks.rule != LANDMARKS:
        out |= {"seen": blocks.seen, "dependent": blocks.dependent}
    return out


def restored(entry: dict[str, Any] | None, of_query: Groups) -> Blocks:
    """Return the blocks of a record's entry `intervals` and its array `query_block`."""
    entry = entry or {"method": FIRST}
    return Blocks(
        entry.get("rule", LANDMARKS),
        of_query,
        float(entry.get("seen", 1.0)),
        bool(entry.get("dependent", False)),
        entry.get("blocks", 1) > 0,
        entry["method"],
    )
