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
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench import stage as contract
from bench.errors import BenchError
from bench.ranking import follow
from bench.rerank import geometry
from bench.stage import Arrays, Cost, Need, Place, Shape, Space, Step
from bench.system.hashing import plain
from bench.system.progress import Progress
from bench.types import (
    NO_ROW,
    Candidates,
    LocalFeatures,
    LocalRule,
    Precision,
    Protocol,
    Ranking,
    Ransac,
    Rows,
    Shortlist,
)

DEPTH = 100
FEW = 8  # inliers that count as one doubling where they are added to the similarity
NOT_VERIFIED = -1
UNLIKE_ANY = -1.5  # images without a descriptor have scores below that of any two unit vectors
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


@dataclass(frozen=True)
class Verification:
    """Geometric verification as a stage of a chain (`bench.stage.ListStage`).

    `by` is the card's entry for the method of the local features, if it is a different one.
    """

    stage: Stage
    rule: LocalRule
    mode: Ransac
    precision: Precision
    by: Mapping[str, Any] | None = field(default=None, hash=False)

    name: ClassVar[str] = "rerank"
    code: ClassVar[int] = 1
    place: ClassVar[Place] = "list"
    searches_again: ClassVar[bool] = False

    @property
    def uses(self) -> frozenset[str]:
        """Return whether labels choose the candidates."""
        return frozenset({"labels"} if self.stage.candidates == "official" else ())

    def needs(self) -> tuple[Need, ...]:
        """Return the local features of queries and database."""
        return (Need("local", lists=("database", "queries")),)

    def fit_to(self, shape: Shape) -> contract.Stage:
        """Return the stage: lists shorter than its candidates are verified as far as they go."""
        return self

    def entry(self) -> Mapping[str, Any]:
        """Return what `card.rerank` holds, under the name of the stage."""
        by = {} if self.by is None else {"by": self.by}
        card = card_of(self.stage, self.rule, self.mode, self.precision)
        return {"stage": self.name, **card, **by}

    def depth(self, wanted: int, protocols: Sequence[Protocol]) -> int:
        """Return the length of list that holds all candidates."""
        return max(wanted, depth_needed(self.stage, protocols))

    def cost(self, shape: Shape) -> Cost:
        """Return the least that it takes: trials of RANSAC on every pair."""
        pairs = shape.queries * self.stage.depth
        return Cost(0, 100.0 * geometry.TRIALS * pairs)

    def apply(self, before: Ranking, space: Space, depth: int) -> Step:
        """Verify the candidates of every list, and sort them by the result."""
        protocols, inliers, phases = space.protocols, [], {"re-rank": 0.0}
        masks = [
            chosen(listed, [p for p, of in zip(protocols, before.of, strict=True) if of == i],
                   self.stage)
            for i, listed in enumerate(before.shortlist)
        ]  # fmt: skip
        lists = zip(before.shortlist, masks, strict=True)
        rows = np.unique(np.concatenate([listed.row[mask] for listed, mask in lists]))
        local = space.local(np.flatnonzero(np.any([m.any(axis=1) for m in masks], axis=0)), rows)
        query_ms = np.zeros(len(space.queries))
        start = time.perf_counter()
        for listed, mask in zip(before.shortlist, masks, strict=True):
            found, ms = count_inliers(
                listed, mask, local.of_query, local.of_row, self.rule, self.mode
            )
            inliers.append(found)
            query_ms += ms
        phases["re-rank"] = time.perf_counter() - start
        about = {
            "pairs": int(sum(mask.sum() for mask in masks)),
            "features_per_image": local.features_per_image,
            "bytes_per_image": local.bytes_per_image,
        }
        after = verified(before, inliers, protocols, self.stage)
        return Step(after, {"inliers": tuple(inliers)}, tuple(query_ms.tolist()), None, about,
                    {**local.phases_s, **phases})  # fmt: skip

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Check that exactly the candidates of the rule were verified."""
        for at, (listed, inliers) in enumerate(
            zip(before.shortlist, arrays["inliers"], strict=True)
        ):
            if inliers.dtype != np.int64 or inliers.shape != listed.row.shape:
                raise ValueError("inliers must be int64, one number per place of the shortlist")
            mine = [p for p, of in zip(protocols, before.of, strict=True) if of == at]
            candidates = chosen(listed, mine, self.stage)
            missing = listed.score < UNLIKE_ANY
            least = np.where(candidates & ~missing, 0, NOT_VERIFIED)
            most = np.where(candidates, self.rule.max_features, NOT_VERIFIED)
            if np.any((inliers < least) | (inliers > most)):
                return ["the stored inliers do not fit the candidates"]
        return []

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with the rule of candidates."""
        by = "" if self.by is None else f", local features of {self.by['method']}"
        return f"re-ranked, {self.stage.candidates} candidates{by}"


def make(_first: str | None, _options: Mapping[str, str]) -> Verification:
    """Refuse what has no method: a run makes this stage itself."""
    raise BenchError(
        "--stage rerank needs local features, which `evaluate` does not read; use `run`."
    )


def of_entry(entry: Mapping[str, Any]) -> Verification:
    """Return the stage of an entry of a card, of this version or an older one."""
    known = {field.name for field in fields(LocalRule)} & entry["local"].keys()
    rule = LocalRule(**{name: entry["local"][name] for name in known})
    by = entry.get("by")
    if by is not None and not isinstance(by["method"], str):
        raise ValueError("by must name a method")
    return Verification(
        listed_by(entry), rule, entry["ransac"], entry["local_precision"], entry.get("by")
    )


def listed_by(entry: Mapping[str, Any]) -> Stage:
    """Return which images of a list an entry says were re-ranked, and how."""
    stated = {"least_inliers", "inlier_weight"} & set(entry["local"])
    chosen = {name: entry["local"][name] for name in stated}
    return Stage(entry["candidates"], entry["depth"], **chosen)


def verified(
    before: Ranking, inliers: Sequence[Rows], protocols: Sequence[Protocol], stage: Stage
) -> Ranking:
    """Return the ranking after re-ranking: a list for each protocol where labels chose."""
    lists = [
        reorder(before.shortlist[at], inliers[at], ignored_of(stage, protocol), stage)
        for at, protocol in zip(before.of, protocols, strict=True)
    ]
    if stage.candidates == "deployable":
        first = [before.of.index(at) for at in range(len(before.ranks))]
        lists = [lists[place] for place in first]
        ranks = tuple(follow(*pair) for pair in zip(before.ranks, lists, strict=True))
        return Ranking(ranks, tuple(lists), before.of)
    pairs = zip((before.ranks[at] for at in before.of), lists, strict=True)
    ranks = tuple(follow(*pair) for pair in pairs)
    return Ranking(ranks, tuple(lists), tuple(range(len(lists))))


def card_of(stage: Stage, rule: LocalRule, mode: Ransac, precision: Precision) -> dict[str, Any]:
    """Return the entries of a card for the stage: all that can move it."""
    return {
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
    mode: Ransac,
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

            def inliers_of(row: int, features: LocalFeatures = features) -> int:
                return geometry.inliers(features, of_row(row), rule, mode)

            rows = shortlist.row[query, marked].tolist()
            inliers[query, marked] = list(pool.map(inliers_of, rows))
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
