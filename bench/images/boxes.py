"""Boxes of queries: one place of a photograph, whichever way a rule turns it.

A box is in stored pixels: those of the file, before its EXIF orientation. Where a rule turns the
photograph, the corners are made whole first and turned with it, so that every rule shows the same
pixels.
"""

from __future__ import annotations

from pathlib import Path

from bench.errors import BenchError
from bench.types import Box, Preprocess

Size = tuple[int, int]  # width and height, px
Corners = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive

UPRIGHT = 1  # the EXIF orientation of a photograph that is stored as it is seen
MOST_BEYOND_PX = 1.0  # of a box whose corners were rounded up; nearer ones are cut


def corners(size: Size, box: Box, rule: Preprocess, path: Path) -> Corners:
    """Return the corners of `box` made whole as the rule says, within stored pixels of this size.

    A box that reaches out of the image by less than a pixel is cut to it; others are refused.
    """
    try:
        left, top, right, bottom = (
            round(x) if rule.crop_rounding == "round" else int(x) for x in box
        )
    except (ValueError, OverflowError):  # NaN, infinity, or not four numbers
        raise BenchError(f"the box {box} of {path} must be four finite numbers.") from None
    width, height = size
    text = f"({left}, {top}, {right}, {bottom})"
    if left >= right or top >= bottom:
        raise BenchError(
            f"the box {text} of {path} is empty; "
            "a box is left, top, right, bottom with left < right and top < bottom, in pixels."
        )
    if beyond(size, box) >= MOST_BEYOND_PX:
        raise BenchError(
            f"the box {text} extends beyond {path}, which has {width} x {height} pixels without "
            "its EXIF orientation; check whether it belongs to another copy of the image."
        )
    cut = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise BenchError(
            f"the box {text} covers less than a pixel of {path}, which has {width} x {height} "
            "pixels; correct the box."
        )
    return cut


def beyond(size: Size, box: Box) -> float:
    """Return how far a box reaches out of an image of this size, in pixels; 0 inside."""
    left, top, right, bottom = box
    return max(-left, -top, right - size[0], bottom - size[1], 0.0)


def turned(box: tuple[float, float, float, float], size: Size, orientation: int) -> Box:
    """Return a box of stored pixels of an image of this size in pixels of the turned image.

    `orientation` is that of EXIF, 1 to 8; others turn nothing.
    """
    left, top, right, bottom = box
    width, height = size
    return {
        2: (width - right, top, width - left, bottom),
        3: (width - right, height - bottom, width - left, height - top),
        4: (left, height - bottom, right, height - top),
        5: (top, left, bottom, right),
        6: (height - bottom, left, height - top, right),
        7: (height - bottom, width - right, height - top, width - left),
        8: (top, width - right, bottom, width - left),
    }.get(orientation, (left, top, right, bottom))
