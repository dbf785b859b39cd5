"""Scaling of 8-bit images by a factor as OpenCV's `resize` does it, to the grey value.

Below 1 its INTER_AREA: a pixel is the mean of what it covers. Above 1 its INTER_LINEAR, which
rounds weights to 1/2048 and sums in whole numbers. Both look by the factor that was asked for, not
by the ratio of the rounded sizes. Written from OpenCV's documentation and source (imgproc, resize);
compared with opencv-python 4 in development.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
ONE = 2048  # the fixed-point 1 of weights


def scaled(pixels: Pixels, factor: float) -> Pixels:
    """Return an image (height, width, c) uint8 scaled by `factor`, sides rounded half to even."""
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    step = 1.0 / factor
    if factor == 1.0:
        return pixels
    if factor < 1.0:
        return _area(pixels, height, width, step)
    return _linear(pixels, height, width, step)


def _area(pixels: Pixels, height: int, width: int, step: float) -> Pixels:
    """Return means over areas: along rows, then between them, in float32."""
    rows, columns = pixels.shape[0], pixels.shape[1]
    grey = pixels.astype(np.float32)
    wide = np.zeros((rows, width, pixels.shape[2]), np.float32)
    for source, weight in _covered(columns, width, step):
        wide += grey[:, source] * weight[:, None]
    out = np.zeros((height, width, pixels.shape[2]), np.float32)
    for source, weight in _covered(rows, height, step):
        out += wide[source] * weight[:, None, None]
    grid = np.rint(out)
    if step == 2.0:  # whole blocks of four: half up
        whole = slice(rows // 2), slice(columns // 2)
        grid[whole] = np.floor(out[whole] + np.float32(0.5))
    return grid.clip(0, 255).astype(np.uint8)


def _covered(
    size: int, out: int, step: float
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Return sources and weights (out,) of every tap; a position with fewer taps has weight 0."""
    taps: list[list[tuple[int, float]]] = []
    for at in range(out):
        low = at * step
        high = low + step
        cell = min(step, size - low)
        last = min(math.floor(high), size - 1)
        first = min(math.ceil(low), last)
        weights = [(first - 1, (first - low) / cell)] if first - low > 1e-3 else []
        weights += [(place, 1.0 / cell) for place in range(first, last)]
        if high - last > 1e-3:
            weights.append((last, min(high - last, 1.0, cell) / cell))
        taps.append(weights)
    most = max(len(weights) for weights in taps)
    padded = [weights + [(0, 0.0)] * (most - len(weights)) for weights in taps]
    return [
        (
            np.array([weights[tap][0] for weights in padded]),
            np.array([weights[tap][1] for weights in padded], np.float32),
        )
        for tap in range(most)
    ]


def _linear(pixels: Pixels, height: int, width: int, step: float) -> Pixels:
    """Return values between the two nearest, in whole numbers."""
    grey = pixels.astype(np.int32)
    last_row, last_column = pixels.shape[0] - 1, pixels.shape[1] - 1
    left, rest = _between(width, step)
    rest[(left < 0) | (left >= last_column)] = 0.0  # along a row only: the sums are the same
    left = left.clip(0, last_column)
    near, far = _weights(rest)
    wide = grey[:, left] * near[:, None] + grey[:, (left + 1).clip(0, last_column)] * far[:, None]
    top, rest = _between(height, step)
    near, far = _weights(rest)
    upper = wide[top.clip(0, last_row)] >> 4
    lower = wide[(top + 1).clip(0, last_row)] >> 4
    total = (upper * near[:, None, None] >> 16) + (lower * far[:, None, None] >> 16)
    out: Pixels = ((total + 2) >> 2).clip(0, 255).astype(np.uint8)
    return out


def _between(out: int, step: float) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the position before each output position, and the way from it."""
    place = ((np.arange(out) + 0.5) * step - 0.5).astype(np.float32)
    before = np.floor(place).astype(np.int64)
    return before, place - before.astype(np.float32)


def _weights(rest: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the weights of the nearer and of the next position in units of 1 / ONE."""
    near = np.rint((np.float32(1) - rest) * np.float32(ONE)).astype(np.int32)
    return near, np.rint(rest * np.float32(ONE)).astype(np.int32)
