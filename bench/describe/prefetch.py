"""Images decoded ahead of the network, in threads or in processes of their own.

Pillow gives way to other threads while it decodes, so threads are enough for most machines;
processes help where the network waits for pixels although processors are idle.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.images import decode
from bench.system import interrupt
from bench.types import Image, Preprocess

AHEAD_PIXELS = 16 << 20  # decoded and waiting, 3 bytes each, besides the next batch

Pixels = NDArray[np.uint8]
Decoded = Pixels | str


def decoded(
    folder: Path,
    wanted: Sequence[Image],
    rule: Preprocess,
    batches: Sequence[Sequence[int]],
    pixels: Sequence[int],
    workers: int,
) -> Iterator[list[Decoded]]:
    """Yield the images of each batch in turn, or a sentence in place of one that is broken.

    `batches` has positions in `wanted`; `pixels` says about how many each image will have. The
    batches that follow are decoded meanwhile: one at least, and more while they are small.
    """
    pool = _pool(workers)
    waiting: deque[tuple[int, list[Future[Decoded]]]] = deque()
    ahead, following = 0, iter(batches)

    def submit() -> bool:
        nonlocal ahead
        batch = next(following, None)
        if batch is None:
            return False
        size = sum(pixels[i] for i in batch)
        ahead += size
        waiting.append((size, [pool.submit(_one, folder, wanted[i], rule) for i in batch]))
        return True

    try:
        while waiting or submit():
            while (len(waiting) < 2 or ahead < AHEAD_PIXELS) and submit():
                pass
            size, futures = waiting.popleft()
            ahead -= size
            yield [future.result() for future in futures]
    except BrokenProcessPool as error:
        _pool.cache_clear()
        raise BenchError(
            f"a process that decodes images (--workers {workers}) was killed, perhaps because "
            "memory ran out. Finished shards are kept: run the same command again with fewer "
            "workers."
        ) from error
    finally:
        for _, futures in waiting:
            for future in futures:
                future.cancel()


def _one(folder: Path, image: Image, rule: Preprocess) -> Decoded:
    try:
        return decode.load(folder / image.path, image.box, rule)
    except BenchError as error:
        return str(error)


@lru_cache(maxsize=1)
def _pool(workers: int) -> Executor:
    """Return threads, or processes; they are made once and serve every shard."""
    if workers == 0:
        return ThreadPoolExecutor(os.cpu_count() or 1, "decode")
    return ProcessPoolExecutor(workers, get_context("spawn"), interrupt.follow_parent)


def close() -> None:
    """Let go of the threads or processes, which end once they are idle."""
    _pool.cache_clear()
