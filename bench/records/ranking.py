"""Ranks of methods over several data sets, how sure they are, and groups that are not told apart.

The rank of a method on a data set is 1 plus the number of methods that are better, ties shared.
Its mean over data sets is uncertain because queries are few; the interval is that of a bootstrap in
which every data set draws its blocks anew, the same ones for all methods (Demšar, JMLR 2006, on
mean ranks; `bench.scoring.intervals` on blocks). Data sets themselves are not drawn: the ranks
are those on these sets.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring import intervals

DRAWS = 400
SEED = 0
TAIL = 2.5  # percent on each side
MOST_LETTERS = 60
EDGE = 1e-9  # a difference of mean ranks nearer to 0 than this is rounding

Values = NDArray[np.float64]


@dataclass(frozen=True)
class MeanRank:
    """A mean rank, its 95 % interval, and the letters of the groups that it belongs to."""

    mean: float
    interval: tuple[float, float] | None
    letters: str


def draws(values: Values, groups: NDArray[np.int64]) -> Values | None:
    """Return `DRAWS` means of `values` (n_queries,; NaN is left out) over drawn blocks.

    Methods with the same scored queries get the same draws. None with fewer than two blocks.
    """
    total, count = intervals.sums(values, groups)
    k = len(total)
    if k < 2:
        return None
    drawn = _counts(k)
    means: Values = (drawn @ total) / (drawn @ count)
    return means


@lru_cache(maxsize=64)
def _counts(k: int) -> NDArray[np.int64]:
    """Return how often each of k blocks is drawn, (DRAWS, k)."""
    return np.random.default_rng(SEED).multinomial(k, np.full(k, 1 / k), size=DRAWS)


def ranks(scores: Values) -> Values:
    """Return the rank of each method (n_methods, …) along the first axis; larger is better.

    >>> ranks(np.array([0.5, 0.9, 0.5])).tolist()
    [2.5, 1.0, 2.5]
    """
    sums = np.empty((2, *scores.shape))
    for place, score in enumerate(scores):  # one at a time: many methods would take much memory
        sums[:, place] = (scores > score).sum(axis=0), (scores == score).sum(axis=0) - 1
    out: Values = 1.0 + sums[0] + sums[1] / 2
    return out


def mean_ranks(scores: Values, drawn: Sequence[Values | None]) -> list[MeanRank]:
    """Return the mean rank of every method.

    `scores` is (n_methods, n_sets) without NaN; `drawn` has (n_methods, DRAWS) per set, None where
    nothing can be drawn: then there is no interval, and nothing is told apart. More than
    `MOST_LETTERS` methods have no letters.
    """
    mean = ranks(scores).mean(axis=1)
    if not all(sample is not None for sample in drawn) or not drawn:
        return [MeanRank(float(value), None, "a") for value in mean]
    over = np.mean([ranks(sample) for sample in drawn if sample is not None], axis=0)
    low, high = np.percentile(over, [TAIL, 100 - TAIL], axis=1)
    of = dict.fromkeys(range(len(mean)), "")
    if len(mean) <= MOST_LETTERS:
        pairs = list(itertools.combinations(range(len(mean)), 2))
        apart = np.array([over[i] - over[j] for i, j in pairs]).reshape(len(pairs), -1)
        least, most = np.percentile(apart, [TAIL, 100 - TAIL], axis=1) if pairs else ((), ())
        told = {pair for pair, a, b in zip(pairs, least, most, strict=True)
                if a > EDGE or b < -EDGE}  # fmt: skip
        of = letters(sorted(range(len(mean)), key=lambda i: mean[i]), told)
    return [
        MeanRank(float(mean[i]), (float(low[i]), float(high[i])), of[i]) for i in range(len(mean))
    ]


def letters(order: Sequence[int], told_apart: Collection[tuple[int, int]]) -> dict[int, str]:
    """Return the letters of each member, so that two share one unless they are told apart.

    The compact letter display of Piepho (Journal of Computational and Graphical Statistics, 2004):
    one group of all is split at every pair that is told apart, and what another group holds goes.
    Letters follow `order`, the best first.

    >>> letters([0, 1, 2], {(0, 2)})
    {0: 'a', 1: 'ab', 2: 'b'}
    """
    columns: list[frozenset[int]] = [frozenset(order)]
    for pair in sorted(tuple(sorted(pair)) for pair in told_apart):
        if not any({*pair} <= column for column in columns):
            continue
        split: list[frozenset[int]] = []
        for column in columns:
            split += [column - {pair[0]}, column - {pair[1]}] if {*pair} <= column else [column]
        columns = [c for c in dict.fromkeys(split) if not any(c < other for other in split)]
    place = {member: i for i, member in enumerate(order)}
    columns.sort(key=lambda column: sorted(place[member] for member in column))
    return {
        member: "".join(_letter(i) for i, column in enumerate(columns) if member in column)
        for member in order
    }


def letters_of(pairs: Sequence[Mapping[str, Any]], level: float = 0.05) -> dict[str, str]:
    """Return the letters of all results of one protocol, the best first; `pairs` of `compare`.

    Two results share a letter unless their difference is significant after Holm's correction.
    """
    means: dict[str, float] = {}
    for pair in pairs:
        for name, mean in ((pair["a"], pair["mean_a"]), (pair["b"], pair["mean_b"])):
            means[name] = -1.0 if mean is None else mean
    order = sorted(means, key=lambda name: (-means[name], name))
    place = {name: i for i, name in enumerate(order)}
    told = {(place[p["a"]], place[p["b"]]) for p in pairs if p["p_holm"] < level}
    found = letters(range(len(order)), told)
    return {name: found[i] for name, i in place.items()}


def _letter(number: int) -> str:
    head, last = divmod(number, 26)
    return chr(ord("a") + last) + (str(head) if head else "")
