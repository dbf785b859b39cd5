"""The engine: from image files to descriptors in memory, batch by batch, decoding ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench import images, plugins, pyramid
from bench.errors import BenchError
from bench.progress import Progress
from bench.types import Image, Method, MethodInfo, Preprocess

DECODE_AHEAD = 32

Result = TypeVar("Result")


@dataclass(frozen=True)
class Loaded:
    """A method ready to describe: the network, what a record keeps of it, rule and device."""

    method: Method
    info: MethodInfo
    rule: Preprocess
    device: str
    batch_size: int


def rows_of(
    loaded: Loaded, folder: Path, wanted: Sequence[Image], progress: Progress
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Return the rows of one shard, and a sentence per position that could not be decoded."""
    rows = np.zeros((len(wanted), loaded.info.dim), dtype=np.float32)
    faults: dict[int, str] = {}
    for positions, batch in batches(loaded, folder, wanted, progress, faults):
        rows[positions] = describe(loaded, batch)
    return rows, faults


def batches(
    loaded: Loaded,
    folder: Path,
    wanted: Sequence[Image],
    progress: Progress,
    faults: dict[int, str],
) -> Iterator[tuple[list[int], list[NDArray[np.uint8]]]]:
    """Yield (positions, decoded images of one shape), at most `batch_size` at a time.

    A sentence per position whose image cannot be decoded is added to `faults`.
    """
    for start, decoded in _decode_ahead(loaded.rule, folder, wanted):
        groups: dict[tuple[int, ...], list[int]] = {}
        for offset, pixels in enumerate(decoded):
            if isinstance(pixels, BenchError):
                faults[start + offset] = str(pixels)
            else:
                groups.setdefault(pixels.shape, []).append(offset)
        for members in groups.values():
            for low in range(0, len(members), loaded.batch_size):
                batch = members[low : low + loaded.batch_size]
                yield [start + i for i in batch], [decoded[i] for i in batch]
        progress.advance(len(decoded))


def _decode_ahead(
    rule: Preprocess, folder: Path, wanted: Sequence[Image]
) -> Iterator[tuple[int, list[Any]]]:
    """Yield (first position, decoded images or their errors), the next lot already in work."""

    def one(image: Image) -> Any:
        try:
            return images.load(folder / image.file, image.box, rule)
        except BenchError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        lots = range(0, len(wanted), DECODE_AHEAD)
        waiting = [pool.submit(one, image) for image in wanted[:DECODE_AHEAD]]
        for start in lots:
            end = start + DECODE_AHEAD
            following = [pool.submit(one, image) for image in wanted[end : end + DECODE_AHEAD]]
            yield start, [future.result() for future in waiting]
            waiting = following


def describe(loaded: Loaded, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return unit descriptors (n, dim) float32 of decoded images of one shape."""

    def work(batch: Any) -> NDArray[np.float32]:
        rows = pyramid.describe_pyramid(loaded.method.describe, batch, loaded.rule, loaded.info.dim)
        out: NDArray[np.float32] = rows.cpu().numpy()
        return out

    return on_batch(loaded, pixels, work)


def on_batch(
    loaded: Loaded, pixels: Sequence[NDArray[np.uint8]], work: Callable[[Any], Result]
) -> Result:
    """Return what `work` makes of decoded images of one shape; a failure names the method."""
    name = f"{loaded.info.name}.{loaded.info.variant}"
    try:
        return work(pyramid.to_batch(pixels, loaded.rule, loaded.device))
    except BenchError as error:
        raise BenchError(f"the method {name}: {error}") from error
    except Exception as error:
        shape = "x".join(str(n) for n in (len(pixels), *pixels[0].shape))
        raise BenchError(
            f"the method {name} failed on a batch of {shape}: {plugins.fault(error)}."
        ) from error
