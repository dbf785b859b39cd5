"""Uncertainty of a mean over queries: a bootstrap over landmarks, not over single queries.

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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, logit
from scipy.stats import t as student

from bench.types import Protocol

LEVEL = 0.95
DRAWS = 2000
SHARE = 0.5  # of the positives of the query that has fewer
BLOCK = 1 << 20  # numbers drawn at once; bounds the memory of many landmarks
EDGE = 1e-9  # a mean nearer to 0 or 1 than this is there but for rounding

METHOD = "landmarks-by-half/bootstrap-t-logit"
FIRST = "landmarks-by-one/percentile"  # of records that do not name their method
METHODS = (METHOD, FIRST)

Groups = NDArray[np.int64]
Values = NDArray[np.float64]
Interval = tuple[float, float] | None


def landmark_groups(protocols: Sequence[Protocol], n_rows: int, method: str = METHOD) -> Groups:
    """Return one number per query, int64: queries of one landmark have the same.

    The positives of all protocols count, so that the groups are the same for each of them; a
    query without positives is alone. No queries give an empty array.
    """
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
    one, other = shared.coords
    needed = SHARE * np.minimum(count[one], count[other]) if method == METHOD else 1
    linked = shared.data >= needed
    kept = (np.ones(np.count_nonzero(linked)), (one[linked], other[linked]))
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
    drawn = _drawn(values, groups, seed)
    if drawn is None:
        return None
    means, mean, k = drawn
    tail = (1 - LEVEL) / 2
    if method == FIRST:
        low, high = np.quantile(means, [tail, 1 - tail])
        return float(low), float(high)
    if min(mean, 1 - mean) < EDGE:
        bound = float(tail ** (1 / k))
        return (bound, 1.0) if mean > 1 / 2 else (0.0, 1 - bound)
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


def _t(k: int) -> float:
    return float(student.ppf((1 + LEVEL) / 2, k - 1))


def intervals_of(
    protocols: Sequence[Protocol], n_rows: int, method: str = METHOD
) -> dict[str, Any]:
    """Return what a record says of its intervals: method, level, number of landmarks."""
    groups = landmark_groups(protocols, n_rows, method)
    return {
        "method": method,
        "level": LEVEL,
        "landmarks": int(groups.max(initial=-1)) + 1,
    }
