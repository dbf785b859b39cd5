"""Which images are given to the network together: planned from the headers, before decoding.

Images of one shape make a batch. A batch is a function of the list of images and of two limits
alone, never of what was there already or of how fast anything went, so that a list cut into the
same shards is described to the same bytes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.errors import BenchError
from bench.images import decode
from bench.types import Image, Preprocess

READERS = 16  # threads that wait for a disk or a network, more than for a processor

Shape = tuple[int, int]


def shapes(folder: Path, wanted: Sequence[Image], rule: Preprocess) -> list[Shape | None]:
    """Return (height, width) of each image as the network will see it, from the headers alone.

    None where a header cannot be read or a box does not fit: decoding will say why.
    """

    def one(image: Image) -> Shape | None:
        try:
            return decode.shape(folder / image.path, image.box, rule)
        except BenchError:
            return None

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(one, wanted))


def plan(known: Sequence[Shape | None], most: int, most_pixels: int) -> list[list[int]]:
    """Return positions in batches: one shape each, at most `most`, at most `most_pixels` together.

    An image with more pixels than that is a batch alone, and so is one of unknown shape. Shapes
    come in the order of their first image, and within a shape images keep theirs.
    """
    groups: dict[tuple[Shape | None, int], list[int]] = {}
    for position, shape in enumerate(known):
        groups.setdefault((shape, 0 if shape else position), []).append(position)
    batches = []
    for (shape, _), members in groups.items():
        pixels = shape[0] * shape[1] if shape else most_pixels
        wide = max(1, min(most, most_pixels // pixels))
        batches += [members[low : low + wide] for low in range(0, len(members), wide)]
    return batches
