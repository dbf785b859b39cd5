"""Arrays made from stored descriptors, kept on disk: codes, fitted parameters, transformed rows.

They are files of `<cache>/<kind>/<key>/`: `part-00012.npy` holds rows, in order, and NAME.npy an
array besides. The key is made of everything that determines them, and `key.json` says it in clear.
A file appears complete or not at all, its sha256 beside it, so that what is whole is used again and
what is damaged is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bench.store import shards
from bench.store.matrix import Decode, Matrix, content_sha256
from bench.system.hashing import sha256_json
from bench.system.paths import cache_root, write_bytes
from bench.system.progress import Progress

ROWS_PER_FILE = 8192
_FILE = r"key\.json|(part-\d{5,}|[a-z][a-z0-9_]{0,39})\.(npy|sha256)"
_OURS = re.compile(rf"used|lock|({_FILE})|\.({_FILE})\.[0-9a-f]{{8}}\.tmp")


@dataclass(frozen=True)
class Folder:
    """A folder of arrays of one key; `force` recomputes existing arrays."""

    path: Path
    force: bool = False

    def lock(self) -> FileLock:
        """Return what a process takes while it writes here."""
        return FileLock(self.path / "lock")

    def array(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return an array by name, computed if it is absent or incomplete."""
        path = self.path / f"{name}.npy"
        kept = None if self.force else whole(path)
        if kept is None:
            kept = make()
            put(path, kept)
        return kept

    def rows(
        self, count: int, make: Callable[[int, int], NDArray[Any]], phase: str
    ) -> list[tuple[Path, int]]:
        """Write the parts that are not there or damaged; return path and rows of all, in order.

        `make` gets first row and end of a part.
        """
        files = []
        with Progress(phase, count, "rows") as progress:
            for number, low in enumerate(range(0, count, ROWS_PER_FILE)):
                path = self.path / part_name(number)
                high = min(low + ROWS_PER_FILE, count)
                if self.force or whole(path) is None:
                    put(path, make(low, high))
                files.append((path, high - low))
                progress.advance(high - low)
        return files


def open_folder(kind: str, key: Mapping[str, Any], *, force: bool = False) -> Folder:
    """Return the folder of a key, which is not pruned until the end of `shards.in_use`."""
    folder = cache_root() / kind / name_of(key)
    shards.use(folder)
    sidecar = folder / "key.json"
    if not sidecar.is_file():
        write_bytes(sidecar, f"{json.dumps(key, indent=1, sort_keys=True)}\n".encode())
    return Folder(folder, force)


def name_of(key: Mapping[str, Any]) -> str:
    """Return the name of the folder of a key, which keys of derived rows contain."""
    return sha256_json(key)[:32]


def base_of(parts: Sequence[Matrix]) -> list[list[Any]]:
    """Return what rows are, for a key: [their store's key or a hash of their content, count]."""
    base: list[list[Any]] = []
    for part in parts:
        if part.key is not None and base and base[-1][0] == part.key:
            base[-1][1] += part.shape[0]
        else:
            base.append([part.key or content_sha256(part), part.shape[0]])
    return base


def rows_of(key: Mapping[str, Any]) -> int:
    """Return how many rows the arrays of a key are of."""
    return sum(int(rows) for _, rows in key["base"])


def matrices(
    files: Sequence[tuple[Path, int]],
    dim: int,
    label: str,
    decode: Decode | None = None,
    key: str | None = None,
) -> list[Matrix]:
    """Return the parts of `Folder.rows` as rows of descriptors."""
    return [Matrix(label, (rows, dim), path=path, decode=decode, key=key) for path, rows in files]


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05d}.npy"


def put(path: Path, array: NDArray[Any]) -> None:
    """Write an array, complete or absent; its checksum last."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    content = buffer.getvalue()
    write_bytes(path, content)
    write_bytes(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())


def whole(path: Path) -> NDArray[Any] | None:
    """Return the array of a file that has the bytes it was written with, else None."""
    try:
        content = path.read_bytes()
        expected = path.with_suffix(".sha256").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    if hashlib.sha256(content).hexdigest() != expected:
        return None
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def damaged(
    folder: Path, names: Sequence[str], advance: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """Yield the arrays of a folder that have not the bytes they were written with."""
    for name in names:
        path = folder / name
        if path.exists() or path.with_suffix(".sha256").exists():
            kept = whole(path)
            advance()
            if kept is None and not _in_work(folder, path):
                yield path


def _in_work(folder: Path, path: Path) -> bool:
    """Return whether a process is writing arrays, or has just written this one."""
    try:
        with FileLock(folder / "lock", timeout=0):
            return whole(path) is not None
    except Timeout:
        return True


def is_ours(path: Path) -> bool:
    """Return whether a file in a folder has a name that is given here."""
    return _OURS.fullmatch(path.name) is not None
