"""A machine that does other work is recognised, and one that does not is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench.measure import busy, timing

STAT = """cpu  0 0 0 0 0 0 0 0 0 0
cpu0 {0} 0 0 {1} 0 0 0 {2} 0 0
cpu7 999999 0 0 0 0 0 0 0 0 0
intr 5
"""


class Machine:
    """A machine of one processor of ours, whose clocks a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stat = self.own = self.wall = 0.0
        self.at = [1000, 0, 0]
        self.threads = (0.0, 0.0)
        plain = Path.read_text

        def read_text(path: Path, *arguments: Any, **named: Any) -> str:
            if str(path) == "/proc/stat":
                return STAT.format(*self.at)
            return plain(path, *arguments, **named)

        monkeypatch.setattr(Path, "read_text", read_text)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 1)
        monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0, 0))
        monkeypatch.setattr(os, "sysconf", lambda name: 100)
        monkeypatch.setattr(busy.time, "process_time", lambda: self.own)
        monkeypatch.setattr(busy.time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(timing, "processor_time", lambda: self.threads)

    def spend(self, used: int, idle: int, stolen: int, own_s: float, wall_s: float = 1.0) -> None:
        """Let ticks of 10 ms pass: used by all programs, idle, stolen."""
        self.at = [a + b for a, b in zip(self.at, (used, idle, stolen), strict=True)]
        self.own, self.wall = self.own + own_s, self.wall + wall_s


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_shares_are_those_of_the_processors_that_may_be_used(machine: Machine) -> None:
    watch = busy.watch()
    machine.spend(80, 15, 5, own_s=0.5)  # a second: 80 used, of these 50 by us
    machine.threads = (3.0, 1.0)
    assert watch.seen() == {
        "load_average": 0.5, "waited_share": 0.25, "others_share": 0.3, "steal_share": 0.05,
    }  # fmt: skip


def test_a_quiet_machine_is_quiet_and_a_short_moment_says_nothing(machine: Machine) -> None:
    watch = busy.watch()
    machine.spend(100, 0, 0, own_s=1.0)  # all of it is ours
    seen = watch.seen()
    assert (seen["others_share"], seen["steal_share"]) == (0.0, 0.0)
    assert busy.signs(seen, {"p50": 10.0, "p50_interval": [8.0, 14.9]}) == []
    watch = busy.watch()
    machine.spend(20, 0, 0, own_s=0.0, wall_s=0.2)
    assert "others_share" not in watch.seen()


@pytest.mark.parametrize(
    ("seen", "timed", "sign"),
    [
        ({"waited_share": 0.051}, None, "waited"),
        ({"others_share": 0.101}, None, "others"),
        ({"steal_share": 0.021}, None, "steal"),
        ({"load_average": 2.0 * (os.cpu_count() or 1) + 0.1}, None, "load"),
        ({}, {"p50": 10.0, "p50_interval": [5.0, 15.1]}, "spread"),
    ],
)
def test_every_sign_has_a_bound(seen: dict[str, float], timed: Any, sign: str) -> None:
    assert busy.signs(seen, timed) == [sign]
    below = {key: value * 0.9 for key, value in seen.items()}
    less = timed and {"p50": 10.0, "p50_interval": [5.0, 14.9]}
    assert busy.signs(below, less) == []


def test_of_what_takes_microseconds_the_spread_is_that_of_the_clock() -> None:
    assert busy.signs({}, {"p50": 0.002, "p50_interval": [0.001, 0.004]}) == []
    assert busy.signs({}, {"p50": 0.02, "p50_interval": None}, None) == []


def test_where_the_system_says_nothing_nothing_is_judged(monkeypatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert busy.ticks() is None
    assert busy.load_average() is None
    seen = busy.watch().seen()
    assert set(seen) == {"waited_share"}
    assert busy.signs({}) == []
