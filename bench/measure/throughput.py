"""Throughput: images per second at batches of 1, 2, 4, …, and the batch that is best."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.describe import engine
from bench.errors import BenchError
from bench.measure.timing import Effort
from bench.system import memory
from bench.system.memory import Memory, Peaks

RUNS = 3
LARGEST = 1024
LARGEST_UNKNOWN = 32  # if the free memory is unknown
GAIN = 1.02  # a batch is better where it gives so many times the images per second
MEMORY_SHARE = 0.5  # of the free memory, that a batch may be expected to take


def measure(
    loaded: engine.Loaded,
    pixels: NDArray[np.uint8],
    effort: Effort,
    batch_1_ms: float,
    peaks: Peaks,
) -> tuple[dict[str, Any], Memory | None]:
    """Return images/s of every batch tried, the best, why none was larger, and the best's memory.

    A batch is copies of one image, from decoded pixels to descriptors on the host: uploading and
    resizing are inside, decoding is not. Its time is the median of 3 runs after one of warm-up;
    that of batch 1 is `batch_1_ms`, p50 of the latency. The next batch is twice as large, unless it
    would take more time or memory than there is, or two in a row were not 2 % better than the best.
    The memory is None if batch 1 is the best.
    """
    per_s = {1: 1e3 / batch_1_ms}
    best, best_memory = 1, None
    end = time.perf_counter() + effort.budget_s
    batch, grown, stopped = 2, 0, ""
    while not stopped:
        free = memory.free_bytes(loaded.device)
        if batch > (LARGEST if free else LARGEST_UNKNOWN):
            stopped = "largest"
        elif time.perf_counter() + (RUNS + 1) * batch / per_s[best] > end:
            stopped = "time"
        elif free and 2 * grown > MEMORY_SHARE * free:
            stopped = "memory"
        elif batch >= 8 * best:
            stopped = "no gain"
        else:
            before = memory.held_bytes(loaded.device)
            try:
                with peaks.phase() as within:
                    median_s = _median_s(loaded, pixels, batch)
            except BenchError as error:
                stopped = f"batch {batch} failed: {error}"
                break
            per_s[batch] = batch / median_s
            if per_s[batch] >= GAIN * per_s[best]:
                best, best_memory = batch, within
            grown = max(grown, (within[peaks.kind] or before) - before)
            batch *= 2
    return {
        "images_per_s": round(per_s[best], 3),
        "batch": best,
        "tried": [{"batch": b, "images_per_s": round(n, 3)} for b, n in per_s.items()],
        "stopped": stopped,
    }, best_memory


def _median_s(loaded: engine.Loaded, pixels: NDArray[np.uint8], batch: int) -> float:
    """Return the seconds that a batch of copies takes; descriptors are on the host at the end."""
    seconds = []
    for _ in range(1 + RUNS):
        start = time.perf_counter()
        engine.describe(loaded, [pixels] * batch)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
