"""Whether a machine did other work while something was timed: then the figure is not usable.

Five signs, each with a bound. They are looked at between two moments of the measurement:

waited  share of the time of this process's threads in which they were ready and waited for a
        processor (Linux, schedstat)
others  share of the processors that this process may use, that other programs used (Linux,
        /proc/stat)
steal   share of them that a hypervisor gave to other machines (likewise)
load    processes that ran or wanted to, mean of the minute before, per processor; this one is among
        them
spread  how many times p50 the upper end of its interval is
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import timing

MOST = {"waited": 0.05, "others": 0.10, "steal": 0.02, "load": 2.0, "spread": 1.5}
LEAST_S = 0.5  # of less wall time the system's counters, in steps of 10 ms, say nothing


@dataclass(frozen=True)
class Ticks:
    """Time of the processors that this process may use, in ticks: in all, idle, and stolen."""

    total: int
    idle: int
    stolen: int


def ticks() -> Ticks | None:
    """Return the ticks since the machine was started; None where the system does not say."""
    total = idle = stolen = 0
    try:
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            name, *words = line.split()
            if name in mine:
                spent = [int(word) for word in words[:8]]  # what guests used is in the first two
                total, idle, stolen = total + sum(spent), idle + sum(spent[3:5]), stolen + spent[7]
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return Ticks(total, idle, stolen) if total else None


def load_average() -> float | None:
    """Return the mean of the last minute; None where the system has none."""
    with contextlib.suppress(OSError, AttributeError):
        return round(os.getloadavg()[0], 2)
    return None


@dataclass(frozen=True)
class Watch:
    """The moment at which a measurement began."""

    load: float | None
    threads: tuple[float, float]
    machine: Ticks | None
    own_s: float
    wall_s: float

    def seen(self) -> dict[str, Any]:
        """Return what a record keeps of the machine since then: the signs that could be read."""
        out: dict[str, Any] = {"waited_share": timing.waited_share(self.threads)}
        if self.load is not None:
            out = {"load_average": self.load, **out}
        now = ticks()
        if now is None or self.machine is None or time.perf_counter() - self.wall_s < LEAST_S:
            return out
        total = now.total - self.machine.total
        if total <= 0:
            return out
        stolen = now.stolen - self.machine.stolen
        used = total - (now.idle - self.machine.idle) - stolen
        own = (time.process_time() - self.own_s) * os.sysconf("SC_CLK_TCK")
        out["others_share"] = _share((used - own) / total)
        out["steal_share"] = _share(stolen / total)
        return out


def watch() -> Watch:
    """Return this moment."""
    return Watch(
        load_average(), timing.processor_time(), ticks(), time.process_time(), time.perf_counter()
    )


def signs(seen: Mapping[str, Any], *timed: Mapping[str, Any] | None) -> list[str]:
    """Return the signs of other work, in the order of `MOST`; empty: the figures are usable.

    `seen` is what `Watch.seen` gave, `timed` are p50s with their intervals
    (`bench.measure.timing.summarise`).
    """
    load = seen.get("load_average")
    values = {
        "waited": seen.get("waited_share"),
        "others": seen.get("others_share"),
        "steal": seen.get("steal_share"),
        "load": None if load is None else load / (os.cpu_count() or 1),
        "spread": max(map(_spread, timed), default=None),
    }
    return [name for name, value in values.items() if value is not None and value > MOST[name]]


def _spread(timed: Mapping[str, Any] | None) -> float:
    """Return how many times p50 the upper end of its interval is; 1 without an interval."""
    interval = (timed or {}).get("p50_interval")
    if interval is None or timed is None:
        return 1.0
    # Not below the resolution: of what takes microseconds the interval is steps of the clock.
    return float(interval[1]) / max(float(timed["p50"]), 10 * timing.RESOLUTION_MS)


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)
