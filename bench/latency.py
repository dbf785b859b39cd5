"""Latency at batch 1: file to pixels, and pixels to descriptor over all scales, timed apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import engine, images
from bench.types import Image

WARM_UP = 2
SAMPLES = 10


def measure(loaded: engine.Loaded, folder: Path, sample: Sequence[Image]) -> dict[str, Any]:
    """Return p50 and p95 in milliseconds over up to `SAMPLES` images spread over `sample`.

    The first `WARM_UP` runs are thrown away. A descriptor is back on the host before the clock
    stops, so work that a device still had to do is inside.
    """
    spread = np.linspace(0, len(sample) - 1, min(SAMPLES, len(sample))).astype(int)
    chosen = [sample[i] for i in spread]
    decode_ms, describe_ms = [], []
    for image in [*chosen[:1] * WARM_UP, *chosen]:
        start = time.perf_counter()
        pixels = images.load(folder / image.path, image.box, loaded.rule)
        decoded = time.perf_counter()
        engine.describe(loaded, [pixels])
        decode_ms.append(1e3 * (decoded - start))
        describe_ms.append(1e3 * (time.perf_counter() - decoded))
    return {
        "batch": 1,
        "images": len(chosen),
        "warm_up": WARM_UP,
        "decode_ms": percentiles(decode_ms[WARM_UP:]),
        "describe_ms": percentiles(describe_ms[WARM_UP:]),
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """Return p50 and p95 of at least one value, rounded to microseconds."""
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
