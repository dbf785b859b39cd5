"""Small copies of images for sheets, as JPEG; an image that is not there has a reason instead."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from bench.errors import BenchError
from bench.images import boxes, decode
from bench.types import Box, Image, Preprocess

QUALITY = 68


@dataclass(frozen=True)
class Thumbnail:
    """A small copy: `jpeg` is None if there is none, and `fault` says why.

    `width` and `height` are its own; `factor` is its size divided by that of the original. `box` is
    that of the image in pixels of the original as it is shown, turned as the original is.
    """

    jpeg: bytes | None
    width: int
    height: int
    factor: float
    fault: str = ""
    box: Box | None = None


def make(folder: Path, image: Image, orientation: Any, side: int) -> Thumbnail:
    """Return a copy whose longest side is at most `side` pixels; boxes are not applied."""
    path = folder / image.path
    rule = Preprocess(orientation=orientation, max_side_px=None)
    try:
        pixels = decode.load(path, None, rule)
    except BenchError:
        fault = "cannot be read" if path.is_file() else "missing"
        return Thumbnail(None, side, side * 3 // 4, 0.0, fault)
    box = image.box
    if box is not None and decode.turns(path, rule):
        box = boxes.turned(box, decode.stored_size(path), decode.orientation(path))
    return replace(of_pixels(pixels, side), box=box)


def of_pixels(pixels: NDArray[np.uint8], side: int) -> Thumbnail:
    """Return a small copy of pixels (height, width, 3), RGB."""
    whole = Pillow.fromarray(pixels)
    factor = min(1.0, side / max(whole.size))
    width, height = (max(1, round(size * factor)) for size in whole.size)
    small = whole.resize((width, height), Pillow.Resampling.LANCZOS)
    packed = io.BytesIO()
    small.save(packed, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(packed.getvalue(), width, height, factor)
