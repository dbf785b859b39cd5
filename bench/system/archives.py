"""Unpacking untrusted archives: plain files inside the folder, or no file at all.

Members are written to a folder of their own beside the target, and moved to the target when the
whole archive was read and its checksums agreed. Links, devices, paths that lead outside, and
archives that grow beyond what photographs can be, are refused; nothing of them is kept.
"""

from __future__ import annotations

import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from bench.errors import BenchError, NoRoomError

OURS = ("own-copy.json",)  # beside data sets; all other notes are hidden (bench.acquire)
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
# Photographs hardly shrink and ground truth shrinks tenfold; a bomb grows a thousandfold.
MOST_GROWTH = 20
SPARE_BYTES = 64 << 20
BYTES_PER_FILE = 200  # of the packed archive, at least, but for
SPARE_FILES = 2000
BLOCK_BYTES = 1 << 20
KEEP_FREE_BYTES = 64 << 20


@dataclass(frozen=True)
class Unpacked:
    """The content of an archive: number and bytes of its files, and the names of empty ones.

    Those `left_out` are hidden files, and files with names of our own notes.
    """

    files: int
    bytes: int
    empty: tuple[str, ...]
    left_out: tuple[str, ...] = ()


Member = tuple[str, int, Callable[[], IO[bytes]]]  # path inside, size, how to open it


def is_archive(path: Path) -> bool:
    """Tell by its name whether a file is an archive that can be unpacked."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(
    archive: Path, target: Path, advance: Callable[[int], None] = lambda _: None
) -> Unpacked:
    """Unpack `archive` into the folder `target`: all of its files, or none.

    Files of the same name in `target` are replaced. `advance` is called with the packed bytes read
    since the last call. Where the archive is refused or damaged, the sentence says which member.
    """
    work = target / f".unpacking-{archive.name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        with archive.open("rb") as packed:
            counted = _Counted(packed, advance)
            done = _write_all(_members(archive, counted), archive, work)
        _move_all(work, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(archive, work) from error
        if not isinstance(error, gzip.BadGzipFile):
            raise
        raise _damaged(archive, error) from error
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        raise _damaged(archive, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done


def _write_all(members: Iterator[Member], archive: Path, work: Path) -> Unpacked:
    """Write the members below `work`, within the limits of their number and declared sizes."""
    packed = archive.stat().st_size
    most_bytes = MOST_GROWTH * packed + SPARE_BYTES
    most_files = packed // BYTES_PER_FILE + SPARE_FILES
    files, total, empty, left_out = 0, 0, list[str](), list[str]()
    for name, size, opened in members:
        path = _inside(name, archive)
        files, total = files + 1, total + size
        if files > most_files or total > most_bytes:
            found = f"{most_files} files" if files > most_files else f"{most_bytes} bytes"
            raise BenchError(
                f"{archive} ({packed} bytes) unpacks to more than {found}, which archives of "
                "photographs never do; no file was unpacked."
            )
        free = shutil.disk_usage(work).free
        if free < size + KEEP_FREE_BYTES:
            raise _no_room(archive, work)
        if path.name in OURS or any(part.startswith(".") for part in path.parts):
            left_out.append(name)
            continue
        if size == 0:
            empty.append(name)
        _write(work / path, opened, size)
    if files == len(left_out):
        raise BenchError(f"{archive} contains no photographs; no file was unpacked.")
    return Unpacked(files - len(left_out), total, tuple(empty), tuple(left_out))


def _damaged(archive: Path, error: Exception) -> BenchError:
    fault = " ".join(str(error).split())
    return BenchError(
        f"{archive} is damaged or not an archive ({fault}); no file was unpacked. Download it "
        "again."
    )


def _no_room(archive: Path, work: Path) -> NoRoomError:
    return NoRoomError(
        f"the disk of {work.parent} has no room for the files of {archive.name}; no file was "
        "unpacked, and the archive is kept. Free some space and run the same command again."
    )


def _write(path: Path, opened: Callable[[], IO[bytes]], size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    left = size
    with opened() as source, path.open("wb") as file:
        while block := source.read(min(BLOCK_BYTES, left + 1)):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{path.name} is longer than declared")
            file.write(block)
    if left:
        raise EOFError(f"{path.name} is shorter than declared")


def _members(archive: Path, packed: _Counted) -> Iterator[Member]:
    """Yield the plain files of an archive; refuse whatever is neither file nor folder."""
    start = packed.peek()
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        yield from _zip_members(archive, packed)
    else:
        yield from _tar_members(archive, packed, start.startswith(b"\x1f\x8b"))


def _tar_members(archive: Path, packed: _Counted, zipped: bool) -> Iterator[Member]:
    most = MOST_GROWTH * archive.stat().st_size + 2 * SPARE_BYTES
    source: Any = gzip.GzipFile(fileobj=packed, mode="rb") if zipped else packed
    plain: Any = _Bounded(source, most, archive)
    with tarfile.open(fileobj=plain, mode="r|") as tar:  # a stream: nothing is read twice
        for member in tar:
            if member.isdir():
                _inside(member.name, archive, folder=True)
                continue
            if not member.isreg() or member.issparse():
                kind = "link" if member.islnk() or member.issym() else "device or special file"
                raise _refused(archive, member.name, f"is a {kind}")
            yield member.name, member.size, partial(_content, tar, member)
    while plain.read(BLOCK_BYTES):  # to the end, where gzip keeps its checksum
        pass


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None  # only plain files come here
    return content


def _zip_members(archive: Path, packed: _Counted) -> Iterator[Member]:
    with zipfile.ZipFile(cast(Any, packed)) as zipped:
        for member in zipped.infolist():
            mode = member.external_attr >> 16
            if member.is_dir():
                _inside(member.filename, archive, folder=True)
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                kind = "link" if stat.S_ISLNK(mode) else "device or special file"
                raise _refused(archive, member.filename, f"is a {kind}")
            if member.flag_bits & 1:
                raise _refused(archive, member.filename, "is encrypted")
            yield member.filename, member.file_size, partial(zipped.open, member)


def _inside(name: str, archive: Path, *, folder: bool = False) -> Path:
    """Return the path of a member below the target; refuse one that leads elsewhere."""
    path = PurePosixPath(name)
    odd = "\\" in name or name[1:2] == ":" or any(ord(letter) < 32 for letter in name)
    if path.is_absolute() or ".." in path.parts or odd or (not path.parts and not folder):
        raise _refused(archive, name, "points outside the folder or has an invalid name")
    return Path(*path.parts)


def _refused(archive: Path, name: str, fault: str) -> BenchError:
    return BenchError(
        f"{archive} is refused: its member {name!r} {fault}, which archives of photographs never "
        "need; no file was unpacked."
    )


def _move_all(work: Path, target: Path) -> None:
    """Give every unpacked file its place; each appears whole."""
    for path in sorted(work.rglob("*")):
        place = target / path.relative_to(work)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        else:
            path.replace(place)


class _Counted:
    """A file whose reading is reported, as far as it got."""

    def __init__(self, file: BinaryIO, advance: Callable[[int], None]) -> None:
        self.file, self.advance, self.furthest = file, advance, 0

    def peek(self) -> bytes:
        start = self.file.read(4)
        self.file.seek(0)
        return start

    def read(self, size: int = -1) -> bytes:
        block = self.file.read(size)
        place = self.file.tell()
        if place > self.furthest:
            self.advance(place - self.furthest)
            self.furthest = place
        return block

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True


class _Bounded:
    """A stream that gives up when it has given more than `most` bytes."""

    def __init__(self, file: Any, most: int, archive: Path) -> None:
        self.file, self.left, self.archive = file, most, archive

    def read(self, size: int) -> bytes:
        block: bytes = self.file.read(size)
        self.left -= len(block)
        if self.left < 0:
            raise BenchError(
                f"{self.archive} unpacks to more than {MOST_GROWTH} times its size, which "
                "archives of photographs never do; no file was unpacked."
            )
        return block
