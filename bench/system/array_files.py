"""Arrays in `.npy`, `.npz` and MATLAB 5 files: header first, sizes compared, then the content.

An archive of zeros has a thousandth of its content's size, with other packings a millionth. So
shape and type are read from the header alone, and compared with the sizes that the archive states
and with a bound, before anything is unpacked. What is wrong is a ValueError of one line.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bench.system.reading import line

MAGIC = b"\x93NUMPY"
MOST_HEADER_BYTES = 1 << 16
PLAIN = "biufcUS"
GROWTH = 200  # how far honest arrays shrink: ties that are all zero beside scores that do not
SPARE_BYTES = 256 << 20
MAT_SPARE_BYTES = 64 << 20
_FAULTS = (OSError, EOFError, RuntimeError, NotImplementedError, LookupError, struct.error,
           zipfile.BadZipFile, zlib.error, SyntaxError, TypeError, OverflowError)  # fmt: skip


@dataclass(frozen=True)
class Header:
    """The header of a `.npy` file; its data begin at byte `offset` and are `nbytes` long."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Return the bytes of the data."""
        return math.prod(self.shape) * int(self.dtype.itemsize)


@contextmanager
def faults_as_values() -> Iterator[None]:
    """Turn what readers of damaged files raise into a ValueError of one line."""
    try:
        yield
    except _FAULTS as error:
        raise ValueError(line(error)) from error
    except MemoryError as error:
        raise ValueError("it needs more memory than is available") from error


def header(file: IO[bytes]) -> Header:
    """Return the header of a `.npy` file that is open at its beginning."""
    start = file.read(8)
    if start[:6] != MAGIC or len(start) < 8:
        raise ValueError("it does not begin like a .npy file")
    version = start[6], start[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of .npy is unknown")
    width = 2 if version == (1, 0) else 4
    length = file.read(width)
    size = int.from_bytes(length, "little")
    text = file.read(size) if size <= MOST_HEADER_BYTES else b""
    if len(length) < width or not text or len(text) < size:
        raise ValueError("its header is truncated or too long")
    read = np.lib.format.read_array_header_1_0 if width == 2 else (
        np.lib.format.read_array_header_2_0)  # fmt: skip  # that of 3.0 differs in letters alone
    with faults_as_values():
        shape, fortran, dtype = read(io.BytesIO(length + text))
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"an array cannot have the shape {shape}")
    return Header(shape, dtype, fortran, len(start) + width + size)


def check_size(head: Header, size: int) -> None:
    """Refuse a file of `size` bytes whose data are not as long as its header says."""
    if head.dtype.hasobject:
        raise ValueError("it contains objects, which may be code; save it as an array of numbers")
    if head.offset + head.nbytes != size:
        raise ValueError(
            f"its header states {head.shape} of {head.dtype}, which is {head.nbytes} bytes, but "
            f"{size - head.offset} bytes follow"
        )


def npy(content: bytes) -> NDArray[Any]:
    """Return the array of a `.npy` file of plain items."""
    check_size(header(io.BytesIO(content)), len(content))
    with faults_as_values():
        array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def map_npy(path: Path) -> NDArray[Any]:
    """Return the array of a `.npy` file as a map of the file."""
    with path.open("rb") as file:
        check_size(header(file), path.stat().st_size)
    with faults_as_values():
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


class Archive:
    """A `.npz` of plain arrays whose headers are read, and whose content is not, until `read`.

    `headers` has the header of each array by name.
    """

    def __init__(self, file: BinaryIO, size: int, spare_bytes: int = SPARE_BYTES) -> None:
        """Take an open file of `size` bytes; refuse manipulated compression."""
        with faults_as_values():
            self._zip = zipfile.ZipFile(file)
            self._members = {info.filename: info for info in self._zip.infolist()}
            if len(self._members) < len(self._zip.infolist()):
                raise ValueError("two arrays have the same name")
            self.headers: Mapping[str, Header] = {
                name.removesuffix(".npy"): self._header(info)
                for name, info in self._members.items()
            }
        packed = sum(info.compress_size for info in self._members.values())
        plain = sum(info.file_size for info in self._members.values())
        if packed > size or plain > GROWTH * size + spare_bytes:
            raise ValueError(f"its {size} bytes unpack to {plain}, more than arrays of results can")

    def _header(self, info: zipfile.ZipInfo) -> Header:
        if not info.filename.endswith(".npy") or info.flag_bits & 1:
            raise ValueError(f"its member {info.filename[:80]!r} is not an array")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename[:80]!r} is compressed in a way that numpy never uses")
        with self._zip.open(info) as member:
            head = header(member)
        if head.dtype.kind not in PLAIN or head.dtype.hasobject:
            raise ValueError(
                f"{info.filename[:80]!r} contains {head.dtype} instead of plain numbers"
            )
        check_size(head, info.file_size)
        return head

    def check(self) -> None:
        """Raise ValueError where an array has another checksum than the archive states."""
        with faults_as_values():
            bad = self._zip.testzip()
        if bad is not None:
            raise ValueError(f"Bad CRC-32 for file {bad[:80]!r}")

    def read(self, name: str) -> NDArray[Any]:
        """Return one array."""
        with faults_as_values():
            content = self._zip.read(self._members[f"{name}.npy"])
            array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
        return array


def npz(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of a `.npz` file by name."""
    archive = Archive(io.BytesIO(content), len(content))
    return {name: archive.read(name) for name in archive.headers}


def check_mat(file: BinaryIO, size: int) -> None:
    """Refuse a MATLAB 5 file that unpacks, or states dimensions, beyond what arrays of data do.

    Other files than MATLAB 5 are left to their reader. `file` is read from its beginning.
    """
    file.seek(0)
    order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:128])
    left = GROWTH * size + MAT_SPARE_BYTES
    while order is not None and len(tag := file.read(8)) == 8:
        kind, length = struct.unpack(f"{order}II", tag)
        data = file.read(min(length, size))
        if kind == _PACKED:
            data = _unpacked(data, left)
            left -= len(data)
            kind = struct.unpack(f"{order}I", data[:4])[0] if len(data) > 8 else 0
            data = data[8:]
        if kind == _MATRIX:
            _check_matrix(memoryview(data), order, 0)
    file.seek(0)


_PACKED, _MATRIX, _MOST_CELLS_WITHIN = 15, 14, 16


def _unpacked(data: bytes, most: int) -> bytes:
    unpack = zlib.decompressobj()
    try:
        plain = unpack.decompress(data, most)
    except zlib.error as error:
        raise ValueError(f"it is damaged: {line(error)}") from error
    if unpack.unconsumed_tail and not unpack.eof:
        raise ValueError(f"its {len(data)} bytes unpack to more than {most}")
    return plain


def _check_matrix(element: memoryview, order: str, depth: int) -> None:
    """Refuse an array with more items than its element has bytes, and cells within cells."""
    if depth > _MOST_CELLS_WITHIN:
        raise ValueError("it is nested too deeply")
    at, number = 0, 0
    while at + 8 <= len(element):
        kind, length = struct.unpack_from(f"{order}II", element, at)
        start = at + 8
        if kind >> 16:  # a short element, its data within the tag
            kind, length, start = kind & 0xFFFF, kind >> 16, at + 4
        data = element[start : start + length]
        if number == 1:
            sides = struct.unpack_from(f"{order}{len(data) // 4}i", data)
            if min(sides, default=0) < 0 or math.prod(sides) > len(element):
                raise ValueError(f"it states more items than its {len(element)} bytes")
        if kind == _MATRIX:
            _check_matrix(data, order, depth + 1)
        at, number = (at + 8 if start == at + 4 else start + -(-length // 8) * 8), number + 1
