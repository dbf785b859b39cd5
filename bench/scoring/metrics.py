"""Every metric of the suite, one row of a table each: label, unit, formula, source, function.

A metric looks at one query. It gets `ranks`, the zero-based places of the positives that were
found, int64, ascending, counted after the ignored images are taken out of the list (see
`junk_removed`), and `n_positive`, the number of positives in the ground truth, found or not.
It returns a fraction 0..1, larger is better, or NaN where the query has no positives: such a
query has no score, and the protocol decides what that does to the mean (`mean_over_queries`).

A list that was cut is scored as far as it goes: a positive that is not in it has an infinite
rank, so it adds nothing, and no denominator shrinks because of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]

REVISITED = "Radenović et al., CVPR 2018, section 4; program evaluate.py"


@dataclass(frozen=True)
class Metric:
    """One row of the table; `score(ranks, n_positive)` gives the value of one query."""

    id: str
    label: str
    unit: str
    formula: str
    source: str
    score: Callable[[Ranks, int], float]


def junk_removed(positive: Ranks, ignored: Ranks) -> Ranks:
    """Return the places of the positives once the ignored images are taken out of the list.

    Both arguments are zero-based places in the full list, int64, in any order and disjoint; the
    result is ascending. Wherever an ignored image stands, it changes nothing.

    >>> junk_removed(np.array([1, 4]), np.array([0, 2]))
    array([0, 2])
    """
    positive = np.sort(positive)
    return positive - np.searchsorted(np.sort(ignored), positive)


def ap_trapezoid(ranks: Ranks, n_positive: int) -> float:
    """Average precision as the area under the precision-recall curve, by trapezoids.

    Σ_j ½ (j / r_j + (j + 1) / (r_j + 1)) / n_positive, where the first fraction is 1 at r_j = 0.
    This is the AP of Oxford5k, Paris6k and their revisited protocols (Philbin et al., CVPR 2007,
    compute_ap; Radenović et al., CVPR 2018). It is not scikit-learn's average_precision_score.

    >>> round(ap_trapezoid(np.array([0, 2]), 2), 6)
    0.791667
    """
    if n_positive == 0:
        return float("nan")
    found = np.arange(len(ranks), dtype=np.float64)
    before = np.ones(len(ranks))
    np.divide(found, ranks, out=before, where=ranks > 0)
    after = (found + 1) / (ranks + 1)
    return float(np.sum((before + after) / 2) / n_positive)


def ap_finite_sum(ranks: Ranks, n_positive: int) -> float:
    """Average precision as the mean of the precision at every positive.

    Σ_j (j + 1) / (r_j + 1) / n_positive. The AP of information retrieval (TREC) and, on a
    complete list, of scikit-learn; larger than the trapezoidal one.

    >>> round(ap_finite_sum(np.array([0, 2]), 2), 6)
    0.833333
    """
    return ap_at_k(ranks, n_positive, None, "positives")


def ap_at_k(ranks: Ranks, n_positive: int, k: int | None, denominator: str) -> float:
    """Average precision by finite sum over the first `k` places (None: over all).

    Σ_{r_j < k} (j + 1) / (r_j + 1), divided by min(k, n_positive) ("min-k-positives", as in the
    Google Landmarks v2 retrieval task, Weyand et al., CVPR 2020), by n_positive ("positives"),
    or by the number of positives among the first k ("found", as some programs do: a list that
    misses positives is not punished for it). Nothing found scores 0 in all three.

    >>> ap_at_k(np.array([0, 9]), 3, 5, "min-k-positives")
    0.3333333333333333
    >>> ap_at_k(np.array([0, 9]), 3, 5, "found")
    1.0
    """
    if n_positive == 0:
        return float("nan")
    within = ranks if k is None else ranks[ranks < k]
    total = float(np.sum((np.arange(len(within)) + 1) / (within + 1)))
    divisors = {
        "min-k-positives": n_positive if k is None else min(k, n_positive),
        "positives": n_positive,
        "found": max(len(within), 1),
    }
    return total / divisors[denominator]


def precision_at_k_clipped(ranks: Ranks, n_positive: int, k: int) -> float:
    """Precision among the first k' places, k' = min(k, place of the last positive).

    The mP@k of the revisited protocol: a query whose two positives come first has mP@10 = 1, not
    0.2. Where a positive is missing from a cut list its place is infinite, so k' = k.

    >>> precision_at_k_clipped(np.array([0, 1]), 2, 10)
    1.0
    >>> precision_at_k_clipped(np.array([0]), 10, 10)
    0.1
    """
    if n_positive == 0:
        return float("nan")
    complete = len(ranks) == n_positive
    cut = min(k, int(ranks[-1]) + 1) if complete else k
    return float(np.count_nonzero(ranks < cut) / cut)


def recall_at_k(ranks: Ranks, n_positive: int, k: int) -> float:
    """1 if any positive is among the first `k` places, else 0: the Recall@k of place recognition.

    It is not the fraction of the positives that were found (Arandjelović et al., CVPR 2016,
    section 5).

    >>> recall_at_k(np.array([4]), 2, 5), recall_at_k(np.array([4]), 2, 4)
    (1.0, 0.0)
    """
    if n_positive == 0:
        return float("nan")
    return float(len(ranks) > 0 and bool(ranks[0] < k))


def _map_at(k: int, denominator: str, divisor: str, source: str) -> Metric:
    return Metric(
        id=f"map@{k}.finite-sum.over-{denominator}.junk-removed",
        label=f"mAP@{k} (over {divisor})",
        unit="%",
        formula=f"Σ_(r_j < {k}) (j + 1) / (r_j + 1) / {divisor}",
        source=source,
        score=lambda ranks, n: ap_at_k(ranks, n, k, denominator),
    )


_FAMILIES: dict[str, Callable[[int], Metric]] = {
    "map.trapezoid.junk-removed": lambda _: Metric(
        id="map.trapezoid.junk-removed",
        label="mAP",
        unit="%",
        formula="Σ_j ½ (j / r_j + (j + 1) / (r_j + 1)) / n_positive, first fraction 1 at r_j = 0",
        source=f"Philbin et al., CVPR 2007, compute_ap; {REVISITED}",
        score=ap_trapezoid,
    ),
    "map.finite-sum.junk-removed": lambda _: Metric(
        id="map.finite-sum.junk-removed",
        label="mAP (finite sum)",
        unit="%",
        formula="Σ_j (j + 1) / (r_j + 1) / n_positive",
        source="TREC; scikit-learn average_precision_score on complete lists",
        score=ap_finite_sum,
    ),
    "map@{k}.finite-sum.over-min-k-positives.junk-removed": lambda k: _map_at(
        k,
        "min-k-positives",
        f"min({k}, n_positive)",
        "Weyand et al., CVPR 2020 (GLDv2 retrieval)",
    ),
    "map@{k}.finite-sum.over-positives.junk-removed": lambda k: _map_at(
        k, "positives", "n_positive", "AP of the cut list over all positives (TREC)"
    ),
    "map@{k}.finite-sum.over-found.junk-removed": lambda k: _map_at(
        k, "found", "positives found", "torchmetrics, scikit-learn on cut lists; for comparison"
    ),
    "mp@{k}.clipped.junk-removed": lambda k: Metric(
        id=f"mp@{k}.clipped.junk-removed",
        label=f"mP@{k}",
        unit="%",
        formula=f"|r_j < k'| / k', k' = min({k}, 1 + max_j r_j)",
        source=REVISITED,
        score=lambda ranks, n: precision_at_k_clipped(ranks, n, k),
    ),
    "recall@{k}.any-hit.junk-removed": lambda k: Metric(
        id=f"recall@{k}.any-hit.junk-removed",
        label=f"R@{k}",
        unit="%",
        formula=f"1 if any r_j < {k}, else 0",
        source="Arandjelović et al., CVPR 2016, section 5",
        score=lambda ranks, n: recall_at_k(ranks, n, k),
    ),
}

REVISITED_METRICS = (
    "map.trapezoid.junk-removed",
    "mp@1.clipped.junk-removed",
    "mp@5.clipped.junk-removed",
    "mp@10.clipped.junk-removed",
    "map.finite-sum.junk-removed",
    "map@100.finite-sum.over-min-k-positives.junk-removed",
    "map@100.finite-sum.over-positives.junk-removed",
    "recall@1.any-hit.junk-removed",
    "recall@5.any-hit.junk-removed",
    "recall@10.any-hit.junk-removed",
)


def families() -> tuple[str, ...]:
    """Return the ids the table knows, with `{k}` where a whole number from 1 goes."""
    return tuple(_FAMILIES)


def metric(metric_id: str) -> Metric:
    """Return the row of the table for an id such as "mp@10.clipped.junk-removed".

    Raises KeyError where the table has no such row.
    """
    found = re.search(r"@([1-9][0-9]{0,8})\.", metric_id)
    if found is None and "@" in metric_id:
        raise KeyError(metric_id)
    k = int(found.group(1)) if found else 0
    family = metric_id.replace(f"@{k}.", "@{k}.", 1) if found else metric_id
    return _FAMILIES[family](k)


def counted(
    values: NDArray[np.float64], empty: str, asked: Sequence[bool] | None = None
) -> NDArray[np.float64]:
    """Return one value per query as it enters a mean, float64; NaN marks what does not.

    `values` and `empty` are those of `mean_over_queries`; `asked` says which queries the protocol
    asks (None: all), and the others count nowhere, not as misses either.
    """
    if empty == "miss":
        values = np.nan_to_num(values, nan=0.0)
    return values if asked is None else np.where(np.asarray(asked), values, np.nan)


def mean_over_queries(values: NDArray[np.float64], empty: str) -> float:
    """Return the mean of one value per query, float64; NaN marks a query without positives.

    `empty` "skip" leaves such queries out of numerator and denominator (revisited protocol),
    "miss" counts them as 0 (place recognition as netvlad does). NaN if nothing is left.
    """
    values = counted(values, empty)
    kept = values[~np.isnan(values)]
    return float(np.mean(kept)) if len(kept) else float("nan")
