"""Re-ranking: lists worked by hand, and against full lists."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench.ranking import follow, one_list
from bench.records.words import say
from bench.rerank import verification
from bench.scoring.scores import labelled_rows, score
from bench.search import exact
from bench.store.matrix import from_array
from bench.types import (
    Candidates,
    GroundTruth,
    LabelledRanks,
    LocalFeatures,
    LocalRule,
    Protocol,
    Shortlist,
)

RULES = pytest.mark.parametrize("candidates", list(verification.RULES))

METRICS = (
    "map.trapezoid.junk-removed",
    "mp@5.clipped.junk-removed",
    "map@7.finite-sum.over-min-k-positives.junk-removed",
    "recall@3.any-hit.junk-removed",
)


def rows(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


# --- by hand ------------------------------------------------------------------------------------

LIST = Shortlist(rows(7, 3, 9, 1, 5, 8).reshape(1, 6), np.array([[0.9, 0.8, 0.7, 0.7, 0.5, 0.4]]))
INLIERS = rows(0, 4, 4, 9, 50, 60).reshape(1, 6)


def first(depth: int, least: int = 0) -> verification.Stage:
    return verification.Stage("deployable", depth, least)


def test_the_first_places_change_among_themselves() -> None:
    """Of 7 3 9 1 with 0 4 4 9 inliers: 1 first, 3 before 9 as before, 7 last; 5 and 8 stay."""
    after = verification.reorder(LIST, INLIERS, [rows()], first(4))
    assert after.row.tolist() == [[1, 3, 9, 7, 5, 8]]
    assert after.score.tolist() == [[0.7, 0.8, 0.7, 0.9, 0.5, 0.4]]
    assert LIST.row.tolist() == [[7, 3, 9, 1, 5, 8]], "the list given is not changed"


@pytest.mark.parametrize(
    ("least", "expected"),
    [(4, [5, 1, 3, 9, 7, 8]), (5, [5, 1, 7, 3, 9, 8]), (9, [5, 1, 7, 3, 9, 8]),
     (10, [5, 7, 3, 9, 1, 8]), (51, LIST.row[0].tolist())],
)  # fmt: skip
def test_so_few_inliers_are_none(least: int, expected: list[int]) -> None:
    assert (
        verification.reorder(LIST, INLIERS, [rows()], first(5, least)).row[0].tolist() == expected
    )


@pytest.mark.parametrize(
    ("weight", "expected"),
    [(0.01, [7, 3, 1, 9, 5, 8]), (0.1, [7, 3, 1, 5, 9, 8]), (0.2, [5, 1, 3, 7, 9, 8])],
)
def test_inliers_may_be_added_to_the_similarity(weight: float, expected: list[int]) -> None:
    """7 3 9 1 5 have 0 4 4 9 50 inliers: 0, 0.585, 0.585, 1.087 and 2.858 doublings of 8."""
    stage = verification.Stage("deployable", 5, inlier_weight=weight)
    assert verification.reorder(LIST, INLIERS, [rows()], stage).row[0].tolist() == expected
    few = verification.Stage("deployable", 5, least_inliers=51, inlier_weight=weight)
    assert verification.reorder(LIST, INLIERS, [rows()], few).row.tolist() == LIST.row.tolist()


def test_a_card_says_what_candidates_are_ordered_by() -> None:
    assert verification.Stage("official").order == "inliers"
    added = verification.Stage("official", inlier_weight=0.25).order
    assert added == {"name": "similarity", "few_inliers": 8}
    card = {"rerank": {"local": {"inlier_weight": 0.25}}}
    assert say("rerank.order", added, card) == (
        "similarity + 0.25 log2(1 + inliers / 8) descending, then the order before"
    )


def test_ignored_images_keep_their_places_and_let_others_in() -> None:
    """Without 3 and 1 the first three are 7 9 5 with 0 4 50."""
    after = verification.reorder(LIST, INLIERS, [rows(1, 3)], first(3))
    assert after.row.tolist() == [[5, 3, 9, 1, 7, 8]]


@pytest.mark.parametrize(("depth", "expected"), [(0, LIST.row[0]), (1, LIST.row[0])])
def test_fewer_than_two_candidates_change_nothing(depth: int, expected: np.ndarray) -> None:
    after = verification.reorder(LIST, INLIERS, [rows()], first(depth))
    assert after.row[0].tolist() == expected.tolist()


def test_labelled_images_follow_their_list() -> None:
    """Rows 1 and 5 are in the list; 2 is behind it, and stays."""
    ranks = LabelledRanks(
        rows(0, 3), rows(1, 2, 5), rows(3, 20, 4), np.array([0.7, 0.1, 0.5]), rows(1, 0, 0)
    )
    after = follow(ranks, verification.reorder(LIST, INLIERS, [rows()], first(5)))
    assert after.rank.tolist() == [1, 20, 0]
    assert after.score is ranks.score


def test_no_inliers_anywhere_change_nothing() -> None:
    assert np.array_equal(verification.reorder(LIST, 0 * INLIERS, [rows()], first(6)).row, LIST.row)


def test_a_shortlist_is_as_long_as_the_rule_may_need() -> None:
    truths = (GroundTruth(rows(1), rows(2, 3)), GroundTruth(rows(), rows(4, 5, 6)))
    protocols = [Protocol("p", truths, METRICS)]
    assert verification.depth_needed(verification.Stage("deployable"), protocols) == 100
    assert verification.depth_needed(verification.Stage("official"), protocols) == 103


# --- against full lists -------------------------------------------------------------------------


@RULES
@pytest.mark.parametrize("depth", [1, 7, 30, 100])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_full_lists(
    oracle: ModuleType, candidates: Candidates, depth: int, seed: int
) -> None:
    """Sixty rows with tied scores; three protocols; every list sorted whole and walked down."""
    draw = np.random.default_rng([depth, seed])
    database = draw.integers(-2, 3, (60, 3)).astype(np.float32)
    database[~database.any(axis=1)] = 1
    queries = draw.integers(-2, 3, (9, 3)).astype(np.float64)
    queries[~queries.any(axis=1)] = 1
    inliers = draw.integers(0, 6, (9, 60)) * draw.integers(0, 2, (9, 60))
    protocols = []
    for name in ("easy", "medium", "hard"):
        truth = []
        for _ in queries:
            drawn = draw.permutation(60)
            cut = draw.integers(0, 15, 2).cumsum()
            truth.append(GroundTruth(*(np.sort(x) for x in np.split(drawn, cut)[:2])))
        protocols.append(Protocol(name, tuple(truth), METRICS))

    stage = verification.Stage(candidates, depth)
    needed = verification.depth_needed(stage, protocols)
    labelled = labelled_rows(protocols)
    found = exact.search([from_array(database, "db")], queries, labelled, needed)
    mask = verification.chosen(found.shortlist, protocols, stage)
    counted = np.full(found.shortlist.row.shape, verification.NOT_VERIFIED)
    for query, marked in enumerate(mask):
        counted[query, marked] = inliers[query, found.shortlist.row[query, marked]]
    before = one_list(found.ranks, found.shortlist, len(protocols))
    after = verification.verified(before, [counted], protocols, stage)
    scores = score([after.ranks[at] for at in after.of], protocols, 60)

    for protocol in protocols:
        for query, truth in enumerate(protocol.truth):
            listed = oracle.ranking(oracle.scores(database, queries[query]))
            if candidates == "official":
                listed = oracle.without(listed, truth.ignored)
            head = sorted(listed[:depth], key=lambda row: -inliers[query, row])
            listed = head + listed[depth:]
            for metric_id in METRICS:
                ours = scores[protocol.name][metric_id].per_query[query]
                wanted = oracle.value(metric_id, listed, truth.positive, truth.ignored)
                assert ours == pytest.approx(wanted, abs=1e-12, nan_ok=True)


@RULES
def test_every_candidate_is_verified_once_and_nothing_else(
    candidates: Candidates,
) -> None:
    truths = GroundTruth(rows(5), rows(3, 7)), GroundTruth(rows(1), rows(9))
    protocols = [Protocol(str(i), (truth,), METRICS) for i, truth in enumerate(truths)]
    mask = verification.chosen(LIST, protocols, verification.Stage(candidates, 3))
    wanted = {"official": {9, 1, 5, 7, 3}, "deployable": {7, 3, 9}}  # 9 1 5 and 7 3 1
    assert set(LIST.row[mask].tolist()) == wanted[candidates]


@pytest.mark.parametrize("mode", ["fast", "compatible"])
def test_inliers_are_counted_where_the_mask_is(mode: Any) -> None:
    """Image 3 is the query itself, image 9 has other descriptors, image 1 has no features."""
    draw = np.random.default_rng(0)

    def features(count: int) -> LocalFeatures:
        unit = draw.standard_normal((count, 8)).astype(np.float32)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        points = draw.uniform(0, 500, (count, 2)).astype(np.float32)
        return LocalFeatures(points, np.ones(count, "f4"), np.ones(count, "f4"), unit)

    query = features(30)
    kept = {3: query, 9: features(30), 1: features(0)}
    mask = np.array([[False, True, True, True, False, False]])
    rule = LocalRule(dim=1, stride_px=1, match_distance=0.4)
    inliers, query_ms = verification.count_inliers(
        LIST, mask, lambda _: query, kept.__getitem__, rule, mode
    )
    assert inliers.tolist() == [[-1, 30, 0, 0, -1, -1]]
    assert len(query_ms) == 1
