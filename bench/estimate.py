"""What a run will cost before it begins: images, bytes, time, and whether the disk has room."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import engine, images
from bench.errors import BenchError
from bench.progress import Progress, span
from bench.types import Image

PROBE_S = 3.0
PROBE_IMAGES = 8
LOOKED_AT = 200
FILE_BYTES = 8192  # what a small file takes besides: header, manifest, the blocks of the disk


@dataclass(frozen=True)
class Need:
    """Bytes that are going to be written below a folder."""

    folder: Path
    bytes: int
    what: str


@dataclass(frozen=True)
class Probe:
    """Seconds per image, from file to descriptor, and over how many images they were taken."""

    seconds: float
    images: int


def check_room(needs: Sequence[Need]) -> None:
    """Refuse at once what the disks have no room for."""
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
    for some in disks.values():
        folder, total = some[0].folder, sum(need.bytes for need in some)
        free = shutil.disk_usage(_existing(folder)).free
        if total > free:
            parts = ", ".join(f"{need.what} {size(need.bytes)}" for need in some if need.bytes)
            raise BenchError(
                f"the disk of {folder} has {size(free)} free, and {size(total)} would be written "
                f"({parts}). Nothing was begun: make room, or name folders on another disk with "
                "RETRIEVAL_BENCH_CACHE and --output."
            )


def record(output: Path, queries: int, labelled: int, depth: int) -> Need:
    """Return about what a record takes: ranks, ground truth and a list of `depth` per query."""
    arrays = labelled * 6 * 8 + queries * depth * 3 * 8
    return Need(output, arrays + queries * 1000 + 4 * FILE_BYTES, "the record")


def free_bytes(folder: Path) -> int:
    """Return what may still be written below a folder, which need not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


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


def size(count: float) -> str:
    """Return a number of bytes in words: 512 bytes, 4.1 kB, 8.2 GB."""
    if count < 1000:
        return f"{count:.0f} bytes"
    power = 1 if count < 999_950 else 2 if count < 999_950_000 else 3
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"


def say_time(measured: Probe | None, count: int) -> str:
    """Return what a probe says of describing `count` images."""
    if measured is None:
        return "expected time: not known, none of the images tried can be used"
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
            width, height = images.header_size(folder / image.path)
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


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = Path(os.path.dirname(folder))
    return folder
