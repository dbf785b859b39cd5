"""What is said of repeated timings: worked by hand, and tried on simulated machines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.measure import timing
from bench.measure.timing import Effort


class Machine:
    """A clock that moves when work is done."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now = seconds, 100.0
        self.done: list[str] = []

    def clock(self) -> float:
        return self.now

    def work(self, thing: str) -> str:
        self.now += self.seconds
        self.done.append(thing)
        return thing.upper()


@pytest.mark.parametrize(
    ("seconds", "rounds", "each"),
    [
        (0.001, 10, 50),  # fast: until the round is long enough, and all rounds
        (0.3, 10, 1),
        (1.0, 4, 1),  # 8 things in 4 s; a fifth round would end beyond 9 s
        (40.0, 3, 1),  # never fewer rounds, whatever it costs
    ],
)
def test_rounds_fit_the_budget_and_all_do_the_same(seconds: float, rounds: int, each: int) -> None:
    machine = Machine(seconds)
    effort = Effort(things=2, rounds=10, budget_s=9.0, round_s=0.1)
    taken = timing.in_rounds(effort, "ab", machine.work, machine.clock)
    assert len(taken) == rounds
    assert {len(done) for done in taken} <= {2 * each, 2 * each + 2}
    assert all(set(done) == {"A", "B"} for done in taken)
    assert "".join(machine.done) == "ab" * (len(machine.done) // 2)


def test_the_number_of_things_is_odd_and_small_where_they_are_slow() -> None:
    effort = Effort(things=27, rounds=20, budget_s=100.0, round_s=0.5)
    counts = [timing.affordable(s, effort) for s in (1e-6, 0.7, 0.8, 2.2, 2.3, 6.6, 6.7, 1e6)]
    assert counts == [27, 27, 9, 9, 3, 3, 1, 1]


def test_a_summary_worked_by_hand() -> None:
    text = timing.summarise([[1.0, 2.0, 6.0], [4.0, 3.0, 5.0], [2.5, 7.0, 1.5], []])
    assert text["n"] == 9
    assert text["rounds"] == 3
    assert text["p50"] == 3.0  # 1 1.5 2 2.5 [3] 4 5 6 7
    assert text["p95"] == pytest.approx(6.6)  # position 0.95 * 8 = 7.6 between 6 and 7
    logs = [math.log(m) for m in (2.0, 4.0, 2.5)]
    mean = sum(logs) / 3
    deviation = math.sqrt(sum((x - mean) ** 2 for x in logs) / 2)
    factor = math.exp(4.302653 * deviation * math.sqrt(4 / 3))  # t of 2 degrees of freedom
    low, high = text["p50_interval"]
    assert low == pytest.approx(3.0 / factor, abs=0.002)
    assert high == pytest.approx(3.0 * factor, abs=0.002)


def test_equal_rounds_have_no_spread_and_few_have_none_that_is_known() -> None:
    assert timing.summarise([[2.0]] * 4)["p50_interval"] == [2.0, 2.0]
    assert timing.summarise([[2.0]] * 2)["p50_interval"] is None
    assert timing.summarise([[2.0]])["rounds"] == 1
    low, high = timing.summarise([[0.0]] * 3)["p50_interval"]
    assert low == high == 0.0


def test_p50_as_printed_lies_in_its_interval_and_wild_times_stay_finite() -> None:
    draw = np.random.default_rng(3)
    for scale in (1e-4, 0.3, 40.0, 1e5):
        for _ in range(50):
            text = timing.summarise(scale * draw.lognormal(0, 0.01, (5, 3)))
            low, high = text["p50_interval"]
            assert low <= text["p50"] <= high
    low, high = timing.summarise([[1e-9], [1e9], [1.0], [1e5]])["p50_interval"]
    assert low >= 0
    assert math.isfinite(high)


@pytest.mark.parametrize("between", [0.0, 0.05, 0.3])
def test_a_repetition_moves_p50_by_less_than_the_spread(between: float) -> None:
    """On machines with noise of a run and noise that lasts a round; two measurements of each."""
    draw = np.random.default_rng(11)
    inside = 0
    trials = 400
    for _ in range(trials):
        first, second = (
            timing.summarise(
                10 * draw.lognormal(0, between, (5, 1)) * draw.lognormal(0, 0.05, (5, 9))
            )
            for _ in range(2)
        )
        low, high = first["p50_interval"]
        inside += low <= second["p50"] <= high
    assert inside >= 0.95 * trials


def test_times_taken_once_each_are_cut_into_blocks() -> None:
    assert timing.in_blocks([1, 2, 3, 4, 5, 6, 7], 3) == [[1.0, 2.0, 3.0], [4.0, 5.0], [6.0, 7.0]]
    assert timing.summarise(timing.in_blocks([1.0, 2.0]))["rounds"] == 2


def test_other_work_on_the_machine_widens_the_interval() -> None:
    rounds = [[10.0]] * 5
    assert timing.summarise(rounds)["p50_interval"] == [10.0, 10.0]
    assert timing.summarise(rounds, 0.5)["p50_interval"] == [5.0, 20.0]
    low, high = timing.summarise(rounds, 1.0)["p50_interval"]
    assert (low, high) == (0.1, 1000.0)


def test_the_share_of_waiting_is_that_of_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "processor_time", lambda: (13.0, 6.0))
    assert timing.waited_share((10.0, 5.0)) == 0.25
    assert timing.waited_share((13.0, 6.0)) == 0.0
    assert timing.waited_share((14.0, 7.0)) == 0.0  # threads have ended since
    monkeypatch.undo()
    ran, waited = timing.processor_time()
    assert ran >= 0
    assert 0 <= timing.waited_share((ran, waited)) <= 1
