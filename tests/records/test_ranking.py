"""Mean ranks over data sets: by hand, letters, and an interval that knows what is not known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.records import ranking


def test_ranks_by_hand() -> None:
    scores = np.array([[0.9, 0.5], [0.8, 0.5], [0.7, 0.9]])
    assert ranking.ranks(scores).tolist() == [[1.0, 2.5], [2.0, 2.5], [3.0, 1.0]]
    mean = ranking.mean_ranks(scores, [None, None])
    assert [item.mean for item in mean] == [1.75, 2.25, 2.0]
    assert {item.interval for item in mean} == {None}


def test_draws_are_paired_and_of_landmarks() -> None:
    groups = np.repeat(np.arange(8), 3)
    values = np.random.default_rng(0).random(24)
    item = ranking.draws(values, groups)
    other = ranking.draws(values + 0.25, groups)
    assert item is not None
    assert other is not None
    assert other - item == pytest.approx(0.25)
    assert item.mean() == pytest.approx(values.mean(), abs=0.02)
    means = values.reshape(8, 3).mean(axis=1)
    assert item.std() == pytest.approx(means.std() / np.sqrt(8), rel=0.15)
    assert ranking.draws(values, np.zeros(24, dtype=np.int64)) is None


def test_a_method_that_is_always_better_is_told_apart_and_an_equal_one_is_not() -> None:
    groups = np.arange(40)
    draw = np.random.default_rng(3)
    base = [draw.random(40) for _ in range(4)]
    drawn, scores = [], []
    for values in base:
        of = [values + 0.5, values + 0.3 * draw.normal(size=40) / 9, values]
        scores.append([item.mean() for item in of])
        drawn.append(np.array([ranking.draws(item, groups) for item in of]))
    made = ranking.mean_ranks(np.array(scores).T, drawn)
    assert made[0].mean == 1.0
    assert made[0].letters == "a"
    assert made[1].letters == made[2].letters == "b"
    assert made[0].interval == (1.0, 1.0)
    low, high = made[1].interval or (0, 0)
    assert 2 <= low < high <= 3


@pytest.mark.parametrize("seed", range(30))
def test_two_share_a_letter_unless_they_are_told_apart(seed: int) -> None:
    draw = np.random.default_rng(seed)
    n = int(draw.integers(2, 9))
    pairs = list(itertools.combinations(range(n), 2))
    told = {pair for pair in pairs if draw.random() < 0.4}
    of = ranking.letters(draw.permutation(n).tolist(), told)
    for pair in pairs:
        assert bool({*of[pair[0]]} & {*of[pair[1]]}) == (pair not in told), (pair, of)
    assert all(of.values())
