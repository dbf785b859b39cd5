"""Pictures kept in the cache, so that a report draws those alone whose records have changed.

`<cache>/figures/<key>.zip` holds the pictures of one part of the report. The key is the hash of all
that they are drawn from: the records, the code of report and records, and matplotlib's version.
Losing or damaging a file costs drawing again and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl

import bench
from bench.errors import BenchError
from bench.records.rows import Run
from bench.system.hashing import sha256_json
from bench.system.paths import cache_root, write_bytes

KIND = "figures"
ABOUT = "about.json"


@dataclass(frozen=True)
class Picture:
    """A picture in the formats that it has, what a reader who cannot see it is told, a caption."""

    stem: str
    files: Mapping[str, bytes]
    alternative: str
    caption: str


def pictures(
    runs: Sequence[Run], about: Any, make: Callable[[], Sequence[Picture]]
) -> list[Picture]:
    """Return the pictures that `make` draws, or those of the cache where it would draw the same.

    They follow from the runs, their records and `about` (plain values) alone; the caller sees to
    that.
    """
    try:
        key = sha256_json([_code(), mpl.__version__, [repr(run) for run in runs], about])
        path = cache_root() / KIND / f"{key[:32]}.zip"
    except BenchError:  # no user's folder
        return list(make())
    kept = _read(path)
    if kept is None:
        kept = list(make())
        with contextlib.suppress(OSError):
            write_bytes(path, _packed(kept))
    return kept


@cache
def _code() -> str:
    """Return the hash of the code that makes pictures from records."""
    folders = (Path(__file__).parents[1], Path(bench.__file__).parent / "records",
               Path(bench.__file__).parent / "scoring")  # fmt: skip
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return sha256_json([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])


def _packed(made: Sequence[Picture]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        about = [
            [entry.stem, entry.alternative, entry.caption, list(entry.files)] for entry in made
        ]
        archive.writestr(ABOUT, json.dumps(about))
        for number, entry in enumerate(made):
            for kind, data in entry.files.items():
                archive.writestr(f"{number}.{kind}", data)
    return content.getvalue()


def _read(path: Path) -> list[Picture] | None:
    """Return the content of a file; None if it is absent or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:  # a reader checks the CRC of what it reads
            about = json.loads(archive.read(ABOUT))
            return [
                Picture(stem, {kind: archive.read(f"{number}.{kind}") for kind in kinds},
                        alternative, caption)
                for number, (stem, alternative, caption, kinds) in enumerate(about)
            ]  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile, EOFError):
        return None
