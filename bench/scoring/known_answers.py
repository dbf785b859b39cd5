"""Known answers that need no descriptors: rankings by a formula, and what they must score.

Query q ranks database row i by ascending (7919 i + 104729 q) mod N, N rows: a permutation as long
as N and 7919 have no common divisor, so there are no ties. The values were computed from the
genuine ground truth by programs that share nothing with this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

import numpy as np

from bench.scoring import scores
from bench.types import Dataset, LabelledRanks

# Per data set and protocol, in percent with six decimals: mAP, mP@1, mP@5, mP@10.
PERMUTATION: dict[str, dict[str, tuple[float, float, float, float]]] = {
    "mini": {
        "easy": (4.175700, 0.000000, 3.076923, 3.076923),
        "medium": (6.215868, 0.000000, 5.333333, 4.000000),
        "hard": (5.861143, 0.000000, 4.000000, 4.111111),
    },
    "roxford5k": {
        "easy": (0.976373, 1.470588, 0.882353, 0.882353),
        "medium": (1.657931, 2.857143, 1.428571, 1.142857),
        "hard": (0.784435, 1.428571, 0.571429, 0.285714),
    },
    "rparis6k": {
        "easy": (1.716221, 4.285714, 1.428571, 1.571429),
        "medium": (4.059393, 7.142857, 5.142857, 4.285714),
        "hard": (2.532261, 2.857143, 3.714286, 2.857143),
    },
}
METRICS = (
    "map.trapezoid.junk-removed",
    "mp@1.clipped.junk-removed",
    "mp@5.clipped.junk-removed",
    "mp@10.clipped.junk-removed",
)


def permutation_ranks(n_rows: int, labelled: Sequence[np.ndarray]) -> LabelledRanks:
    """Return the ranks that the formula gives the labelled rows of each query."""
    if gcd(n_rows, 7919) != 1:
        raise ValueError(f"{n_rows} rows share a divisor with 7919")
    keys = [
        (7919 * rows.astype(np.int64) + 104729 * query) % n_rows
        for query, rows in enumerate(labelled)
    ]
    rank = np.concatenate(keys)
    return LabelledRanks(
        offsets=np.cumsum([0, *map(len, labelled)], dtype=np.int64),
        row=np.concatenate(list(labelled)).astype(np.int64),
        rank=rank,
        score=-rank.astype(np.float64),
        tied=np.zeros_like(rank),
    )


def permutation_scores(dataset: Dataset) -> scores.Scores:
    """Score the formula's ranking of a data set under all its protocols."""
    n_rows = len(dataset.database)
    ranks = permutation_ranks(n_rows, scores.labelled_rows(dataset.protocols))
    return scores.score(ranks, dataset.protocols, n_rows)


def disagreements(dataset: Dataset) -> list[str]:
    """Return where the scores of the formula's ranking are not the known ones."""
    scores = permutation_scores(dataset)
    return [
        f"{protocol} {metric_id}: {100 * scores[protocol][metric_id].mean:.6f}, not {known:.6f}"
        for protocol, row in PERMUTATION[dataset.name].items()
        for metric_id, known in zip(METRICS, row, strict=True)
        if abs(100 * scores[protocol][metric_id].mean - known) > 5.1e-7
    ]
