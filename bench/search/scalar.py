"""Codes of single numbers: a scale per dimension (int8), or the sign after centring (binary)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.store.matrix import Decode, Matrix, blocks, check_block, count_rows

LARGEST = 127
Float32 = NDArray[np.float32]


def scales(parts: Sequence[Matrix]) -> Float32:
    """Return what a unit of every dimension (dim) is worth, so that its largest number is 127."""
    largest = np.zeros(parts[0].shape[1], dtype=np.float32)
    for low, stored in blocks(parts, 4096):
        rows, _ = check_block(parts, low, stored)
        largest = np.maximum(largest, np.abs(rows).max(axis=0))
    return np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)


def means(parts: Sequence[Matrix]) -> Float32:
    """Return the mean of every dimension (dim)."""
    total = np.zeros(parts[0].shape[1])
    for low, stored in blocks(parts, 4096):
        total += check_block(parts, low, stored)[0].sum(axis=0, dtype=np.float64)
    return (total / count_rows(parts)).astype(np.float32)


@dataclass(frozen=True)
class Int8:
    """Whole numbers from -127 to 127, times a scale (dim)."""

    scale: Float32

    def codes(self, rows: Float32) -> NDArray[np.int8]:
        """Return the nearest whole numbers (n, dim)."""
        whole: NDArray[np.int8] = np.rint(rows / self.scale).clip(-LARGEST, LARGEST).astype(np.int8)
        return whole

    def decoder(self) -> Decode:
        """Return what multiplies by the scale."""
        return self

    def __call__(self, codes: NDArray[np.int8]) -> Float32:
        """Return rows (n, dim) of codes."""
        return codes.astype(np.float32) * self.scale


@dataclass(frozen=True)
class Binary:
    """Signs after a mean (dim) is subtracted, eight in a byte; zero has the sign +.

    As numbers they are 1 and -1, so a product is dim - 2 · (Hamming distance), exactly.
    """

    mean: Float32

    def codes(self, rows: Float32) -> NDArray[np.uint8]:
        """Return the bits (n, dim / 8)."""
        return np.packbits(rows >= self.mean, axis=1)

    def decoder(self) -> Decode:
        """Return what makes numbers of the bits."""
        return self

    def __call__(self, codes: NDArray[np.uint8]) -> Float32:
        """Return rows (n, dim) of codes."""
        bits = np.unpackbits(codes, axis=1, count=len(self.mean))
        return 2 * bits.astype(np.float32) - 1
