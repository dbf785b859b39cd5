"""The rules of place recognition in search and score: suppression, areas, queries not asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import datasets
from bench.data.dataset_json import parse
from bench.errors import BenchError
from bench.ranking import one_list
from bench.rerank import suppression, verification
from bench.scoring import card, scores
from bench.search import areas, exact
from bench.store.matrix import from_array
from bench.types import (
    NO_ROW,
    NOT_RETRIEVED,
    Areas,
    GroundTruth,
    LabelledRanks,
    Protocol,
    Shortlist,
)
from tests.support.places import R1, R5


def unit(count: int, seed: int, dim: int = 6) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def ordered(database: np.ndarray, query: np.ndarray) -> list[int]:
    """Return all rows, best first, ties by row: the oracle's full ranking."""
    scores = [float(sum(map(float, a * b))) for a, b in
              ((row.astype(float), query.astype(float)) for row in database)]  # fmt: skip
    return sorted(range(len(scores)), key=lambda row: (-scores[row], row))


# --- suppression --------------------------------------------------------------------------------


def test_suppression_by_hand() -> None:
    """Groups a a b b c; the list is 1 0 2 4 3: of a row 1 is kept, of b row 2, then c."""
    groups = np.array([7, 7, 5, 5, 9])
    ranks = LabelledRanks(
        np.array([0, 3]), np.array([0, 2, 4]), np.array([1, 2, 3]), np.zeros(3), np.zeros(3, int)
    )
    after = suppression.follow(
        ranks, Shortlist(np.array([[1, 0, 2, 4, 3]]), np.zeros((1, 5))), groups
    )
    assert after.rank.tolist() == [NOT_RETRIEVED, 1, 2]
    cut = suppression.follow(ranks, Shortlist(np.array([[1, 0, 2]]), np.zeros((1, 3))), groups)
    assert cut.rank.tolist() == [NOT_RETRIEVED, 1, NOT_RETRIEVED]


def test_an_image_that_is_not_in_the_list_has_no_place() -> None:
    protocol = Protocol("p", (GroundTruth(np.array([1, 4]), np.array([2, 3])),), (R1,))
    ranks = LabelledRanks(
        np.array([0, 4]),
        np.array([1, 2, 3, 4]),
        np.array([NOT_RETRIEVED, 0, NOT_RETRIEVED, 2]),
        np.zeros(4),
        np.zeros(4, int),
    )
    assert [places.tolist() for places in scores.positive_ranks(ranks, protocol)] == [[1]]


def test_distractors_are_groups_of_one() -> None:
    groups = np.array([0, 0, 1])
    ranks = LabelledRanks(
        np.array([0, 1]), np.array([2]), np.array([4]), np.zeros(1), np.zeros(1, int)
    )
    listed = Shortlist(np.array([[3, 0, 1, 4, 2]]), np.zeros((1, 5)))
    assert suppression.follow(ranks, listed, groups).rank.tolist() == [3]


@pytest.mark.parametrize("seed", range(12))
def test_recall_after_suppression_is_that_of_the_whole_ranking(seed: int) -> None:
    """Against the oracle: rank everything, walk the list, keep the first of each group."""
    draw = np.random.default_rng(seed)
    n_rows, n_queries = int(draw.integers(5, 60)), 7
    database, queries = unit(n_rows, seed), unit(n_queries, seed + 100)
    if seed % 2:
        database = database[draw.integers(0, max(2, n_rows // 2), n_rows)]  # many ties
    added = unit(5, seed + 200)
    groups = draw.integers(0, max(2, n_rows // 4), n_rows)
    truth = []
    for _ in range(n_queries):
        kinds = draw.choice(3, n_rows, p=[0.8, 0.1, 0.1])
        truth.append(GroundTruth(np.flatnonzero(kinds == 1), np.flatnonzero(kinds == 2)))
    protocol = Protocol("all", tuple(truth), (R1, R5), "miss")
    depth = suppression.depth_needed(groups, [protocol])
    largest = max(np.bincount(groups))
    assert depth == largest * (5 + max(len(t.ignored) for t in truth))
    found = exact.search(
        [from_array(database, "db"), from_array(added, "more")],
        queries.astype(np.float64),
        scores.labelled_rows([protocol]),
        depth,
    )
    [ranks] = suppression.scored(one_list(found.ranks, found.shortlist, 1), groups)
    table = scores.score(ranks, [protocol], n_rows)["all"]
    whole = np.concatenate([database, added])
    for k, name in ((1, R1), (5, R5)):
        for i, item in enumerate(truth):
            seen, kept = set(), []
            for row in ordered(whole, queries[i]):
                group = ("alone", row) if row >= n_rows else groups[row]
                if group not in seen:
                    seen.add(group)
                    kept.append(row)
            kept = [row for row in kept if row not in set(item.ignored.tolist())]
            hit = any(row in set(item.positive.tolist()) for row in kept[:k])
            got = table[name].per_query[i]
            assert np.isnan(got) if not len(item.positive) else got == float(hit), (k, i)


def test_suppression_goes_with_recall_alone(small: dict) -> None:
    small |= {"groups": [0, 0, 1, 1, 2, 2, 3, 3]}
    with pytest.raises(BenchError, match=r"groups need Recall@k; remove 'map"):
        parse(small, "x", Path())
    small["metrics"] = [R1]
    assert parse(small, "x", Path()).groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    small["groups"] = small["groups"][1:]
    with pytest.raises(BenchError, match=r"^x: groups has 7 numbers for 8 images\.$"):
        parse(small, "x", Path())


# --- areas --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_search_by_areas_is_a_search_of_each(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes, n_queries = (9, 4, 13), 8
    database, queries, added = unit(26, seed), unit(n_queries, seed + 50), unit(seed % 2, seed + 90)
    area = np.repeat([2, 5, 6], sizes)
    asked = draw.choice([2, 5, 6], n_queries)
    labelled = [np.sort(draw.choice(np.flatnonzero(area == a), 2, replace=False)) for a in asked]
    parts = [from_array(database[:11], "a"), from_array(database[11:], "b")]
    parts += [from_array(added, "c")] if len(added) else []
    jobs = areas.jobs(Areas(area, asked), parts, labelled)
    assert len(jobs) == len(np.unique(asked))
    searched = [
        (job, exact.search(job.parts, queries[job.queries].astype(np.float64), job.labelled, 5))
        for job in jobs
    ]
    found = areas.join(searched, n_queries)
    whole = np.concatenate([database, added])
    for query in range(n_queries):
        seen = np.concatenate([np.flatnonzero(area == asked[query]), 26 + np.arange(len(added))])
        order = seen[ordered(whole[seen], queries[query])].tolist()
        part = found.ranks.of_query(query)
        assert found.ranks.row[part].tolist() == labelled[query].tolist()
        assert found.ranks.rank[part].tolist() == [order.index(row) for row in labelled[query]]
        length = min(5, len(order))
        padding = [NO_ROW] * (found.shortlist.row.shape[1] - length)
        assert found.shortlist.row[query].tolist() == order[:5] + padding
        mine = queries[query].astype(float)
        alone = [float(whole[row].astype(float) @ mine) for row in order[:5]]
        assert found.shortlist.score[query][:length] == pytest.approx(alone)
        assert np.all(np.diff(found.shortlist.score[query]) <= 0)


def test_areas_that_make_no_sense_are_refused(small: dict) -> None:
    small["areas"] = {"database": [1, 1, 1, 1, 2, 2, 2, 2], "queries": [1, 2, 2]}
    assert parse(small, "x", Path()).areas.queries.tolist() == [1, 2, 2]
    for kind, value, item in (
        ("database", [1, 2, 1, 1, 2, 2, 2, 2], "x: areas.database must ascend"),
        ("queries", [1, 2, 3], r"x: areas.queries\[2\] is 3, an area without database images"),
        ("queries", [1, 2], "x: areas.queries has 2 numbers for 3 images"),
        ("queries", [1, 2, 2.5], "must be a whole number"),
        ("queries", [1, 2, 2**70], "must not be above 9223372036854775807"),
    ):
        spoilt = {**small, "areas": {**small["areas"], kind: value}}
        with pytest.raises(BenchError, match=item):
            parse(spoilt, "x", Path())


def test_a_part_of_a_data_set_keeps_areas_groups_and_what_is_asked(small: dict) -> None:
    small |= {
        "areas": {"database": [0, 0, 0, 0, 0, 1, 1, 1], "queries": [0, 1, 0]},
        "groups": [0, 0, 1, 1, 2, 2, 3, 3],
        "metrics": [R1],
    }
    small["protocols"]["hard"][2] = None
    dataset = parse(small, "x", Path())
    part = datasets.limited(dataset, 4, "first-rows")
    assert part.areas.database.tolist() == [0, 0, 0, 0]
    assert [q.file for q in part.queries] == ["q0.png", "q2.png"], "the area of q1 is gone"
    assert part.areas.queries.tolist() == [0, 0]
    assert part.groups.tolist() == [0, 0, 1, 1]
    assert part.protocols[1].asked == (True, False)
    assert part.protocols[0].asked is None


def test_the_end_of_a_padded_list_is_no_candidate() -> None:
    listed = np.array([4, 2, 7, NO_ROW, NO_ROW])
    assert verification.places(listed, np.array([2]), 4).tolist() == [0, 2]


# --- queries that a protocol does not ask -------------------------------------------------------


def test_queries_that_are_not_asked_count_nowhere(small: dict) -> None:
    """Of three queries `day` asks two, one of them without positives: a miss, and no third."""
    entries = [{"positive": [0]}, {"positive": []}, None]
    small |= {"protocols": {"day": entries}, "metrics": [R1], "empty": "miss"}
    dataset = parse(small, "x", Path())
    [day] = dataset.protocols
    assert day.asked == (True, True, False)
    assert scores.skipped(day) == 1
    ranks = LabelledRanks(
        np.array([0, 1, 1, 1]), np.array([0]), np.array([0]), np.array([1.0]), np.array([0])
    )
    score = scores.score(ranks, [day], 8)["day"][R1]
    assert score.mean == 0.5
    assert np.isnan(score.per_query[2])
    entry = card.make(dataset, None, unit_norm=True)["protocols"]["day"]
    assert (entry["scored"], entry["skipped"], entry["not_asked"]) == (2, 0, 1)
    skipping = replace(day, empty="skip")
    assert scores.score(ranks, [skipping], 8)["day"][R1].mean == 1.0
    entry = card.protocol_entry(skipping)
    assert (entry["scored"], entry["skipped"], entry["not_asked"]) == (1, 1, 1)
    around = scores.score(ranks, [day], 8)["day"][R1].interval
    assert around == pytest.approx((0.0, 1.0), abs=1e-6)
    kept = replace(day, asked=(True, False, False))
    assert scores.score(ranks, [kept], 8)["day"][R1].interval is None, "one query, no interval"
    other = replace(day, asked=(True, False, True))
    assert card.protocol_entry(other)["truth_sha256"] != entry["truth_sha256"]
