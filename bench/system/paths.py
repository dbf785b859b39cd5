"""Where things are, and how a file is written: complete, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bench.errors import BenchError


def data_root() -> Path:
    """Return the folder of the data sets: RETRIEVAL_BENCH_DATA, or ~/retrieval-bench/data."""
    folder = os.environ.get("RETRIEVAL_BENCH_DATA")
    return expanded(Path(folder)).absolute() if folder else _home() / "retrieval-bench" / "data"


def cache_root() -> Path:
    """Return the folder of what can be computed again: RETRIEVAL_BENCH_CACHE, or the user's cache.

    Without the variable it is `retrieval-bench` below XDG_CACHE_HOME or ~/.cache.
    """
    folder = os.environ.get("RETRIEVAL_BENCH_CACHE")
    if folder:
        return expanded(Path(folder)).absolute()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else _home() / ".cache") / "retrieval-bench"


def expanded(path: Path) -> Path:
    """Return a path with ~ and ~user replaced; BenchError where that user has no home here."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise BenchError(
            f"{path} names a user without a home folder; write an absolute path."
        ) from None


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise BenchError(
            "this user has no home folder; set RETRIEVAL_BENCH_CACHE to a folder for derived "
            "files, and RETRIEVAL_BENCH_DATA to the folder of the data sets."
        ) from None


@contextlib.contextmanager
def complete_or_absent(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for writing so that it appears whole at the end of the block, or not at all.

    The bytes go to a temporary name in the same folder, reach the disk, and are then renamed. What
    killed writers of the same file left is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path.parent, path.name)
    try:
        temporary, file = _temporary(path)
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.filename is None:  # a write that fails does not say to which file
            error.filename = str(path)
        raise


def _temporary(path: Path) -> tuple[Path, BinaryIO]:
    """Open a new temporary file for `path`; its lock marks it as being written."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        file = temporary.open("xb")
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_SH)
        if temporary.exists():
            return temporary, file
        file.close()  # taken for a leftover before it was locked


def clear_leftovers(folder: Path, name: str = "*") -> None:
    """Remove temporary files of a file, or of all in a folder, without a living writer."""
    pattern = name if name == "*" else glob.escape(name)
    for left in folder.glob(f".{pattern}.{'[0-9a-f]' * 8}.tmp"):
        with unheld(left) as free:
            if free:
                left.unlink(missing_ok=True)


@contextlib.contextmanager
def unheld(temporary: Path) -> Iterator[bool]:
    """Lock a temporary file against writers; yields False if another process writes it."""
    try:
        file = temporary.open("rb")
    except OSError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, complete or absent."""
    with complete_or_absent(path) as file:
        file.write(content)
