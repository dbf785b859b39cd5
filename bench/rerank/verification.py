"""Re-ranking a shortlist by geometric verification: a shortlist in, a shortlist out.

The candidates of a query are ordered by inliers, descending; where these are equal the order
before stays, which is that of the global descriptors, and a method may say that so few inliers are
none. That is the rule of DELG. A method may also have inliers added to the similarity instead
(`LocalRule.inlier_weight` w): candidates are then ordered by similarity + w log2(1 + inliers / 8),
so that few inliers move an image little, and a doubling as much as w of similarity. Candidates
change places among themselves, so all other images keep theirs. Which images are candidates is one
of two rules:

official     the first 100 once the ignored images are taken out, as in DELG's official program;
             this uses labels, and gives each protocol a list of its own
deployable   the first 100 of the list as it is; no labels

The ranks of the labelled images follow exactly from the shortlist and the inliers, so a record
keeps these two, and `bench.records.verify` does the rest again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.rerank import geometry
from bench.rerank.geometry import Mode
from bench.system.hashing import plain
from bench.system.progress import Progress
from bench.types import (
    NO_ROW,
    LabelledRanks,
    LocalFeatures,
    LocalRule,
    Precision,
    Protocol,
    Rows,
    Shortlist,
)

DEPTH = 100
FEW = 8  # inliers that count as one doubling where they are added to the similarity
NOT_VERIFIED = -1
Candidates = Literal["official", "deployable"]
RULES: tuple[Candidates, ...] = ("official", "deployable")


@dataclass(frozen=True)
class Stage:
    """Which images of a list are re-ranked, and how: two fields as in `LocalRule`."""

    candidates: Candidates
    depth: int = DEPTH
    least_inliers: int = 0
    inlier_weight: float = 0.0

    @property
    def order(self) -> str | dict[str, Any]:
        """Return the code of what candidates are ordered by, descending, then the order before."""
        return {"name": "similarity", "few_inliers": FEW} if self.inlier_weight else "inliers"

    def strength(self, score: NDArray[np.floating], inliers: Rows) -> NDArray[np.float64]:
        """Return what candidates are ordered by, from scores and inliers of one shape."""
        counted = np.where(inliers < max(self.least_inliers, 0), 0, inliers).astype(np.float64)
        if not self.inlier_weight:
            return counted
        return score + self.inlier_weight * np.log2(1 + counted / FEW)


def stage_of(candidates: Candidates, rule: LocalRule) -> Stage:
    """Return the stage that a method's rule asks for."""
    return Stage(candidates, least_inliers=rule.least_inliers, inlier_weight=rule.inlier_weight)


@dataclass(frozen=True, eq=False)
class Verified:
    """Inliers of every place of a shortlist, and what a record says of how they were found.

    `inliers` is int64 (n_queries, depth), NOT_VERIFIED where the image is no candidate.
    """

    inliers: Rows
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Reranking:
    """A stage, and the function (shortlist, mask of its candidates, phases_s) that verifies."""

    stage: Stage
    verify: Callable[[Shortlist, NDArray[np.bool_], dict[str, float]], Verified]


def card_of(
    stage: Stage, rule: LocalRule, mode: Mode, precision: Precision
) -> tuple[str, dict[str, Any]]:
    """Return what a card says of the stage: the rule of candidates, and all that can move it."""
    return stage.candidates, {
        "candidates": stage.candidates,
        "depth": stage.depth,
        "order": stage.order,
        "model": "affine-upright" if rule.upright else "affine",
        "ransac": mode,
        "inlier_px": geometry.INLIER_PX,
        "trials": geometry.TRIALS,
        "least_matches": geometry.LEAST_MATCHES,
        "seed": geometry.SEED,
        "local": plain(rule),
        "local_precision": precision,
    }


def ignored_of(stage: Stage, protocol: Protocol) -> list[Rows]:
    """Return per query the rows that the rule takes out before it counts candidates."""
    if stage.candidates == "official":
        return [truth.ignored for truth in protocol.truth]
    return [np.empty(0, dtype=np.int64)] * len(protocol.truth)


def depth_needed(stage: Stage, protocols: Sequence[Protocol]) -> int:
    """Return how long a shortlist must be to hold all candidates, whatever its order."""
    ignored = [rows for protocol in protocols for rows in ignored_of(stage, protocol)]
    return stage.depth + max(map(len, ignored), default=0)


def places(listed: Rows, ignored: Rows, depth: int) -> Rows:
    """Return the places of one query's candidates in its list (n,), ascending."""
    return np.flatnonzero((listed != NO_ROW) & ~np.isin(listed, ignored))[:depth]


def chosen(shortlist: Shortlist, protocols: Sequence[Protocol], stage: Stage) -> NDArray[np.bool_]:
    """Return which places (n_queries, depth) hold a candidate of any protocol."""
    mask = np.zeros(shortlist.row.shape, dtype=np.bool_)
    for protocol in protocols:
        for query, ignored in enumerate(ignored_of(stage, protocol)):
            mask[query, places(shortlist.row[query], ignored, stage.depth)] = True
    return mask


def count_inliers(
    shortlist: Shortlist,
    mask: NDArray[np.bool_],
    of_query: Callable[[int], LocalFeatures],
    of_row: Callable[[int], LocalFeatures],
    rule: LocalRule,
    mode: Mode,
) -> tuple[Rows, list[float]]:
    """Verify the places that `mask` marks; the pairs of a query side by side where that helps.

    `of_query` and `of_row` give the features of a query and of a database row. Returns the inliers
    as in `Verified`, and the milliseconds that each query took.
    """
    inliers = np.full(shortlist.row.shape, NOT_VERIFIED, dtype=np.int64)
    query_ms = []
    threads = 1 if mode == "compatible" else os.cpu_count() or 1
    with (
        Progress("re-rank", int(mask.sum()), "pairs") as progress,
        ThreadPoolExecutor(threads) as pool,
        threadpool_limits(1, "blas"),
    ):
        for query, marked in enumerate(mask):
            start = time.perf_counter()
            features = of_query(query)

            def one(row: int, features: LocalFeatures = features) -> int:
                return geometry.inliers(features, of_row(row), rule, mode)

            rows = shortlist.row[query, marked].tolist()
            inliers[query, marked] = list(pool.map(one, rows))
            query_ms.append(1e3 * (time.perf_counter() - start))
            progress.advance(len(rows))
    return inliers, query_ms


def reorder(
    shortlist: Shortlist, inliers: Rows, ignored: Sequence[Rows], stage: Stage
) -> Shortlist:
    """Return the shortlist with each query's candidates in the order of the stage.

    Ignored rows and those behind the candidates keep their places; a row keeps its score, so
    scores need not descend any more.
    """
    row, score = shortlist.row.copy(), shortlist.score.copy()
    strength = stage.strength(shortlist.score, inliers)
    for query, dropped in enumerate(ignored):
        old = places(shortlist.row[query], dropped, stage.depth)
        new = old[np.argsort(-strength[query, old], kind="stable")]
        row[query, old], score[query, old] = shortlist.row[query, new], shortlist.score[query, new]
    return Shortlist(row, score)


def follow(ranks: LabelledRanks, after: Shortlist) -> LabelledRanks:
    """Return the ranks of the labelled images once their shortlist has the order of `after`.

    An image in the list has its place there as rank; the others keep theirs, being behind it.
    """
    rank = ranks.rank.copy()
    for query, listed in enumerate(after.row):
        part = ranks.of_query(query)
        inside = np.flatnonzero(np.isin(ranks.row[part], listed))
        order = np.argsort(listed)
        at = np.searchsorted(listed, ranks.row[part][inside], sorter=order)
        rank[part.start + inside] = order[at]
    return replace(ranks, rank=rank)


def lists_under(
    shortlist: Shortlist, inliers: Rows, protocols: Sequence[Protocol], stage: Stage
) -> list[Shortlist]:
    """Return the lists after re-ranking, one per protocol."""
    return [
        reorder(shortlist, inliers, ignored_of(stage, protocol), stage) for protocol in protocols
    ]


def ranks_under(
    ranks: LabelledRanks,
    shortlist: Shortlist,
    inliers: Rows,
    protocols: Sequence[Protocol],
    stage: Stage,
) -> list[LabelledRanks]:
    """Return the ranks after re-ranking, one per protocol."""
    return [follow(ranks, one) for one in lists_under(shortlist, inliers, protocols, stage)]
