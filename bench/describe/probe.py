"""What a run will cost before it begins: images, bytes, time, and whether the disk has room."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.describe import engine
from bench.errors import BenchError
from bench.images import decode
from bench.system.progress import Progress, span
from bench.types import Image

PROBE_S = 3.0
PROBE_IMAGES = 8
LOOKED_AT = 200


@dataclass(frozen=True)
class Probe:
    """Seconds per image, from file to descriptor, and over how many images they were taken."""

    seconds: float
    images: int


def probe(loaded: engine.Loaded, folder: Path, wanted: Sequence[Image]) -> Probe | None:
    """Describe a few images spread over the sizes, for a few seconds; None where none can be.

    The first image is described twice, and its first time, which loads and compiles, left out.
    """
    chosen = _spread(folder, wanted)
    taken = []
    with Progress("probe", len(chosen), brief=True) as progress:
        start = time.perf_counter()
        for image in [*chosen[:1], *chosen]:
            begun = time.perf_counter()
            _, faults = engine.rows_of(loaded, folder, [image], progress)
            if not faults:
                taken.append(time.perf_counter() - begun)
            if len(taken) > 1 and time.perf_counter() - start > PROBE_S:
                break
    if len(taken) < 2:
        return None
    return Probe(sum(taken[1:]) / len(taken[1:]), len(taken) - 1)


def say_time(measured: Probe | None, count: int) -> str:
    """Return the estimate of a probe for describing `count` images."""
    if measured is None:
        return "expected time: not known, because none of the sampled images can be used"
    return (
        f"expected time: about {span(measured.seconds * count)} for {count} images "
        f"({span(measured.seconds)} each, measured on {measured.images})"
    )


def _spread(folder: Path, wanted: Sequence[Image]) -> list[Image]:
    """Return a few images whose numbers of pixels are spread like those of the list.

    A step that is prime to the number keeps any beginning of them spread as well.
    """
    step = max(1, len(wanted) // LOOKED_AT)
    sized: list[tuple[int, int, Image]] = []
    for image in wanted[::step]:
        try:
            width, height = decode.header_size(folder / image.path)
        except BenchError:
            continue
        if image.box is not None:
            left, top, right, bottom = image.box
            width, height = round(right - left), round(bottom - top)
        sized.append((width * height, len(sized), image))
    sized.sort(key=lambda entry: entry[:2])
    count = min(PROBE_IMAGES, len(sized))
    order = sorted(range(count), key=lambda i: i * 5 % 8)
    return [sized[(2 * i + 1) * len(sized) // (2 * count)][2] for i in order]
