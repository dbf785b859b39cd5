"""Statistics of repeated timings: p50, p95, and how far p50 moves when it is measured again.

Times are taken in rounds, one after the other, and every round times the same things. So what
differs between the p50s of the rounds is the machine, and its spread can be stated.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.types import Measure

Thing = TypeVar("Thing")
Result = TypeVar("Result")

LEAST_ROUNDS = 3
USUAL_ROUNDS = 5  # for so many the number of things in a round is chosen
RESOLUTION_MS = 1e-3


@dataclass(frozen=True)
class Effort:
    """How much is measured: at most so many things (images, queries) in so many rounds.

    `budget_s` is about what all rounds of one measurement may take. A round lasts at least
    `round_s`, so that the rounds of something fast are spread over time.
    """

    things: int
    rounds: int
    budget_s: float
    round_s: float


# The number of timed items is odd: the median is then the time of the image of median size.
EFFORTS: dict[Measure, Effort] = {
    "sample": Effort(things=9, rounds=10, budget_s=8.0, round_s=0.1),
    "latency": Effort(things=27, rounds=20, budget_s=120.0, round_s=0.5),
}


def affordable(run_s: float, effort: Effort) -> int:
    """Return how many things a round may have where one takes `run_s`: an odd number.

    It goes in steps of three times as many, so that on a machine that is a little slower today the
    same things are timed.

    >>> [affordable(seconds, EFFORTS["sample"]) for seconds in (0.01, 0.5, 5.0)]
    [9, 3, 1]
    """
    count = 1
    while 3 * count <= effort.things and 3 * count * run_s * USUAL_ROUNDS <= effort.budget_s:
        count *= 3
    return count


def in_rounds(
    effort: Effort,
    things: Sequence[Thing],
    work: Callable[[Thing], Result],
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[Result]]:
    """Return per round what `work` gives for every thing, over and over until the round is over.

    There are at least `LEAST_ROUNDS`; after these none is begun that would end beyond the budget
    if it took as long as the mean of those before.
    """
    taken: list[list[Result]] = []
    begun = clock()
    while len(taken) < effort.rounds:
        start, number = clock(), len(taken)
        if number >= LEAST_ROUNDS and (start - begun) * (number + 1) / number > effort.budget_s:
            break
        taken.append([])
        while not taken[-1] or clock() - start < effort.round_s:
            taken[-1] += [work(thing) for thing in things]
    return taken


def processor_time() -> tuple[float, float]:
    """Return the seconds that the threads of this process ran, and were ready and had to wait.

    Both are 0 where the system does not say (Linux does, in schedstat).
    """
    ran = waited = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError):  # a thread that has ended since
            spent = [int(word) for word in file.read_text(encoding="ascii").split()]
            ran, waited = ran + spent[0], waited + spent[1]
    return ran / 1e9, waited / 1e9


def waited_share(before: tuple[float, float]) -> float:
    """Return the share of their time since `before` that threads had to wait for a processor.

    0 on a machine that does nothing else, 0.5 where as much other work wants to run.
    """
    ran, waited = (max(0.0, now - then) for now, then in zip(processor_time(), before, strict=True))
    return round(waited / (ran + waited), 4) if waited else 0.0


def summarise(by_round: Sequence[Sequence[float]], waited: float = 0.0) -> dict[str, Any]:
    """Return p50, p95, `p50_interval`, n and the number of rounds of times in milliseconds.

    In: at least one time; rounds without any are not counted. p50 and p95 are those of all times,
    by linear interpolation, rounded to microseconds. The interval is the 95 % prediction interval
    for the p50 of one more round: p50 times exp(±t s sqrt(1 + 1/R)), with s the standard deviation
    of the logarithms of the R rounds' p50s and t of Student's distribution with R - 1 degrees of
    freedom; None with fewer than 3 rounds. A repetition has many rounds, so its p50 moves less.
    Other work on the machine may end or double before it: where threads waited for a processor
    for the share `waited` of their time, both ends are farther away by the factor 1 / (1 - waited).

    >>> summarise([[1.0], [2.0], [4.0]])["p50"], summarise([[1.0, 2.0]])["p50_interval"]
    (2.0, None)
    """
    filled = [np.asarray(values, dtype=np.float64) for values in by_round if len(values)]
    p50, p95 = np.percentile(np.concatenate(filled), [50, 95])
    medians = [max(float(np.median(values)), RESOLUTION_MS) for values in filled]
    return {
        "p50": round(float(p50), 3),
        "p95": round(float(p95), 3),
        "p50_interval": _interval(float(p50), medians, waited),
        "n": sum(map(len, filled)),
        "rounds": len(filled),
    }


def _interval(p50: float, medians: Sequence[float], waited: float) -> list[float] | None:
    from scipy.special import stdtrit

    count = len(medians)
    if count < LEAST_ROUNDS:
        return None
    deviation = float(np.std(np.log(medians), ddof=1))
    reach = float(stdtrit(count - 1, 0.975)) * deviation * math.sqrt(1 + 1 / count)
    factor = math.exp(min(reach, 50.0)) / max(1 - waited, 0.01)
    low, high = p50 / factor, p50 * factor
    step = RESOLUTION_MS  # outwards to the next microsecond, so that p50 as printed is inside
    return [round(math.floor(low / step) * step, 3), round(math.ceil(high / step) * step, 3)]


def in_blocks(values: Sequence[float], blocks: int = 5) -> list[list[float]]:
    """Cut times taken once each into consecutive blocks, to be summarised as rounds."""
    return [list(map(float, block)) for block in np.array_split(np.asarray(values), blocks)]
