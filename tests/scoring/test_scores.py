"""Scores of whole data sets: by hand, the golden vectors, the official answers, intervals."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import datasets
from bench.errors import BenchError
from bench.scoring import intervals, known_answers, metrics, scores
from bench.search import exact
from bench.store.matrix import from_array
from bench.types import GroundTruth, LabelledRanks, Protocol

TRAPEZOID = "map.trapezoid.junk-removed"
Finder = Callable[[str], Path]


def rows(*numbers: int) -> np.ndarray:
    """Return database rows as the types want them."""
    return np.array(sorted(numbers), dtype=np.int64)


def protocol(truth, metric_ids=(TRAPEZOID,), empty="skip", name="p") -> Protocol:
    """Return a protocol from (positive, ignored) pairs."""
    return Protocol(name, tuple(GroundTruth(rows(*p), rows(*i)) for p, i in truth),
                    tuple(metric_ids), empty)  # fmt: skip


def ranks_of(listed: Sequence[Sequence[int]], protocols: Sequence[Protocol]) -> LabelledRanks:
    """Return the ranks of the labelled rows in full rankings, one per query."""
    labelled = scores.labelled_rows(protocols)
    places = [
        [list(order).index(r) for r in ls] for order, ls in zip(listed, labelled, strict=True)
    ]
    flat = np.array([p for part in places for p in part], dtype=np.int64)
    return LabelledRanks(
        np.cumsum([0, *map(len, labelled)], dtype=np.int64),
        np.concatenate(labelled).astype(np.int64),
        flat,
        -flat.astype(np.float64),
        np.zeros_like(flat),
    )


# --- by hand ------------------------------------------------------------------------------------


def test_two_protocols_over_three_queries_by_hand() -> None:
    listed = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 1, 4, 3]]
    easy = protocol([([1], [0]), ([], [4]), ([0, 3], [])], (TRAPEZOID, "mp@5.clipped.junk-removed"),
                    name="easy")  # fmt: skip
    hard = protocol([([4], [0, 1]), ([3], []), ([2], [0])], name="hard")
    table = scores.score(ranks_of(listed, [easy, hard]), [easy, hard], 5)
    first = table["easy"][TRAPEZOID]
    third = (0 + 1 / 2 + 1 / 4 + 2 / 5) / 4
    assert first.per_query == pytest.approx([1.0, np.nan, third], nan_ok=True)
    assert first.mean == pytest.approx((1 + third) / 2)
    clipped = table["easy"]["mp@5.clipped.junk-removed"]
    assert clipped.per_query == pytest.approx([1.0, np.nan, 2 / 5], nan_ok=True)
    assert table["hard"][TRAPEZOID].per_query == pytest.approx(
        [(0 + 1 / 3) / 2, (0 + 1 / 2) / 2, 1.0]
    )
    assert scores.skipped(easy) == 1
    assert scores.skipped(hard) == 0


def test_labelled_rows_are_those_of_any_protocol() -> None:
    easy = protocol([([3, 1], [7]), ([], [])])
    hard = protocol([([7], [1]), ([], [2])])
    assert [r.tolist() for r in scores.labelled_rows([easy, hard])] == [[1, 3, 7], [2]]


def test_empty_queries_skipped_or_missed() -> None:
    truth = [([0], []), ([], [1]), ([1], [])]
    listed = [[0, 1], [0, 1], [0, 1]]
    for empty, expected in (("skip", 1 / 2), ("miss", 1 / 3)):
        item = protocol(truth, ["recall@1.any-hit.junk-removed"], empty)
        score = scores.score(ranks_of(listed, [item]), [item], 2)["p"][item.metrics[0]]
        assert score.mean == pytest.approx(expected)
        assert np.isnan(score.per_query[1])


def test_a_protocol_in_which_no_query_has_a_positive_has_no_score() -> None:
    item = protocol([([], [0]), ([], [])])
    score = scores.score(ranks_of([[0, 1], [1, 0]], [item]), [item], 2)["p"][TRAPEZOID]
    assert math.isnan(score.mean)
    assert score.interval is None


def test_ranks_that_lack_a_labelled_image_are_refused() -> None:
    asked = protocol([([0, 4], [])])
    had = protocol([([0], [])])
    with pytest.raises(BenchError, match="query 0 lack a labelled image"):
        scores.score(ranks_of([[0, 4]], [had]), [asked], 5)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whole_data_sets_agree_with_the_oracle(oracle: ModuleType, data) -> None:
    n, n_queries = data.draw(st.integers(1, 15)), data.draw(st.integers(1, 4))
    listed = [data.draw(st.permutations(range(n))) for _ in range(n_queries)]
    protocols = []
    for name in data.draw(st.sampled_from([["a"], ["a", "b"]])):
        truth = []
        for _ in range(n_queries):
            kinds = data.draw(st.lists(st.sampled_from("pin"), min_size=n, max_size=n))
            truth.append(tuple([r for r, k in enumerate(kinds) if k == wanted] for wanted in "pi"))
        empty = data.draw(st.sampled_from(["skip", "miss"]))
        protocols.append(protocol(truth, metrics.REVISITED_METRICS, empty, name))
    tables = scores.score(ranks_of(listed, protocols), protocols, n)
    for item in protocols:
        for name in item.metrics:
            values = [
                oracle.value(name, order, t.positive.tolist(), t.ignored.tolist())
                for order, t in zip(listed, item.truth, strict=True)
            ]
            got = tables[item.name][name]
            assert got.per_query == pytest.approx(values, abs=1e-12, nan_ok=True)
            assert got.mean == pytest.approx(
                oracle.mean(values, item.empty), abs=1e-12, nan_ok=True
            )


# --- golden vectors -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_golden_vectors_of_the_revisited_sets(
    name: str, shared: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(shared("data")))
    dataset = datasets.load(name)
    scores = known_answers.permutation_scores(dataset)
    for level, known in known_answers.PERMUTATION[name].items():
        got = [100 * scores[level][metric_id].mean for metric_id in known_answers.METRICS]
        assert got == pytest.approx(known, abs=5.1e-7), level
    assert known_answers.disagreements(dataset) == []


def test_the_golden_table_is_that_of_the_specification() -> None:
    assert known_answers.PERMUTATION["roxford5k"]["easy"] == (
        0.976373,
        1.470588,
        0.882353,
        0.882353,
    )
    assert known_answers.PERMUTATION["rparis6k"]["hard"] == (2.532261, 2.857143, 3.714286, 2.857143)


def test_the_formula_of_the_golden_vectors_is_a_ranking(oracle: ModuleType) -> None:
    labelled = [np.arange(31), np.arange(31)]
    ranks = known_answers.permutation_ranks(31, labelled)
    for query in range(2):
        listed = oracle.permutation(31, query)
        part = ranks.of_query(query)
        assert [listed[place] for place in ranks.rank[part]] == list(range(31))
    with pytest.raises(ValueError, match="divisor"):
        known_answers.permutation_ranks(2 * 7919, labelled)


def test_a_wrong_score_disagrees_with_the_golden_table(
    shared: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(shared("data")))
    table = {
        **known_answers.PERMUTATION["roxford5k"],
        "hard": (0.784436, 1.428571, 0.571429, 0.285714),
    }
    monkeypatch.setitem(known_answers.PERMUTATION, "roxford5k", table)
    (line,) = known_answers.disagreements(datasets.load("roxford5k"))
    assert line == "hard map.trapezoid.junk-removed: 0.784435, not 0.784436"


@pytest.mark.parametrize(
    ("name", "mean", "first", "last"),
    [("oxford5k", 1.110199, 1.323851, 4.976708), ("paris6k", 2.640757, 1.728197, 4.088454)],
)
def test_golden_vectors_of_the_original_sets(
    name: str, mean: float, first: float, last: float, oracle: ModuleType, shared: Finder
) -> None:
    """Positives are good and ok images; the query itself stays in the database."""
    content = oracle.ground_truth(shared(f"data/{name}/gnd_{name}.pkl"))
    item = protocol([(set(entry["ok"]), set(entry["junk"])) for entry in content["gnd"]])
    n_rows = len(content["imlist"])
    ranks = known_answers.permutation_ranks(n_rows, scores.labelled_rows([item]))
    score = scores.score(ranks, [item], n_rows)["p"][TRAPEZOID]
    got = [100 * score.mean, 100 * score.per_query[0], 100 * score.per_query[54]]
    assert got == pytest.approx([mean, first, last], abs=5.1e-7)
    listed = oracle.permutation(n_rows, 54)
    walked = oracle.ap_oxford(listed, content["gnd"][54]["ok"], content["gnd"][54]["junk"])
    assert score.per_query[54] == pytest.approx(walked, abs=1e-12)


# --- the official program -----------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_answer_of_the_official_program(
    index: int, oracle: ModuleType, shared: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors to scores: each AP, mAP and mP@k of revisitop_map.json to 1e-9."""
    entry = json.loads(shared("parity/revisitop_map.json").read_text(encoding="utf-8"))[index]
    name = entry["dataset"]
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(shared("data")))
    content = oracle.ground_truth(shared(f"data/{name}/gnd_{name}.pkl"))
    database, queries, added = oracle.parity_descriptors(content["gnd"], entry)
    dataset = datasets.load(name)
    parts = [from_array(part, "rows") for part in (database, added) if len(part)]
    labelled = scores.labelled_rows(dataset.protocols)
    found = exact.search(parts, queries.astype(np.float64), labelled, 100)
    tables = scores.score(found.ranks, dataset.protocols, len(dataset.database))
    for level, known in entry["levels"].items():
        table = tables[level]
        ap = [np.nan if v is None else v for v in known["ap"]]
        assert table[TRAPEZOID].per_query == pytest.approx(ap, abs=1e-9, nan_ok=True)
        assert table[TRAPEZOID].mean == pytest.approx(known["mAP"], abs=1e-9)
        for k, value in known["mP"].items():
            got = table[f"mp@{k}.clipped.junk-removed"].mean
            assert got == pytest.approx(value, abs=1e-9), (level, k)
    whole = np.concatenate([database, added]).astype(np.float64)
    for i in (0, 33, 69):
        order = np.argsort(-(whole @ queries[i].astype(np.float64)), kind="stable")
        part = found.ranks.of_query(i)
        assert np.array_equal(order[found.ranks.rank[part]], found.ranks.row[part])
        assert np.array_equal(order[:100], found.shortlist.row[i])


def test_the_official_program_leaves_out_the_queries_without_positives(shared: Finder) -> None:
    entry = json.loads(shared("parity/revisitop_map.json").read_text(encoding="utf-8"))[0]
    absent = [i for i, v in enumerate(entry["levels"]["easy"]["ap"]) if v is None or math.isnan(v)]
    assert absent == [11, 66]


# --- intervals ----------------------------------------------------------------------------------


def test_queries_that_share_a_positive_are_one_landmark() -> None:
    easy = protocol([([0, 1], []), ([1], []), ([2], []), ([], [0])])
    hard = protocol([([], []), ([], []), ([3], []), ([3], [])])
    groups = intervals.landmark_groups([easy, hard], 4)
    assert groups.dtype == np.int64
    assert groups[0] == groups[1]
    assert groups[2] == groups[3], "linked by the other protocol"
    assert groups[0] != groups[2]
    alone = intervals.landmark_groups([easy], 4)
    assert len(set(alone.tolist())) == 3, "an ignored image links nothing"


def test_no_interval_from_fewer_than_two_landmarks() -> None:
    values = np.array([0.1, 0.9, np.nan])
    assert intervals.bootstrap(values, np.array([4, 4, 7]), 0) is None
    assert intervals.bootstrap(np.array([np.nan]), np.array([0]), 0) is None
    assert intervals.bootstrap(np.array([]), np.array([], dtype=np.int64), 0) is None


def test_an_interval_of_equal_values_is_that_value() -> None:
    got = intervals.bootstrap(np.full(9, 0.25), np.arange(9), 0)
    assert got == pytest.approx((0.25, 0.25))


def test_an_interval_is_repeated_by_its_seed_and_holds_the_mean() -> None:
    values = np.random.default_rng(0).random(60)
    groups = np.arange(60)
    low, high = intervals.bootstrap(values, groups, 3)
    assert intervals.bootstrap(values, groups, 3) == (low, high)
    assert intervals.bootstrap(values, groups, 4) != (low, high)
    assert low < values.mean() < high
    spread = 1.96 * values.std() / math.sqrt(60)
    assert (low, high) == pytest.approx((values.mean() - spread, values.mean() + spread), abs=0.02)


def test_landmarks_with_many_queries_widen_the_interval() -> None:
    values = np.repeat([0.1, 0.9, 0.2, 0.8, 0.3], 12)
    narrow = intervals.bootstrap(values, np.arange(60), 0)
    wide = intervals.bootstrap(values, np.repeat(np.arange(5), 12), 0)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_the_interval_counts_misses_where_the_mean_does() -> None:
    truth = [([i], []) for i in range(4)] + [([], [])] * 4
    listed = [list(range(4))] * 8
    bounds = {}
    for empty in ("skip", "miss"):
        item = protocol(truth, ["recall@100.any-hit.junk-removed"], empty)
        bounds[empty] = scores.score(ranks_of(listed, [item]), [item], 4)["p"][item.metrics[0]]
    assert bounds["skip"].interval == (pytest.approx(0.025**0.25), 1.0)
    low, high = bounds["miss"].interval
    assert low < bounds["miss"].mean == 0.5 < high


def test_the_plug_in_modules_are_found_where_the_folders_are() -> None:
    assert importlib.import_module("bench.datasets.mini").__file__.endswith("datasets/mini.py")


def test_the_calls_of_scoring_do_not_grow_with_the_queries() -> None:
    """But for one of each metric and query: 27,592 queries of Nordland take a second, not ten."""
    calls = {}
    for n in (10, 1000):
        truth = tuple(GroundTruth(rows(i, i + 1), rows(i + 2)) for i in range(n))
        protocol = Protocol("all", truth, (TRAPEZOID,))
        labelled = scores.labelled_rows([protocol])
        flat = np.concatenate(labelled)
        ranks = LabelledRanks(np.arange(0, 3 * n + 1, 3), flat, flat[::-1].copy(), flat * 1.0, flat)
        calls[n] = 0

        def called(_frame: object, event: str, _arg: object, n: int = n) -> None:
            calls[n] += event in {"call", "c_call"}

        sys.setprofile(called)
        try:
            scores.labelled_rows([protocol])
            places = scores.positive_ranks(ranks, protocol)
        finally:
            sys.setprofile(None)
        assert len(places) == n
    assert calls[10] > 0
    assert calls[1000] <= calls[10] + 50, calls
