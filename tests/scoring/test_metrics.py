"""Metrics: worked by hand, then against the oracle, then by what may not change them."""

from __future__ import annotations

import itertools
import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scoring import metrics
from bench.scoring.metrics import junk_removed, mean_over_queries, metric

TRAPEZOID = "map.trapezoid.junk-removed"
CUTS = (1, 2, 3, 5, 10, 100)
ALL = [
    name.replace("{k}", str(k))
    for name in metrics.families()
    for k in (CUTS if "{k}" in name else (0,))
]


def score(metric_id: str, listed, positive, ignored=()) -> float:
    """Score a ranking, which may be cut: places of what is in it, in the order of the rows."""
    place = {row: at for at, row in enumerate(listed)}
    found = [np.array([place[r] for r in rows if r in place], int) for rows in (positive, ignored)]
    return metric(metric_id).score(junk_removed(*found), len(positive))


# --- by hand ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ranks", "n", "expected"),
    [
        (TRAPEZOID, [0, 2], 2, 0.791667),  # the example of the specification
        ("map.finite-sum.junk-removed", [0, 2], 2, 0.833333),
        (TRAPEZOID, [0], 1, 1.0),
        (TRAPEZOID, [1], 1, 0.25),  # (0/1 + 1/2) / 2
        (TRAPEZOID, [1, 3], 2, (0 + 1 / 2 + 1 / 3 + 2 / 4) / 4),
        (TRAPEZOID, [0], 4, 0.25),  # three were not retrieved: they add nothing, and they count
        (TRAPEZOID, [], 3, 0.0),
        ("map.finite-sum.junk-removed", [1, 3], 2, (1 / 2 + 2 / 4) / 2),
        ("map@3.finite-sum.over-min-k-positives.junk-removed", [0, 2, 5], 10, (1 + 2 / 3) / 3),
        ("map@3.finite-sum.over-positives.junk-removed", [0, 2, 5], 10, (1 + 2 / 3) / 10),
        ("map@3.finite-sum.over-found.junk-removed", [0, 2, 5], 10, (1 + 2 / 3) / 2),
        ("map@3.finite-sum.over-min-k-positives.junk-removed", [3], 1, 0.0),
        ("map@3.finite-sum.over-found.junk-removed", [3], 1, 0.0),
        ("mp@10.clipped.junk-removed", [0, 1], 2, 1.0),
        ("mp@10.clipped.junk-removed", [0, 3], 2, 2 / 4),
        ("mp@10.clipped.junk-removed", [0, 30], 2, 1 / 10),
        ("mp@10.clipped.junk-removed", [0], 10, 0.1),  # one of ten retrieved: not 1.0
        ("mp@10.clipped.junk-removed", [], 2, 0.0),
        ("mp@1.clipped.junk-removed", [1], 1, 0.0),
        ("mp@5.clipped.junk-removed", [4], 1, 1 / 5),
        ("recall@1.any-hit.junk-removed", [0, 9], 2, 1.0),
        ("recall@5.any-hit.junk-removed", [5], 1, 0.0),
        ("recall@5.any-hit.junk-removed", [4, 7, 9], 30, 1.0),  # any hit, not the fraction found
        ("recall@5.any-hit.junk-removed", [], 3, 0.0),
    ],
)
def test_values_worked_by_hand(name: str, ranks, n: int, expected: float) -> None:
    assert metric(name).score(np.array(ranks, dtype=np.int64), n) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("name", ALL)
def test_a_query_without_positives_has_no_score(name: str) -> None:
    assert math.isnan(metric(name).score(np.array([], dtype=np.int64), 0))


@pytest.mark.parametrize(
    ("positive", "ignored", "expected"),
    [
        ([1, 4], [0, 2], [0, 2]),
        ([4, 1], [2, 0], [0, 2]),  # any order in, ascending out
        ([0, 1], [], [0, 1]),
        ([], [3], []),
        ([5], [6, 7], [5]),
        ([7], [0, 1, 2, 3, 4, 5, 6], [0]),
        ([0, 9], [4, 5], [0, 7]),
    ],
)
def test_junk_is_taken_out_before_places_are_counted(positive, ignored, expected) -> None:
    got = junk_removed(np.array(positive, np.int64), np.array(ignored, np.int64))
    assert got.tolist() == expected


def test_means_leave_empty_queries_out_or_count_them_as_misses() -> None:
    values = np.array([1.0, np.nan, 0.5])
    assert mean_over_queries(values, "skip") == 0.75
    assert mean_over_queries(values, "miss") == 0.5
    assert math.isnan(mean_over_queries(np.array([np.nan, np.nan]), "skip"))
    assert mean_over_queries(np.array([np.nan, np.nan]), "miss") == 0.0
    assert np.isnan(values[1]), "the values given are not changed"


# --- the table ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_every_row_of_the_table_says_what_it_is(name: str) -> None:
    row = metric(name)
    assert row.id == name
    assert row.unit == "%"
    assert row.label
    assert row.formula
    assert row.source


@pytest.mark.parametrize(
    "name",
    ["", "map", "mAP", "mp@0.clipped.junk-removed", "mp@01.clipped.junk-removed",
     "mp@-1.clipped.junk-removed", "mp@{k}.clipped.junk-removed", "recall@5", "mp@k.clipped",
     "map@5.trapezoid.junk-removed", "recall@1.any-hit.junk-removed ", "mp@5.clipped@5."],
)  # fmt: skip
def test_what_is_not_in_the_table_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        metric(name)


def test_the_metrics_of_the_revisited_protocol_are_in_the_table_headline_first() -> None:
    assert metrics.REVISITED_METRICS[0] == TRAPEZOID
    assert [metric(name).id for name in metrics.REVISITED_METRICS] == list(
        metrics.REVISITED_METRICS
    )


# --- the oracle ---------------------------------------------------------------------------------


def test_the_oracle_refuses_what_it_does_not_know(oracle: ModuleType) -> None:
    for name in ("recall@5.all-hits.junk-removed", "recall", "mp@10", "map.trapezoid", "ndcg@5"):
        with pytest.raises(KeyError):
            oracle.value(name, [0, 1], [0], [])


def test_every_ranking_of_six_images_scores_as_the_oracle_says(oracle: ModuleType) -> None:
    """All ways to label six places and all cuts: the places decide, so this is every ranking."""
    for labels in itertools.product("pin", repeat=6):
        positive = [i for i, kind in enumerate(labels) if kind == "p"]
        ignored = [i for i, kind in enumerate(labels) if kind == "i"]
        for length in (0, 1, 3, 6):
            listed = list(range(length))
            for name in (
                TRAPEZOID,
                "mp@3.clipped.junk-removed",
                "map@2.finite-sum.over-min-k-positives.junk-removed",
                "recall@2.any-hit.junk-removed",
            ):
                expected = oracle.value(name, listed, positive, ignored)
                got = score(name, listed, positive, ignored)
                assert got == pytest.approx(expected, abs=1e-12, nan_ok=True), (labels, length)


@st.composite
def cases(draw):
    """Draw a ranking, how much of it was kept, and labels: few or many, perhaps none at all."""
    listed = draw(st.permutations(range(draw(st.integers(1, 25)))))
    kinds = draw(
        st.lists(st.sampled_from("pnin"), min_size=len(listed), max_size=len(listed))
        | st.just(["i"] * len(listed))
        | st.just(["p"] * len(listed))
    )
    positive = [row for row, kind in enumerate(kinds) if kind == "p"]
    ignored = [row for row, kind in enumerate(kinds) if kind == "i"]
    return listed, draw(st.integers(0, len(listed))), positive, ignored


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(1, 30))
def test_all_metrics_agree_with_the_oracle(oracle: ModuleType, case, k: int) -> None:
    listed, kept, positive, ignored = case
    for name in metrics.families():
        name = name.replace("{k}", str(k))
        expected = oracle.value(name, listed[:kept], positive, ignored)
        got = score(name, listed[:kept], positive, ignored)
        assert got == pytest.approx(expected, abs=1e-12, nan_ok=True), name
        assert math.isnan(got) or 0 <= got <= 1


@settings(max_examples=150, deadline=None)
@given(cases())
def test_the_trapezoid_is_the_walk_of_the_oxford_program(oracle: ModuleType, case) -> None:
    listed, kept, positive, ignored = case
    expected = oracle.ap_oxford(listed[:kept], positive, ignored)
    assert score(TRAPEZOID, listed[:kept], positive, ignored) == pytest.approx(
        expected, abs=1e-12, nan_ok=True
    )


# --- what may not change a score ----------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(cases(), st.randoms(use_true_random=False), st.sampled_from(ALL))
def test_junk_moved_anywhere_changes_nothing(case, random, name: str) -> None:
    listed, _, positive, ignored = case
    moved = [row for row in listed if row not in ignored]
    for row in ignored:
        moved.insert(random.randint(0, len(moved)), row)
    before, after = (score(name, rows, positive, ignored) for rows in (listed, moved))
    assert before == after or (math.isnan(before) and math.isnan(after))


@settings(max_examples=100, deadline=None)
@given(cases(), st.randoms(use_true_random=False), st.sampled_from(ALL))
def test_what_follows_the_last_positive_changes_nothing(case, random, name: str) -> None:
    listed, _, positive, ignored = case
    last = max((listed.index(row) for row in positive), default=-1)
    tail = list(listed[last + 1 :])
    random.shuffle(tail)
    before = score(name, listed, positive, ignored)
    after = score(name, [*listed[: last + 1], *tail], positive, ignored)
    cut = score(name, listed[: last + 1], positive, ignored)
    if positive:
        assert before == after == cut
    else:
        assert math.isnan(before)
        assert math.isnan(after)
        assert math.isnan(cut)


@pytest.mark.parametrize("name", [n for n in ALL if ".over-positives" not in n])
@pytest.mark.parametrize("n_positive", [1, 2, 7, 150])
def test_a_perfect_ranking_scores_one_wherever_the_junk_is(name: str, n_positive: int) -> None:
    listed = [*range(1000, 1050), *range(n_positive), *range(2000, 2050)]
    got = score(name, listed, range(n_positive), [*range(1000, 1050), *range(2000, 2050)])
    assert got == pytest.approx(1.0, abs=1e-12)


def test_a_perfect_list_cut_at_k_is_over_all_positives_where_the_name_says_so() -> None:
    name = "map@5.finite-sum.over-positives.junk-removed"
    assert score(name, range(20), range(20)) == pytest.approx(5 / 20)


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 23), st.sampled_from(ALL))
def test_moving_a_positive_up_never_lowers_a_score(case, at: int, name: str) -> None:
    """The clipped precision is left out: its k' shrinks with the last positive."""
    listed, _, positive, ignored = case
    listed = [row for row in listed if row not in ignored]
    if name.startswith("mp@") or "over-found" in name or at + 1 >= len(listed):
        return
    if listed[at] in positive or listed[at + 1] not in positive:
        return
    better = [*listed[:at], listed[at + 1], listed[at], *listed[at + 2 :]]
    assert score(name, better, positive) >= score(name, listed, positive) - 1e-12
