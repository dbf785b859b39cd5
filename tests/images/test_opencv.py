"""Scaling as OpenCV does it: worked examples, and what opencv-python 4.11 and 5.0 answer."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from bench.images import opencv


def test_worked_examples() -> None:
    two = np.array([[[0], [100], [200], [3]]], np.uint8).repeat(2, axis=0).repeat(3, axis=2)
    # blocks of two columns and two rows: 50, and 101.5, half up
    assert opencv.scaled(two, 0.5)[0, :, 0].tolist() == [50, 102]
    # twice as wide: at -0.25 the edge, at 0.25 a quarter of the way, ...
    assert opencv.scaled(two, 2.0)[0, :, 0].tolist() == [0, 25, 75, 125, 175, 151, 52, 3]
    assert opencv.scaled(two, 1.0) is two


# resize(image, (0, 0), fx=f, fy=f), INTER_AREA below 1 and INTER_LINEAR above, of both versions
ANSWERS = [
    ((97, 131), 0.3535, (34, 46), "7c6e7f3f1de34a0c"),
    ((97, 131), 0.5, (48, 66), "f8061eb81cdaf2c8"),
    ((97, 131), 0.7071, (69, 93), "dfe9f2486efe98e8"),
    ((97, 131), 1.4142, (137, 185), "f12abef191b7db45"),
    ((97, 131), 2.0, (194, 262), "0b066cc3f8d21e9e"),
    ((281, 200), 0.3535, (99, 71), "f5d1d43200763707"),
    ((281, 200), 0.5, (140, 100), "89d1862f32e74002"),
    ((281, 200), 0.7071, (199, 141), "4671f029a12c8f98"),
    ((281, 200), 1.4142, (397, 283), "03621971027b59e3"),
    ((281, 200), 2.0, (562, 400), "7bb8a13625e41df0"),
]


@pytest.mark.parametrize(("shape", "factor", "size", "sha256"), ANSWERS)
def test_the_bytes_are_those_of_opencv(
    shape: tuple[int, int], factor: float, size: tuple[int, int], sha256: str
) -> None:
    noise = np.random.default_rng(7).integers(0, 256, (*shape, 3), dtype=np.uint8)
    got = opencv.scaled(noise, factor)
    assert (got.shape[:2], got.dtype) == (size, np.uint8)
    assert hashlib.sha256(got.tobytes()).hexdigest()[:16] == sha256
