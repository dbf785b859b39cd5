"""How brought descriptors are compared: by dot product as they are, by cosine, by distance.

The search ranks by dot products of float32 rows, exactly. Rows of unit length give the cosine; with
two columns more, -|x|²/2 in two parts, the product with (q, 1, 1) is q·x - |x|²/2, which orders
rows as the distance from q does, the nearest first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.store.matrix import Matrix, blocks
from bench.types import Image

Similarity = Literal["dot", "cosine", "euclidean"]
Rows = NDArray[np.float32]
EXACT_BITS = 24  # whole numbers that float32 holds


def numbers(array: NDArray[Any], label: str) -> NDArray[Any]:
    """Return descriptors whose whole numbers float32 holds; refuse other whole numbers.

    Decimals are returned as they are.
    """
    if array.dtype.kind in "iu" and array.dtype.itemsize > 2 and array.size:
        largest = max(abs(int(array.max())), abs(int(array.min())))
        if largest > 1 << EXACT_BITS:
            raise BenchError(
                f"{label}: {array.dtype} up to {largest} cannot be stored as float32; scale the "
                "descriptors and convert them to float32."
            )
    return array


def compared(
    part: Matrix, similarity: Similarity, images: Sequence[Image] = (), *, asks: bool = False
) -> Matrix:
    """Return rows as the search takes them: queries where `asks`, else database rows.

    `images` are those of the rows, for sentences about one of them.
    """
    ids = part.ids or (tuple(image.file for image in images) or None)
    whole = part.stored().dtype.kind in "iu"
    if similarity == "dot":
        return replace(part, ids=ids, decode=_floats if whole else part.decode)
    if similarity == "cosine":
        return replace(part, ids=ids, decode=_unit)
    decode: Callable[[NDArray[Any]], Rows] = _with_ones if asks else _with_squares
    return replace(part, ids=ids, decode=decode, shape=(part.shape[0], part.shape[1] + 2))


def norms(parts: Sequence[Matrix]) -> tuple[float, float]:
    """Return the least and the largest Euclidean norm of the rows as they are stored."""
    least, most = np.inf, 0.0
    for part in parts:
        for _, rows in blocks([replace(part, decode=_floats)], 4096):
            found = np.linalg.norm(rows.astype(np.float64), axis=1)
            least, most = min(least, float(found.min())), max(most, float(found.max()))
    return least, most


def _floats(stored: NDArray[Any]) -> Rows:
    with np.errstate(over="ignore"):  # infinity is refused by name
        return np.asarray(stored, dtype=np.float32)


def _unit(stored: NDArray[Any]) -> Rows:
    """Return rows of unit length; rows of zeros stay, for the search to refuse."""
    rows = np.asarray(stored, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.zeros_like(rows)
    np.divide(rows, length, out=unit, where=length != 0)
    return unit.astype(np.float32)


def _with_ones(stored: NDArray[Any]) -> Rows:
    rows = _floats(stored)
    return np.hstack([rows, np.ones((len(rows), 2), dtype=np.float32)])


def _with_squares(stored: NDArray[Any]) -> Rows:
    rows = _floats(stored)
    half = -0.5 * np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    high = half.astype(np.float32)
    low = (half - high).astype(np.float32)
    return np.hstack([rows, high[:, None], low[:, None]])
