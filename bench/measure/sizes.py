"""The time of a search at stated sizes, of drawn rows that are stored as those of the run are.

What a search takes grows with its rows, and the data set's own number of them is what it happens to
be: of 49 rows the time is that of the calls. So 10,000, 100,000 and 1,000,000 rows are searched
besides, of the same dimension, type or codes, with queries of the run. The rows are drawn; codes
are drawn bytes, which the run's own decoder decodes. What would take more memory or time than there
is, is not measured, and the entry has the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.measure import busy, timing
from bench.store.matrix import Matrix, from_array
from bench.system import memory
from bench.types import Measure

SIZES = (10_000, 100_000, 1_000_000)
BUDGET_S: dict[Measure, float] = {"sample": 20.0, "latency": 120.0}  # of one size
MEMORY_SHARE = 0.5  # of the free memory, that rows may take
BLOCK, FEW = 10_000, 64  # rows drawn at a time; of fewer dimensions every block is drawn again
SEED = 0

Ask = Callable[[NDArray[np.float64]], object]


def measure(
    like: Matrix,
    queries: Sequence[NDArray[np.float64]],
    how: Measure,
    build: Callable[[list[Matrix]], Ask],
) -> list[dict[str, Any]]:
    """Return an entry per size: rows, p50 and its spread, signs of other work, or the reason.

    like     rows as the run searches them
    queries  (1, dim) float64 each, at least one
    build    what searches the rows it gets for one query
    """
    out: list[dict[str, Any]] = []
    effort, expected_s, before = timing.EFFORTS[how], 0.0, 0
    for rows in SIZES:
        if out and "reason" in out[-1]:
            out.append({"rows": rows, "ms_per_query": None, "reason": out[-1]["reason"]})
            continue
        expected_s *= rows / before if before else 0
        free = memory.free_bytes("cpu")
        reason = ""
        if free is not None and rows * like.row_bytes() > MEMORY_SHARE * free:
            reason = "memory"
        elif expected_s > BUDGET_S[how]:
            reason = "time"
        start = time.perf_counter()
        try:
            if not reason:
                out.append({"rows": rows, **_timed(drawn(like, rows), queries, effort, build)})
        except BenchError as error:
            reason = str(error)
        if reason:
            out.append({"rows": rows, "ms_per_query": None, "reason": reason})
        expected_s, before = time.perf_counter() - start, rows
    return out


def _timed(
    part: Matrix,
    queries: Sequence[NDArray[np.float64]],
    effort: timing.Effort,
    build: Callable[[list[Matrix]], Ask],
) -> dict[str, Any]:
    ask = build([part])
    start = time.perf_counter()
    ask(queries[0])  # warm-up
    count = min(timing.affordable(time.perf_counter() - start, effort), len(queries))
    watch = busy.watch()

    def once(query: NDArray[np.float64]) -> float:
        start = time.perf_counter()
        ask(query)
        return 1e3 * (time.perf_counter() - start)

    by_round = timing.in_rounds(effort, queries[:count], once)
    seen = watch.seen()
    times = timing.summarise(by_round, seen["waited_share"])
    return {"ms_per_query": times, "busy": busy.signs(seen, times)}


def drawn(like: Matrix, rows: int) -> Matrix:
    """Return `rows` drawn rows of the dimension, type and codes of `like`."""
    draw = np.random.default_rng(SEED)
    if like.decode is not None:
        stored = like.stored()
        codes = np.frombuffer(draw.bytes(rows * like.row_bytes()), dtype=stored.dtype)
        array = codes.reshape(rows, *stored.shape[1:])
        return Matrix("drawn rows", (rows, like.shape[1]), array=array, decode=like.decode)
    out = np.empty((rows, like.shape[1]), dtype=like.dtype())
    low = 0
    for block in _blocks(draw, like.shape[1]):
        high = min(low + BLOCK, rows)
        out[low:high] = block[: high - low]
        low = high
        if low == rows:
            break
    return from_array(out, "drawn rows")


def _blocks(draw: np.random.Generator, dim: int) -> Iterator[NDArray[np.float32]]:
    """Yield blocks of unit rows (BLOCK, dim), no two rows alike.

    Normal numbers take longer to draw than a search takes, so later blocks are the first one with
    its columns turned on and their signs drawn.
    """
    while True:
        first = draw.standard_normal((BLOCK, dim), dtype=np.float32)
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        yield first
        if dim >= FEW:
            yield from _turned(draw, first)


def _turned(draw: np.random.Generator, first: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for shift in range(1, first.shape[1]):
        signs = draw.choice(np.array([-1, 1], dtype=np.float32), first.shape[1])
        yield np.roll(first, shift, axis=1) * signs
