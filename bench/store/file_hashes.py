"""The sha256 of files, remembered in the cache so that a long list is not read at every start.

`<cache>/fingerprints.sqlite` keeps for a path its size, dates and inode and the sha256 they went
with. A file of which any of these differs is read again; so a change in the middle of a file is
seen even if its date was set back, because no program can set the date at which its state changed.
Losing the table, or a damaged one, costs reading the files again and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.system.progress import Progress

RECENT_S = 2.0  # a file changed so lately may change again within the same date
AT_ONCE = 1024
TABLE = (
    "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, "
    "ctime_ns INTEGER, inode INTEGER, sha256 TEXT) WITHOUT ROWID"
)

State = tuple[int, int, int, int]
Row = tuple[bytes, int, int, int, int, str]


def of_files(paths: Sequence[Path], cache: Path) -> list[str | None]:
    """Return the sha256 of each file in order, None for what is not a file that can be read."""
    prints: list[str | None] = []
    with (
        _table(cache / "fingerprints.sqlite") as table,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
        Progress("check image files", len(paths), "files", brief=True) as progress,
    ):
        for low in range(0, len(paths), AT_ONCE):
            some = paths[low : low + AT_ONCE]
            slices = [some[at : at + 64] for at in range(0, len(some), 64)]
            now = itertools.chain.from_iterable(pool.map(states, slices))
            known = [
                None if state is None else table.get(path, state)
                for path, state in zip(some, now, strict=True)
            ]
            fresh = pool.map(_read, [p for p, k in zip(some, known, strict=True) if k is None])
            rows = []
            for digest in known:
                if digest is None:
                    digest, row = next(fresh)
                    if row is not None:
                        rows.append(row)
                prints.append(digest)
                progress.advance()
            table.keep(rows)
    return prints


def whole(path: Path) -> bool:
    """Return whether the table at `path` can be read to its end; one that is busy counts."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as table:
            return bool(table.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.OperationalError:
        return True
    except sqlite3.Error:
        return False


class _Table:
    """The table; whatever goes wrong with it, a run goes on without."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self.connection = connection
        self.damaged = False

    def get(self, path: Path, state: State) -> str | None:
        """Return the sha256 that the file had when it was in this state."""
        if self.connection is None:
            return None
        question = "SELECT size, mtime_ns, ctime_ns, inode, sha256 FROM files WHERE path = ?"
        try:
            found = self.connection.execute(question, (_name(path),)).fetchone()
        except sqlite3.Error as error:
            self.give_up(error)
            return None
        known = found is not None and tuple(found[:4]) == state and len(str(found[4])) == 64
        return str(found[4]) if known else None

    def keep(self, rows: list[Row]) -> None:
        """Write what has been found."""
        if self.connection is None or not rows:
            return
        try:
            with self.connection:
                self.connection.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            self.give_up(error)

    def give_up(self, error: sqlite3.Error) -> None:
        """Stop using the table; it is damaged unless it is only busy, or the disk is full."""
        self.damaged = not isinstance(error, sqlite3.OperationalError)
        if self.connection is not None:
            self.connection.close()
        self.connection = None


@contextlib.contextmanager
def _table(path: Path) -> Iterator[_Table]:
    table = _open(path)
    if table.damaged:
        path.unlink(missing_ok=True)
        table = _open(path)
    try:
        yield table
    finally:
        if table.connection is not None:
            table.connection.close()
        if table.damaged:
            with contextlib.suppress(OSError):
                path.unlink()


def _open(path: Path) -> _Table:
    table = _Table(None)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.connection = sqlite3.connect(path, timeout=10)
        with table.connection as connection:
            connection.execute("PRAGMA synchronous = OFF")  # what a power cut takes is found again
            connection.execute(TABLE)
            connection.execute("SELECT size, mtime_ns, ctime_ns, inode, sha256 FROM files LIMIT 1")
    except sqlite3.Error as error:
        table.give_up(error)
    except OSError:
        pass
    return table


def _name(path: Path) -> bytes:
    return os.fsencode(os.path.abspath(path))


def states(paths: Sequence[Path]) -> list[State | None]:
    """Return size, dates and inode of every file, None for other paths; equal means unchanged."""
    return [_state(path) for path in paths]


def _state(path: Path) -> State | None:
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(about.st_mode):
        return None
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def _read(path: Path) -> tuple[str | None, Row | None]:
    """Return the sha256 of a file, and the row to remember it by if the file is at rest."""
    before, now = _state(path), time.time()
    if before is None:
        return None, None
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None, None
    if before != _state(path) or now - max(before[1:3]) / 1e9 < RECENT_S:
        return digest, None
    return digest, (_name(path), *before, digest)
