"""The sha256 of a large file in a file beside it, `NAME.sha256`, so that a flipped bit is found.

A file that is replaced has two lines beside it while the new one takes its place: whenever the
writer is killed, the file there is one of the two.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from bench.system.paths import write_bytes


def beside(path: Path) -> Path:
    """Return the path of the checksum of a file."""
    return path.with_name(f"{path.name}.sha256")


def of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(path: Path, digest: str) -> None:
    """Write the checksum that `path` is about to have, beside the one that it has."""
    before = _stated(path)[-1:]
    lines = [f"{line}\n" for line in dict.fromkeys([*before, digest])]
    write_bytes(beside(path), "".join(lines).encode("ascii"))


def right(path: Path) -> bool | None:
    """Tell whether a file has the bytes it was written with; None where no checksum is beside it.

    Raises OSError where the file cannot be read.
    """
    stated = _stated(path)
    return of(path) in stated if stated else None


def _stated(path: Path) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return beside(path).read_text(encoding="ascii", errors="replace").split() or [""]
    return []
