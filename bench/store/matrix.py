"""Descriptors as rows on disk or in memory: read block by block, checked while read.

A block of a file is a map of its own, dropped with the block: mapped pages count as resident
memory for as long as the map lives. Single rows are read, not mapped, as a map brings in all of
their neighbourhood.
"""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.system import array_files

Floats = NDArray[np.float32] | NDArray[np.float64]
Decode = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True)
class Matrix:
    """Rows of descriptors (n, dim): an array in memory, or a `.npy` file read piece by piece.

    `label` is what error sentences call it. `ids` are image ids, where the file carries them. `key`
    names the content, where a store knows it. With `decode`, codes (n, bytes) uint8 are stored, and
    `decode` makes float32 rows of them.
    """

    label: str
    shape: tuple[int, int]
    array: NDArray[Any] | None = None
    path: Path | None = None
    ids: tuple[str, ...] | None = None
    key: str | None = None
    decode: Decode | None = None

    def open(self) -> NDArray[Any]:
        """Return all rows; those of a file as a new map, whose pages go when it is dropped."""
        stored = self.stored()
        return stored if self.decode is None else self.decode(stored)

    def stored(self) -> NDArray[Any]:
        """Return all rows as they are stored: the codes where there is a `decode`."""
        if self.array is not None:
            return self.array
        assert self.path is not None
        mapped: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return mapped

    def dtype(self) -> np.dtype[Any]:
        """Return the type of the rows as `read` gives them; of the byte order of this machine."""
        if self.decode is not None:
            return np.dtype(np.float32)
        kind = self.array.dtype if self.array is not None else _layout_of(self.path).dtype
        return kind.newbyteorder("=")

    def row_bytes(self) -> int:
        """Return the bytes of one row as it is stored."""
        kind = self.array.dtype if self.array is not None else _layout_of(self.path).dtype
        if self.decode is None:
            return self.shape[1] * int(kind.itemsize)
        shape = self.array.shape if self.array is not None else _layout_of(self.path).shape
        return int(shape[1]) * int(kind.itemsize)


@dataclass(frozen=True)
class _Layout:
    """The header of a `.npy` file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int


def _layout_of(path: Path | None) -> _Layout:
    assert path is not None
    state = path.stat()
    return _layout(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1 << 14)
def _layout(path: Path, _changed_ns: int, _size: int) -> _Layout:
    """Return the header; date and size belong to what it is remembered by."""
    with path.open("rb") as file:
        head = array_files.header(file)
        return _Layout(head.shape, head.dtype, head.fortran, head.offset)


def from_array(
    array: NDArray[Any], label: str, key: str | None = None, *, whole: bool = False
) -> Matrix:
    """Wrap rows that are in memory; (n, dim), any float type, n and dim at least 1.

    With `whole` they may be whole numbers, which a `decode` makes floats of.
    """
    if array.ndim != 2 or 0 in array.shape:
        raise BenchError(
            f"{label}: descriptors must be a matrix with one row per image, "
            f"but the array has shape {array.shape}."
        )
    if array.dtype.kind not in ("fiu" if whole else "f"):
        raise BenchError(
            f"{label}: descriptors must be floating-point numbers, but are {array.dtype}; convert "
            "them to float32."
        )
    return Matrix(label, (int(array.shape[0]), int(array.shape[1])), array=array, key=key)


def count_rows(parts: Sequence[Matrix]) -> int:
    """Return how many rows the parts have together."""
    return sum(part.shape[0] for part in parts)


def blocks(parts: Sequence[Matrix], rows: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first row, rows as in `read`) over all parts in order, `rows` at a time."""
    total = count_rows(parts)
    for low in range(0, total, rows):
        yield low, read(parts, low, min(low + rows, total))


def read(
    parts: Sequence[Matrix], low: int, high: int, scratch: NDArray[np.uint8] | None = None
) -> NDArray[Any]:
    """Return the rows low:high of the parts laid end to end, (high - low, dim), C order.

    The type is the widest of the parts touched. What is in one piece, in memory or in a file, is
    a view; else the rows are copied: into `scratch`, a flat buffer large enough, where given.
    """
    wanted = []
    start = 0
    for part in parts:
        end = start + part.shape[0]
        if start < high and end > low:
            wanted.append((part, max(low - start, 0), min(high, end) - start))
        start = end
    first, begin, stop = wanted[0]
    if len(wanted) == 1 and first.decode is None:
        return _view(first, begin, stop)
    kind = np.result_type(*(part.dtype() for part, _, _ in wanted))
    shape = (high - low, first.shape[1])
    size = shape[0] * shape[1] * kind.itemsize
    buffer = np.empty(size, dtype=np.uint8) if scratch is None else scratch[:size]
    out = buffer.view(kind).reshape(shape)
    at = 0
    for part, begin, stop in wanted:
        _fill(out[at : at + stop - begin], part, begin, stop)
        at += stop - begin
    return out


def _view(part: Matrix, low: int, high: int) -> NDArray[Any]:
    """Return rows of one part without a copy; those of a file on their way from disk."""
    stored = part.stored()
    view: NDArray[Any] = stored[low:high]
    if part.path is not None and hasattr(mmap, "MADV_WILLNEED") and stored.flags.c_contiguous:
        layout, page = _layout_of(part.path), mmap.ALLOCATIONGRANULARITY
        first = (layout.offset + low * view[0].nbytes) // page * page
        last = layout.offset + high * view[0].nbytes
        stored._mmap.madvise(mmap.MADV_WILLNEED, first, last - first)  # type: ignore[attr-defined]
    return np.asarray(view)


def _fill(out: NDArray[Any], part: Matrix, low: int, high: int) -> None:
    """Put the rows low:high of one part into `out`."""
    if part.array is not None:
        stored: NDArray[Any] = part.array[low:high]
    else:
        layout = _layout_of(part.path)
        if layout.fortran:
            stored = part.stored()[low:high]
        else:
            direct = part.decode is None and layout.dtype == out.dtype
            shape = (high - low, *layout.shape[1:])
            stored = out if direct else np.empty(shape, dtype=layout.dtype)
            assert part.path is not None
            with part.path.open("rb", buffering=0) as file:
                _read_at(file, layout, low, stored)
            if direct:
                return
    out[...] = stored if part.decode is None else part.decode(stored)


def _read_at(file: FileIO, layout: _Layout, low: int, out: NDArray[Any]) -> None:
    """Read rows of a C-ordered file from row `low` on, as many as `out` has."""
    file.seek(layout.offset + low * out[0].nbytes)
    plain: Any = out.reshape(-1).view(np.uint8)
    left = memoryview(plain)
    while left:
        count = file.readinto(left)
        if not count:
            raise BenchError(
                f"{file.name!s} ends before row {low + len(out)}: it is truncated; write it again."
            )
        left = left[count:]


def take(parts: Sequence[Matrix], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the named rows (m, dim) of the parts laid end to end, float64."""
    out = np.empty((len(rows), parts[0].shape[1]), dtype=np.float64)
    starts = np.cumsum([0, *(part.shape[0] for part in parts)])
    owner = np.searchsorted(starts, rows, side="right") - 1
    for index in np.unique(owner):
        inside = np.flatnonzero(owner == index)
        stored = _stored_rows(parts[index], rows[inside] - starts[index])
        decode = parts[index].decode
        out[inside] = stored if decode is None else decode(stored)
    return out


def _stored_rows(part: Matrix, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return the named rows of one part as they are stored; a file is opened once."""
    if part.array is not None:
        return np.asarray(part.array[rows])
    layout = _layout_of(part.path)
    if layout.fortran:
        return np.asarray(part.stored()[rows])
    assert part.path is not None
    out = np.empty((len(rows), *layout.shape[1:]), dtype=layout.dtype)
    with part.path.open("rb", buffering=0) as file:
        for place, row in enumerate(rows.tolist()):
            _read_at(file, layout, row, out[place : place + 1])
    return out


def content_sha256(part: Matrix) -> str:
    """Return a sha256 of type, dimension and all rows of one part, wherever they are."""
    digest = hashlib.sha256(f"{part.dtype().str} {part.shape[1]}".encode())
    for _, rows in blocks([part], 4096):
        digest.update(np.ascontiguousarray(rows, dtype=part.dtype()).tobytes())
    return digest.hexdigest()


def row_name(parts: Sequence[Matrix], row: int) -> str:
    """Say where global row `row` is: file and row inside it, for error sentences."""
    for part in parts:
        if row < part.shape[0]:
            name = "" if part.ids is None else f" ({part.ids[row]})"
            return f"row {row}{name} of {part.label}"
        row -= part.shape[0]
    return f"row {row}"


def check_all(parts: Sequence[Matrix]) -> None:
    """Refuse the first bad row of all parts, as `check_block` does."""
    for start, stored in blocks(parts, 512):
        check_block(parts, start, stored)


def check_block(
    parts: Sequence[Matrix], start: int, stored: NDArray[Any]
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
            what = f"has a norm of {norm:.3g}, outside the range of float32"
        raise BenchError(
            f"{row_name(parts, start + at)} {what}; a descriptor must be finite and not zero. "
            "Recompute that row; rows are never dropped, because that would shift all later rows."
        )
    return block, (float(np.sqrt(squares.min())), float(np.sqrt(squares.max())))
