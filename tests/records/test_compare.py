"""compare: what is paired, what is refused, how often the test is wrong, what it says."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.commands.compare import sentence
from bench.errors import BenchError
from bench.records import compare, record
from bench.scoring import intervals
from bench.scoring.intervals import LANDMARKS, Blocks
from tests.support.checkout import ROOT

RUNS = ROOT / "results" / "runs" / "mini"
WRITTEN = ("schema", "card_sha256", "card_id", "ranks", "sha256")


def entry(name: str, values: list[float | None], **changes: Any) -> compare.Entry:
    """Return a result of one protocol whose queries are a landmark each."""
    card = {
        "dataset": {"name": "d", "variant": "v", "revision": "r", "queries": len(values)},
        "metrics": ["map.trapezoid.junk-removed"],
        "protocols": {"p": {"truth_sha256": "t", "empty": "skip"}},
        "crop_rule": "box",
        "preprocess": {"max_side_px": 480},
        **changes,
    }
    content = {
        "card": card, "card_id": "0" * 64, "sha256": name, "run_id": name, "partial": False,
        "scores": {"p": {"map.trapezoid.junk-removed": {"per_query": values}}},
    }  # fmt: skip
    return compare.Entry(
        Path(f"{name}.json"), name, content, Blocks(LANDMARKS, np.arange(len(values)))
    )


# --- the test -----------------------------------------------------------------------------------


def test_all_flips_by_hand() -> None:
    # |±1 ±2 ±3| is 6 for two of the eight flips, and 1 + 2 + 3 = 6 is what was found.
    test = compare.permutation(np.array([1.0, 2.0, 3.0]), np.arange(3))
    assert (test.p, test.flips, test.blocks, test.exact) == (2 / 8, 8, 3, True)
    test = compare.permutation(np.array([1.0, -2.0, 3.0]), np.arange(3))  # found: 2
    reached = [abs(a - 2 * b + 3 * c) >= 2 for a, b, c in itertools.product((1, -1), repeat=3)]
    assert test.p == sum(reached) / 8


def test_a_landmark_is_flipped_as_a_whole_and_what_is_equal_not_at_all() -> None:
    values = np.array([0.2, 0.1, 0.0, 0.0, np.nan, 0.4])
    test = compare.permutation(values, np.array([0, 0, 1, 1, 2, 3]))
    assert (test.blocks, test.flips, test.p) == (2, 4, 0.5)


def test_nothing_to_flip_is_p_one() -> None:
    test = compare.permutation(np.zeros(4), np.arange(4))
    assert (test.p, test.blocks) == (1.0, 0)
    assert compare.permutation(np.array([]), np.array([], dtype=np.int64)).p == 1.0


def test_drawn_flips_agree_with_all_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(0.3, 1, 15)
    exact = compare.permutation(values, np.arange(15))
    monkeypatch.setattr(compare, "EXACT", 3)
    drawn = compare.permutation(values, np.arange(15))
    assert drawn.p == pytest.approx(exact.p, abs=0.015)
    assert not drawn.exact
    assert compare.permutation(values, np.arange(15)) == drawn, "the seed decides"
    assert compare.permutation(np.full(400, 0.5), np.arange(400)).p == 1 / (1 + compare.FLIPS)


def level(landmarks: int, queries: int, by_landmark: bool, times: int = 600) -> float:
    """Return how often p < 0.05 although two methods are exchangeable within every landmark."""
    rng, wrong = np.random.default_rng(11), 0
    landmark = np.repeat(np.arange(landmarks), queries)
    groups = landmark if by_landmark else np.arange(len(landmark))
    for _ in range(times):
        better = rng.gamma(0.5, 0.2, landmarks) * rng.choice([-1, 1], landmarks)
        difference = better[landmark] + rng.normal(0, 0.05, len(landmark))
        wrong += compare.permutation(difference, groups).p < compare.SIGNIFICANT
    return wrong / times


@pytest.mark.parametrize("landmarks", [7, 11])
def test_the_test_holds_its_level(landmarks: int) -> None:
    assert level(landmarks, 6, by_landmark=True) <= 0.05 + 0.02


def test_the_drawn_test_holds_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "FLIPS", 499)
    assert 0.02 <= level(70, 1, by_landmark=True, times=500) <= 0.075


def test_flipping_single_queries_would_not_hold_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "FLIPS", 499)
    assert level(11, 6, by_landmark=False, times=150) > 0.2


def test_it_finds_a_real_difference() -> None:
    rng, found = np.random.default_rng(2), 0
    for _ in range(100):
        found += compare.permutation(rng.normal(0.1, 0.1, 11), np.arange(11)).p < 0.05
    assert found > 75


def test_holm_by_hand() -> None:
    assert compare.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert compare.holm([0.5, 0.9]) == [1.0, 1.0]
    assert compare.holm([0.2]) == [0.2]


# --- pairs --------------------------------------------------------------------------------------


def test_won_lost_tied_and_signs() -> None:
    a = entry("a", [0.5, 0.5, 0.5, None, 0.2])
    b = entry("b", [0.6, 0.4, 0.5, None, 0.9])
    (pair,) = compare.compare([a, b])
    assert (pair["won"], pair["lost"], pair["tied"], pair["queries"]) == (2, 1, 1, 4)
    assert pair["difference"] == pytest.approx(0.7 / 4)
    assert pair["mean_b"] - pair["mean_a"] == pytest.approx(pair["difference"])
    low, high = pair["interval"]
    assert low < pair["difference"] < high
    (other,) = compare.compare([b, a])
    assert (other["won"], other["difference"]) == (1, pytest.approx(-0.7 / 4))
    assert other["p"] == pair["p"]


def test_misses_count_where_the_protocol_counts_them() -> None:
    miss = {"p": {"truth_sha256": "t", "empty": "miss"}}
    a = entry("a", [1.0, None], protocols=miss)
    (pair,) = compare.compare([a, entry("b", [0.5, None], protocols=miss)])
    assert (pair["queries"], pair["tied"], pair["mean_a"]) == (2, 1, 0.5)


def test_three_results_are_three_pairs_with_holm() -> None:
    rng = np.random.default_rng(0)
    entries = [entry(n, (rng.random(12) * s).tolist()) for n, s in (("a", 1), ("b", 0.2), ("c", 1))]
    pairs = compare.compare(entries)
    assert [(p["a"], p["b"]) for p in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [p["p_holm"] for p in pairs] == compare.holm([p["p"] for p in pairs])
    assert "after Holm's correction for 3 comparisons" in sentence(pairs[0])


# --- refusals -----------------------------------------------------------------------------------

OTHER_DATA = {"name": "d", "variant": "v", "revision": "other", "queries": 2}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dataset": OTHER_DATA}, "revision of the lists"),
        ({"dataset": OTHER_DATA | {"name": "e", "revision": "r"}}, r"differ in dataset \(d / e\)"),
        ({"crop_rule": "whole"}, "cropped to its box / whole image"),
        ({"candidates_rule": "official"}, "re-ranking: not on the card / official"),
        ({"limit": 9}, "limit on the database images: not on the card / 9"),
    ],
)
def test_what_may_not_be_compared_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BenchError, match=says):
        compare.check([entry("a", [1, 0]), entry("b", [1, 0], **changes)], across_cards=False)


def test_other_rules_are_said_where_asked_for() -> None:
    entries = [entry("a", [1, 0]), entry("b", [1, 0], crop_rule="whole")]
    assert compare.check(entries, across_cards=True) == ["query: cropped to its box / whole image"]
    with pytest.raises(BenchError, match="queries cannot be paired"):
        compare.check([entries[0], entry("c", [1, 0], dataset=OTHER_DATA)], across_cards=True)


def test_the_methods_own_treatment_is_said_and_allowed() -> None:
    entries = [entry("a", [1, 0]), entry("b", [1, 0], preprocess={"max_side_px": 1024})]
    assert compare.check(entries, False) == ["size cap, longest side: 480 px / 1,024 px"]


def test_a_difference_of_the_system_is_said_and_allowed() -> None:
    entries = [entry("a", [1, 0]), entry("b", [1, 0], search="approximate")]
    assert compare.check(entries, False) == ["search: not on the card / approximate"]


def test_ground_truth_and_metrics_must_be_shared() -> None:
    a = entry("a", [1, 0])
    other = entry("b", [1, 0], protocols={"p": {"truth_sha256": "u", "empty": "skip"}})
    with pytest.raises(BenchError, match="no protocol with the same ground truth"):
        compare.compare([a, other])
    with pytest.raises(BenchError, match="no protocol of all these results is called 'q'"):
        compare.compare([a, a], protocol="q")
    with pytest.raises(BenchError, match="metric of all these results"):
        compare.compare([a, a], metric="R@1")
    bare = entry("d", [1, 0])
    bare.record["scores"]["p"].clear()
    with pytest.raises(BenchError, match="metric of all these results"):
        compare.compare([a, bare])
    with pytest.raises(BenchError, match="different headline metrics"):
        compare.compare([a, entry("c", [1, 0], metrics=["recall@1.any-hit.junk-removed"])])


# --- sentences ----------------------------------------------------------------------------------


def test_the_sentence_has_everything_and_claims_no_equality() -> None:
    a = entry("a", [0.5] * 10)
    b = entry("b", [0.9] * 8 + [0.4, 0.3])
    (pair,) = compare.compare([a, b])
    text = sentence(pair)
    for part in ("On d (p), b reaches 79.00 mAP and a 50.00", "difference of +29.00 points",
                 "95 % interval", "better on 8, worse on 2 and equal on 0 of 10 queries",
                 "10 of 10 landmarks", "1,024 sign flips, all", "p = 0.0078: signi"):  # fmt: skip
        assert part in text, part
    (none,) = compare.compare([a, entry("c", [0.5] * 10)])
    assert none["interval"] is None
    assert "no test is possible" in sentence(none)
    (noise,) = compare.compare([a, entry("d", [0.6, 0.4] * 5)])
    assert "does not show that they are equal" in sentence(noise)
    (few,) = compare.compare([entry("a", [0.1] * 4), entry("b", [0.9] * 4)])
    assert "smallest possible p is 0.12" in sentence(few)
    (empty,) = compare.compare([entry("a", [None, None]), entry("b", [None, None])])
    assert "nothing can be compared" in sentence(empty)


# --- the command --------------------------------------------------------------------------------


BY_NAME = ("compare", "gem.lite0", "delg.lite0", "--dataset", "mini")


def test_methods_by_name_and_json(cli: Callable[..., Any]) -> None:
    result = cli(*BY_NAME, "--json")
    assert result.status == 0, result.err
    content = json.loads(result.out)
    assert [pair["protocol"] for pair in content["comparisons"]] == ["easy", "medium", "hard"]
    assert content["cards_differ"] == [], "of several records those on a card that both have"
    text = cli(*BY_NAME, "--protocol", "hard")
    pair = content["comparisons"][2]
    assert f"won {pair['won']}, lost {pair['lost']}, tied {pair['tied']}" in text.out


def test_a_bare_name_is_the_first_variant_and_untrained_ones_are_marked(
    cli: Callable[..., Any],
) -> None:
    content = json.loads(cli("compare", "gem", "delg", "--dataset", "mini", "--json").out)
    assert {(pair["a"], pair["b"]) for pair in content["comparisons"]} == {
        ("gem.lite0", "delg.lite1")
    }
    result = cli("compare", "gem.untrained", "delg", "--dataset", "mini", "--protocol", "medium")
    assert "gem.untrained (untrained)" in result.out


def test_many_results_are_a_matrix_with_letters(cli: Callable[..., Any]) -> None:
    names = ("gem", "delg", "dolg", "token", "gem.untrained")
    result = cli("compare", *names, "--dataset", "mini", "--protocol", "medium")
    assert result.status == 0, result.err
    rows = result.out.split("group")[1].splitlines()[1:6]
    assert [row.split()[0] for row in rows] == [
        "delg.lite1", "token.lite1", "dolg.lite1", "gem.lite0", "gem.untrained",
    ]  # fmt: skip
    assert rows[0].split()[2] == "a"
    assert "b" in rows[4].split("19.61")[1]
    assert "-71.36*" in rows[4], "delg against a network with random weights"
    assert "On mini" not in result.out
    words = cli("compare", *names, "--dataset", "mini", "--protocol", "medium", "--words")
    assert words.out.count("On mini (medium)") == 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gem.lite0", "delg"], "give --dataset NAME as well"),
        (["gem.lite0", "delg.lite", "--dataset", "mini"], "did you mean delg.lite"),
        (["gem.lite0", "--dataset", "mini"], "at least two records"),
        (["gem.lite0", "gem.lite0", "--dataset", "mini"], "cannot be compared with itself"),
        (["no.json", "gem.lite0", "--dataset", "mini"], "the record no.json does not exist"),
    ],
)
def test_wrong_calls_are_one_sentence(
    arguments: list[str], says: str, cli: Callable[..., Any]
) -> None:
    result = cli("compare", *arguments)
    assert result.status == 1
    assert len(result.errors) == 1
    assert says in result.errors[0]


def test_names_choose_the_newest_whole_record(tmp_path: Path) -> None:
    source = min((RUNS / "delg.lite0").glob("*.json"))
    content = record.read(source)
    arrays = record.read_arrays(source, content)
    for day, variant, crop, cap, partial in [
        (1, "a", "box", 480, False),
        (3, "a", "box", 480, False),
        (4, "a", "whole", 480, False),
        (5, "a", "box", 480, True),
        (6, "a", "box", 640, False),
        (7, "a", "whole", 640, False),
        (2, "b", "box", 480, False),
        (8, "c", "box", 320, False),
    ]:
        new = {k: v for k, v in content.items() if k not in WRITTEN}
        new = copy.deepcopy(new) | {"created": f"2026-01-0{day}T00:00:00Z", "partial": partial}
        new["run_id"] = f"2026010{day}T000000Z-00000{day}"
        new["card"]["crop_rule"], new["method"]["variant"] = crop, variant
        new["card"]["preprocess"]["max_side_px"] = cap
        record.write(tmp_path, new, arrays)

    def days(*value: str) -> list[str]:
        return [p.name.split("-")[1][7] for p in compare.find(value, "mini", tmp_path)]

    assert days("delg.a") == ["7"], "the newest"
    assert days("delg.a", "delg.b") == ["3", "2"], "the newest on a card that both have"
    assert days("delg.a", "delg.c") == ["6", "8"], "the newest under rules that both have"
    with pytest.raises(BenchError, match=r"name one of delg\.a, delg\.b, delg\.c"):
        days("delg")
    assert compare.find(["x.json"], None, tmp_path) == [Path("x.json")]
    for variant, name in (("a", "old"), ("z", "older")):
        (tmp_path / "runs" / "mini" / f"delg.{variant}").mkdir(exist_ok=True)
        broken = tmp_path / "runs" / "mini" / f"delg.{variant}" / f"{name}.json"
        broken.write_text('{"schema": 0}')
    assert days("delg.a", "delg.b") == ["3", "2"], "what cannot be read is in nobody's way"
    with pytest.raises(BenchError, match=r"older\.json has record schema 0"):
        days("delg.z")


def test_the_landmarks_of_a_record_are_those_of_its_data_set() -> None:
    paths = [min((RUNS / name).glob("*.json")) for name in ("delg.lite0", "gem.lite0")]
    first, other = compare.load(paths)
    assert np.array_equal(first.blocks.of_query, other.blocks.of_query)
    stored = record.read_arrays(first.path, dict(first.record))
    protocols = record.protocols_of(stored, first.card)
    groups = intervals.landmark_groups(protocols, first.card["dataset"]["database"])
    assert first.blocks.count == len(np.unique(groups)) == 10
    assert first.blocks.rule == LANDMARKS
