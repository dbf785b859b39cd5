"""The rules of place recognition: areas, suppression, queries that are not asked, distances."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import areas, card, datasets, evaluate, record, rerank, search, suppression
from bench.datasets import _near, _utm
from bench.descriptors import from_array
from bench.errors import BenchError
from bench.folder import parse
from bench.types import NO_ROW, Areas, GroundTruth, LabelledRanks, Protocol, Shortlist

R1, R5 = "recall@1.any-hit.junk-removed", "recall@5.any-hit.junk-removed"


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
    assert after.rank.tolist() == [evaluate.ABSENT, 1, 2]
    cut = suppression.follow(ranks, Shortlist(np.array([[1, 0, 2]]), np.zeros((1, 3))), groups)
    assert cut.rank.tolist() == [evaluate.ABSENT, 1, evaluate.ABSENT]


def test_an_image_that_is_not_in_the_list_has_no_place() -> None:
    protocol = Protocol("p", (GroundTruth(np.array([1, 4]), np.array([2, 3])),), (R1,))
    ranks = LabelledRanks(
        np.array([0, 4]),
        np.array([1, 2, 3, 4]),
        np.array([evaluate.ABSENT, 0, evaluate.ABSENT, 2]),
        np.zeros(4),
        np.zeros(4, int),
    )
    assert [places.tolist() for places in evaluate.positive_ranks(ranks, protocol)] == [[1]]


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
    found = search.search(
        [from_array(database, "db"), from_array(added, "more")],
        queries.astype(np.float64),
        evaluate.labelled_rows([protocol]),
        depth,
    )
    [ranks] = record.final_ranks(found.ranks, found.shortlist, [protocol], None, groups)
    scores = evaluate.score(ranks, [protocol], n_rows)["all"]
    whole = np.concatenate([database, added])
    for k, name in ((1, R1), (5, R5)):
        for i, one in enumerate(truth):
            seen, kept = set(), []
            for row in ordered(whole, queries[i]):
                group = ("alone", row) if row >= n_rows else groups[row]
                if group not in seen:
                    seen.add(group)
                    kept.append(row)
            kept = [row for row in kept if row not in set(one.ignored.tolist())]
            hit = any(row in set(one.positive.tolist()) for row in kept[:k])
            got = scores[name].per_query[i]
            assert np.isnan(got) if not len(one.positive) else got == float(hit), (k, i)


def test_suppression_goes_with_recall_alone(small: dict) -> None:
    small |= {"groups": [0, 0, 1, 1, 2, 2, 3, 3]}
    with pytest.raises(BenchError, match=r"groups go with Recall@k alone, and metrics has 'map"):
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
        (job, search.search(job.parts, queries[job.queries].astype(np.float64), job.labelled, 5))
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
        exact = [float(whole[row].astype(float) @ mine) for row in order[:5]]
        assert found.shortlist.score[query][:length] == pytest.approx(exact)
        assert np.all(np.diff(found.shortlist.score[query]) <= 0)


def test_areas_that_make_no_sense_are_refused(small: dict) -> None:
    small["areas"] = {"database": [1, 1, 1, 1, 2, 2, 2, 2], "queries": [1, 2, 2]}
    assert parse(small, "x", Path()).areas.queries.tolist() == [1, 2, 2]
    for kind, value, said in (
        ("database", [1, 2, 1, 1, 2, 2, 2, 2], "x: areas.database must ascend"),
        ("queries", [1, 2, 3], r"x: areas.queries\[2\] is 3, an area without database images"),
        ("queries", [1, 2], "x: areas.queries has 2 numbers for 3 images"),
        ("queries", [1, 2, 2.5], "must be of type integer"),
        ("queries", [1, 2, 2**70], "whole numbers that 64 bits hold"),
    ):
        spoilt = {**small, "areas": {**small["areas"], kind: value}}
        with pytest.raises(BenchError, match=said):
            parse(spoilt, "x", Path())


def test_a_part_of_a_data_set_keeps_areas_groups_and_what_is_asked(small: dict) -> None:
    small |= {
        "areas": {"database": [0, 0, 0, 0, 0, 1, 1, 1], "queries": [0, 1, 0]},
        "groups": [0, 0, 1, 1, 2, 2, 3, 3],
        "metrics": [R1],
    }
    small["protocols"]["hard"][2] = None
    dataset = parse(small, "x", Path())
    part = datasets.limited(dataset, 4)
    assert part.areas.database.tolist() == [0, 0, 0, 0]
    assert [q.file for q in part.queries] == ["q0.png", "q2.png"], "the area of q1 is gone"
    assert part.areas.queries.tolist() == [0, 0]
    assert part.groups.tolist() == [0, 0, 1, 1]
    assert part.protocols[1].asked == (True, False)
    assert part.protocols[0].asked is None


# --- queries that a protocol does not ask -------------------------------------------------------


def test_queries_that_are_not_asked_count_nowhere(small: dict) -> None:
    """Of three queries `day` asks two, one of them without positives: a miss, and no third."""
    entries = [{"positive": [0]}, {"positive": []}, None]
    small |= {"protocols": {"day": entries}, "metrics": [R1], "empty": "miss"}
    dataset = parse(small, "x", Path())
    [day] = dataset.protocols
    assert day.asked == (True, True, False)
    assert evaluate.skipped(day) == 1
    ranks = LabelledRanks(
        np.array([0, 1, 1, 1]), np.array([0]), np.array([0]), np.array([1.0]), np.array([0])
    )
    score = evaluate.score(ranks, [day], 8)["day"][R1]
    assert score.mean == 0.5
    assert np.isnan(score.per_query[2])
    entry = card.make(dataset, None, unit_norm=True)["protocols"]["day"]
    assert (entry["scored"], entry["skipped"], entry["not_asked"]) == (2, 0, 1)
    skipping = replace(day, empty="skip")
    assert evaluate.score(ranks, [skipping], 8)["day"][R1].mean == 1.0
    entry = card.protocol_entry(skipping)
    assert (entry["scored"], entry["skipped"], entry["not_asked"]) == (1, 1, 1)
    around = evaluate.score(ranks, [day], 8)["day"][R1].interval
    assert around == pytest.approx((0.0, 1.0), abs=1e-6)
    kept = replace(day, asked=(True, False, False))
    assert evaluate.score(ranks, [kept], 8)["day"][R1].interval is None, "one query, no interval"
    other = replace(day, asked=(True, False, True))
    assert card.protocol_entry(other)["truth_sha256"] != entry["truth_sha256"]


# --- the record ---------------------------------------------------------------------------------


PLACES = {
    "name": "places",
    "images": "jpg",
    "database": [f"d{i}.png" for i in range(8)],
    "queries": [{"file": f"q{i}.png"} for i in range(3)],
    "protocols": {
        "all": [{"positive": [1]}, {"positive": [5]}, {"positive": [2]}],
        "night": [None, {"positive": [5]}, {"positive": [2]}],
    },
    "metrics": [R1],
    "empty": "miss",
    "rules": {"positive": "Euclidean distance", "threshold_m": 25, "comparison": "<="},
    "areas": {"database": [0] * 4 + [1] * 4, "queries": [0, 1, 0]},
    "groups": [0, 0, 1, 1, 2, 2, 3, 3],
}


def score_places(cli: Callable, workspace, brought: tuple[Path, Path], **change: object) -> Path:
    path = workspace.folder / "places" / "dataset.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**PLACES, **change}), encoding="utf-8")
    db, asked = brought
    files = ("--database", db, "--queries", asked)
    said = cli("evaluate", "--dataset", path, *files, "--shortlist", 1)
    assert said.status == 0, said.err
    return Path(said.out.splitlines()[-1])


def test_rules_stand_in_the_card_and_verify_follows_them(
    cli: Callable, workspace, brought: tuple[Path, Path]
) -> None:
    path = score_places(cli, workspace, brought)
    held = record.read(path)
    assert held["card"]["dataset"]["rules"] == PLACES["rules"]
    assert held["card"]["areas"]["count"] == 2
    assert held["card"]["suppression"]["groups"] == 4
    assert held["card"]["protocols"]["night"]["not_asked"] == 1
    said = cli("verify", path)
    assert said.status == 0, said
    shorts = {held["card_sha256"]}
    for change in (
        {"areas": {**PLACES["areas"], "queries": [0, 1, 1]}, "protocols": {
            "all": [{"positive": [1]}, {"positive": [5]}, {"positive": [6]}]}},
        {"groups": [0, 0, 1, 1, 2, 2, 3, 4]},
        {"rules": {"threshold_m": 25, "comparison": "<"}},
    ):  # fmt: skip
        other = record.read(score_places(cli, workspace, brought, **change))
        shorts.add(other["card_sha256"])
    assert len(shorts) == 4, "each rule is another card"


@pytest.mark.parametrize("key", ["groups", "areas"])
def test_groups_and_areas_are_in_the_revision(key: str) -> None:
    other = {k: v for k, v in PLACES.items() if k != key}
    one, without = (parse(data, "x", Path()) for data in (PLACES, other))
    assert card.revision(one) != card.revision(without)


def test_a_small_area_does_not_shorten_the_lists_of_the_others(
    cli: Callable, workspace, brought: tuple[Path, Path]
) -> None:
    """Six cut-outs of one panorama need a list of all seven; the other area has one row."""
    change = {
        "areas": {"database": [0] + [1] * 7, "queries": [1, 0, 1]},
        "groups": [2, 1, *[0] * 6],
        "protocols": {"all": [{"positive": [1]}, {"positive": [0]}, {"positive": [*range(2, 8)]}]},
        "metrics": [R5],
    }
    path = score_places(cli, workspace, brought, **change)
    held = record.read(path)
    rows = record.read_arrays(path, held)["shortlist_row"]
    assert rows.shape == (3, 7)
    assert rows[1].tolist() == [0, *[NO_ROW] * 6]
    assert held["scores"]["all"][R5]["per_query"] == [1.0, 1.0, 1.0]
    assert cli("verify", path).status == 0


def test_the_end_of_a_padded_list_is_no_candidate() -> None:
    listed = np.array([4, 2, 7, NO_ROW, NO_ROW])
    assert rerank.places(listed, np.array([2]), 4).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("array", "spoil", "said"),
    [
        ("database_group", lambda a: a + 1, "the stored groups are not the card's"),
        ("database_group", lambda a: a[1:], "the stored groups are of another number of images"),
        ("database_group", None, "the card names a suppression, but no groups are stored"),
        ("database_area", lambda a: a[::-1].copy(), "the stored areas are not the card's"),
        ("query_area", lambda a: 1 - a, "the stored areas are not the card's"),
        ("query_area", None, "the card names areas, but they are not stored"),
        ("truth_night_asked", lambda a: ~a, "the stored ground truth of night is not the card's"),
    ],
)
def test_a_record_that_breaks_its_rules_is_caught(
    array: str, spoil: Callable | None, said: str, cli: Callable, workspace, brought
) -> None:
    path = score_places(cli, workspace, brought)
    held = record.read(path)
    arrays = record.read_arrays(path, held)
    if spoil is None:
        del arrays[array]
    else:
        arrays[array] = spoil(arrays[array])
    keys = ("schema", "card_sha256", "ranks", "sha256")
    rest = {key: value for key, value in held.items() if key not in keys}
    again = record.write(workspace.folder / "again", rest, arrays)
    got = cli("verify", again)
    assert got.status == 1
    assert said in got.out + got.err


def test_a_record_whose_list_leaves_its_area_or_is_too_short_is_caught(
    cli: Callable, workspace, brought: tuple[Path, Path]
) -> None:
    path = score_places(cli, workspace, brought)
    held = record.read(path)
    arrays = record.read_arrays(path, held)
    keys = ("schema", "card_sha256", "ranks", "sha256")
    rest = {key: value for key, value in held.items() if key not in keys}
    strange = {**arrays, "shortlist_row": arrays["shortlist_row"].copy()}
    labelled = set(arrays["labelled_row"][:1].tolist())
    at = next(i for i, row in enumerate(strange["shortlist_row"][0]) if row not in labelled)
    strange["shortlist_row"][0, at] = 7
    got = cli("verify", record.write(workspace.folder / "strange", rest, strange))
    assert "the list of query 0 leaves its area" in got.out + got.err
    short = {
        **arrays,
        **{f"shortlist_{k}": arrays[f"shortlist_{k}"][:, :1] for k in ("row", "score")},
    }
    got = cli("verify", record.write(workspace.folder / "short", rest, short))
    assert "the shortlist is too short for its suppression" in got.out + got.err


# --- distances ----------------------------------------------------------------------------------


def test_the_threshold_and_its_strictness() -> None:
    database = np.array([[0.0, 0.0], [15.0, 20.0], [25.0, 0.0], [25.0000001, 0.0], [3.0, 4.0]])
    query = np.zeros((1, 2))
    assert _near.positives(database, query, 25.0)[0].tolist() == [0, 1, 2, 4]
    assert _near.positives(database, query, 25.0, strict=True)[0].tolist() == [0, 4]
    assert _near.positives(database, query, 5.0)[0].tolist() == [0, 4]
    assert [p.tolist() for p in _near.positives(database, query + 900, 25.0)] == [[]]
    assert _near.positives(database, np.empty((0, 2)), 25.0) == []


@pytest.mark.parametrize("strict", [False, True])
def test_positives_are_those_of_all_pairs(strict: bool) -> None:
    draw = np.random.default_rng(3)
    database = draw.integers(0, 60, (500, 2)).astype(np.float64)
    queries = draw.integers(0, 60, (2100, 2)).astype(np.float64)
    near = _near.positives(database, queries, 5.0, strict=strict)
    assert len(near) == 2100
    for query, rows in zip(queries, near, strict=True):
        squares = ((database - query) ** 2).sum(axis=1)
        right = squares < 25 if strict else squares <= 25
        assert rows.tolist() == np.flatnonzero(right).tolist()
        assert rows.dtype == np.int64


def test_a_hundred_thousand_positions_need_no_table_of_all_pairs(tmp_path: Path) -> None:
    """All pairs of 100,000 and 20,000 positions would take 16 GB."""
    draw = np.random.default_rng(0)
    database = draw.uniform(0, 20_000, (100_000, 2))
    queries = database[:20_000] + np.array([3.0, 4.0])
    near = _near.positives(database, queries, 25.0)
    assert all(i in rows for i, rows in enumerate(near[:200]))
    assert 20_000 < sum(map(len, near)) < 60_000


def test_view_directions_around_north() -> None:
    angles = np.array([350.0, 10.0, 180.0, 49.0, 51.0, np.nan])
    kept = _near.within_angle(np.arange(6), 10.0, angles, 40.0)
    assert kept.tolist() == [0, 1, 3]
    assert _near.within_angle(np.arange(6), np.nan, angles, 40.0).tolist() == []


def test_positions_in_names() -> None:
    assert _utm.position("a/@0543263.69@4179336.01@10@S@.jpg") == (543263.69, 4179336.01)
    for name in ("a.jpg", "@1@x@.jpg", "@@2@.jpg"):
        with pytest.raises(BenchError, match="does not say where it was taken"):
            _utm.position(name)
