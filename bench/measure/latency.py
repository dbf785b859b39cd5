"""Latency of describing and of searching: phase by phase at batch 1, and images/s in batches.

decode      file to pixels: read, decode, turn, crop, size cap; one thread of the processor
preprocess  upload, normalisation and the resizing for every scale
network     the method's `describe` at every scale, unit norm, the sum, and the way back to the host
describe    preprocess and network: pixels to descriptor
search      one query against the whole database, to its shortlist

A phase ends when the device has finished it: on a GPU its own events are read, on a processor
`time.perf_counter`. Every image of a round is decoded and described once, so the phases alternate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.describe import engine, flops, footprint
from bench.images import decode
from bench.measure import busy, throughput, timing
from bench.measure.earlier import Measured
from bench.system import memory
from bench.system.memory import Peaks
from bench.system.progress import Progress
from bench.types import Image, Measure

PHASES = ("decode", "preprocess", "network", "describe")
SLOW_S = 2.0  # a run that takes this long is warm-up enough
SIZES_READ = 256  # of so many images the sizes are read, to spread the sample over them


class Clock:
    """Marks in time on one device, and the milliseconds between two of them."""

    def __init__(self, device: str) -> None:
        """Take the device as the command line names it."""
        self.gpu = torch.device(device) if device.startswith("cuda") else None

    def settle(self) -> None:
        """Wait until the device has nothing left to do."""
        if self.gpu is not None:
            torch.cuda.synchronize(self.gpu)

    def mark(self) -> Any:
        """Return this moment: of the host, or of the device's queue of work."""
        if self.gpu is None:
            return time.perf_counter()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.gpu))
        return event

    def ms(self, start: Any, end: Any) -> float:
        """Return the time between two marks; the device must have reached both."""
        return float(1e3 * (end - start) if self.gpu is None else start.elapsed_time(end))


class Watched:
    """A method whose `describe` leaves a mark before and after each call; all else is its own."""

    def __init__(self, method: Any, clock: Clock) -> None:
        """Keep both."""
        self.method, self.clock = method, clock
        self.marks: list[tuple[Any, Any]] = []

    def __getattr__(self, name: str) -> Any:
        """Return what the method has under this name."""
        return getattr(self.method, name)

    def describe(self, batch: Any) -> Any:
        """Describe and mark."""
        start = self.clock.mark()
        rows = self.method.describe(batch)
        self.marks.append((start, self.clock.mark()))
        return rows


def measure(
    loaded: engine.Loaded, folder: Path, candidates: Sequence[Image], how: Measure
) -> Measured:
    """Time the phases on images spread over the sizes of `candidates`, and count operations.

    The first run, under the counter of operations, is warm-up; so are, unless it was slow, a
    second one and one of every image. `how` is not "none".
    """
    effort, watch = timing.EFFORTS[how], busy.watch()
    by_size = _by_size(folder, candidates)
    image = by_size[len(by_size) // 2]
    pixels = decode.load(folder / image.path, image.box, loaded.rule)
    peaks = Peaks(loaded.device)
    with memory.kept(loaded.device), Progress("measure", None) as progress:
        operations, run_s = _first_runs(loaded, pixels)
        chosen = _spread(by_size, timing.affordable(run_s, effort))
        warm_up = 1
        if run_s < SLOW_S:
            warm_up = 2 + len(chosen)
            for image in chosen:
                _one(loaded, folder, image)

        def once(image: Image) -> dict[Any, float]:
            progress.advance()
            return _one(loaded, folder, image)

        before = timing.processor_time()
        by_round = timing.in_rounds(effort, chosen, once)
        waited = timing.waited_share(before)
        described = _of(by_round, "describe", waited)
        batches, _ = throughput.measure(loaded, pixels, effort, described["p50"], peaks)
    seen = watch.seen() | {"waited_share": waited}
    latency = {
        "measure": how,
        "batch": 1,
        "images": len(chosen),
        "warm_up": warm_up,
        "image_px": [pixels.shape[1], pixels.shape[0]],
        "precision": engine.precision(loaded),
        "threads": torch.get_num_threads(),
        **seen,
        "busy": busy.signs(seen, described),
        **{f"{phase}_ms": _of(by_round, phase, waited) for phase in PHASES},
        "scales": [
            {"scale": scale, "network_ms": _of(by_round, place, waited)}
            for place, scale in enumerate(loaded.rule.scales)
        ],
        "throughput": batches,
        "flops_per_image": operations,
    }
    weight = loaded.parameters or footprint.parameters(loaded.method)
    return Measured(latency, dict(weight), peaks)


def middle(folder: Path, candidates: Sequence[Image]) -> Image:
    """Return the image of median size, of those whose size is read."""
    by_size = _by_size(folder, candidates)
    return by_size[len(by_size) // 2]


def spread(folder: Path, candidates: Sequence[Image], count: int) -> list[Image]:
    """Return at most `count` images, spread over the sizes of the candidates."""
    return _spread(_by_size(folder, candidates), count)


def _first_runs(loaded: engine.Loaded, pixels: NDArray[np.uint8]) -> tuple[int | None, float]:
    """Return the operations of one image, and about how many seconds it takes."""
    seconds: list[float] = []

    def run() -> None:
        start = time.perf_counter()
        engine.describe(loaded, [pixels])
        seconds.append(time.perf_counter() - start)

    operations = flops.count(run)
    if seconds[0] < SLOW_S:
        run()
    return operations, seconds[-1]


def _one(loaded: engine.Loaded, folder: Path, image: Image) -> dict[Any, float]:
    """Decode and describe one image; return the milliseconds of every phase and scale."""
    clock = Clock(loaded.device)
    watched = Watched(loaded.method, clock)
    method: Any = watched
    start = time.perf_counter()
    pixels = decode.load(folder / image.path, image.box, loaded.rule)
    decode_ms = 1e3 * (time.perf_counter() - start)
    clock.settle()
    begun = clock.mark()
    engine.describe(replace(loaded, method=method), [pixels])
    end = clock.mark()
    clock.settle()
    describe_ms = clock.ms(begun, end)
    preprocess_ms, before = 0.0, begun
    scales: dict[Any, float] = {}
    for place, (first, last) in enumerate(watched.marks):
        preprocess_ms += clock.ms(before, first)
        scales[place] = clock.ms(first, last)
        before = last
    phases = {
        "decode": decode_ms,
        "preprocess": preprocess_ms,
        "network": describe_ms - preprocess_ms,
        "describe": describe_ms,
    }
    return {**phases, **scales}


def _of(
    by_round: Sequence[Sequence[dict[Any, float]]], phase: str | int, waited: float
) -> dict[str, Any]:
    return timing.summarise([[run[phase] for run in runs] for runs in by_round], waited)


def _by_size(folder: Path, candidates: Sequence[Image]) -> list[Image]:
    """Return up to `SIZES_READ` of the images, spread over the list, the smallest first."""
    spread = np.linspace(0, len(candidates) - 1, min(SIZES_READ, len(candidates))).astype(int)
    images_read = [candidates[i] for i in spread]
    areas = [math.prod(decode.header_size(folder / image.path)) for image in images_read]
    order = np.argsort(areas, kind="stable")
    return [images_read[i] for i in order]


def _spread(by_size: Sequence[Image], count: int) -> list[Image]:
    """Return images of evenly spaced ranks by size; with an odd count the middle one is among."""
    count = min(count, len(by_size) - (len(by_size) + 1) % 2)
    return [by_size[(2 * i + 1) * len(by_size) // (2 * count)] for i in range(count)]
