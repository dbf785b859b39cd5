"""Descriptors as rows on disk or in memory: opened once, read in blocks, checked while read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Matrix:
    """Rows of descriptors (n, dim): an array in memory, or a `.npy` file read piece by piece.

    `label` is what error sentences call it. `ids` are image ids, where the file carries them.
    """

    label: str
    shape: tuple[int, int]
    array: NDArray[Any] | None = None
    path: Path | None = None
    ids: tuple[str, ...] | None = None

    def open(self) -> NDArray[Any]:
        """Return the rows; those of a file as a new map, whose pages go when it is dropped."""
        if self.array is not None:
            return self.array
        assert self.path is not None
        mapped: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return mapped


def from_array(array: NDArray[Any], label: str) -> Matrix:
    """Wrap rows that are in memory; (n, dim), any float type, n and dim at least 1."""
    if array.ndim != 2 or 0 in array.shape:
        raise BenchError(
            f"{label}: descriptors must be a matrix with one row per image, "
            f"but the array has shape {array.shape}."
        )
    if array.dtype.kind != "f":
        raise BenchError(
            f"{label}: descriptors must be floating-point numbers, but are {array.dtype}."
        )
    return Matrix(label, (int(array.shape[0]), int(array.shape[1])), array=array)


def blocks(parts: list[Matrix], rows: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first row, rows as they are stored) over all parts in order, `rows` at a time."""
    start = 0
    for part in parts:
        for low in range(0, part.shape[0], rows):
            yield start + low, np.asarray(part.open()[low : low + rows])
        start += part.shape[0]


def take(parts: list[Matrix], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the named rows (m, dim) of the parts laid end to end, float64."""
    out = np.empty((len(rows), parts[0].shape[1]), dtype=np.float64)
    starts = np.cumsum([0, *(part.shape[0] for part in parts)])
    owner = np.searchsorted(starts, rows, side="right") - 1
    for index in np.unique(owner):
        inside = owner == index
        out[inside] = parts[index].open()[rows[inside] - starts[index]]
    return out


def row_name(parts: list[Matrix], row: int) -> str:
    """Say where global row `row` is: file and row inside it, for error sentences."""
    for part in parts:
        if row < part.shape[0]:
            return f"row {row} of {part.label}"
        row -= part.shape[0]
    return f"row {row}"


def check_block(
    parts: list[Matrix], start: int, stored: NDArray[Any]
) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """Return rows as float32 with their least and largest norm, or refuse the first bad one.

    Bad are NaN, infinity, nothing but zeros, and norms that float32 cannot hold.
    """
    with np.errstate(over="ignore"):
        block = np.ascontiguousarray(stored, dtype=np.float32)
    squares = np.einsum("ij,ij->i", block, block)
    good = np.isfinite(squares) & (squares > 0)
    if not good.all():
        at = int(np.argmin(good))
        row = stored[at].astype(np.float64)
        if np.isnan(row).any():
            what = "contains NaN"
        elif not np.isfinite(row).all():
            what = "contains infinity"
        elif not row.any():
            what = "is all zeros"
        else:
            largest = float(np.abs(row).max())
            norm = largest * math.hypot(*(row / largest))
            what = f"has a norm of {norm:.3g}, out of the range of float32"
        raise BenchError(
            f"{row_name(parts, start + at)} {what}; a descriptor must be finite and not zero. "
            "Recompute that row; rows are never dropped, because dropping shifts all others."
        )
    return block, (float(np.sqrt(squares.min())), float(np.sqrt(squares.max())))
