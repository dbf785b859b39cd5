"""The costs of stages, printed before any work: memory, operations, time; refused if too large."""

from __future__ import annotations

import time
from functools import lru_cache

import numpy as np

from bench.errors import BenchError
from bench.pipeline.chain import Chain
from bench.store.room import size
from bench.system import machine

WORTH_A_LINE = 1e11  # operations: seconds on any processor
MOST_HOURS = 10
SIDE = 768  # of the matrices whose product is timed


def lines(chain: Chain) -> list[str]:
    """Return a line for every stage that takes more than seconds, or more than 100 MB."""
    out = []
    for stage, cost in zip(chain.stages, chain.costs, strict=True):
        if cost.operations >= WORTH_A_LINE or cost.bytes >= 1e8:
            taken = f"{cost.operations:.2g} operations, {_time(hours(cost.operations))}"
            out.append(f"stage {stage.name}: up to {size(cost.bytes)} of memory, {taken}")
    return out


def check(chain: Chain, *, force: bool) -> None:
    """Refuse a stage that takes more memory than there is, or, without `force`, many hours."""
    free = machine.available_bytes()
    for stage, cost in zip(chain.stages, chain.costs, strict=True):
        if free is not None and cost.bytes > free:
            raise BenchError(
                f"--stage {stage.name} takes about {size(cost.bytes)} of memory, but "
                f"{size(free)} are free; choose another scope, fewer rows, or a machine with "
                "more memory."
            )
        if cost.operations >= WORTH_A_LINE and not force:
            needed = hours(cost.operations)
            if needed > MOST_HOURS:
                raise BenchError(
                    f"--stage {stage.name} takes {cost.operations:.2g} operations, "
                    f"{_time(needed)} on this machine; add --force to run it anyway."
                )


def hours(operations: float) -> float:
    """Return how long operations take at the rate of a product of matrices on this machine."""
    return operations / _rate() / 3600


@lru_cache(maxsize=1)
def _rate() -> float:
    """Return operations in a second of a product in float64, the better of two tries."""
    square = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - start)
    return 2.0 * SIDE**3 / min(seconds)


def _time(needed: float) -> str:
    if needed >= 1:
        return f"about {needed:.1f} h"
    return f"about {max(1, round(60 * needed))} min"
