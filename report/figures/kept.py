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
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache, lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib as mpl

import bench
from bench.errors import BenchError
from bench.records.rows import Run
from bench.system import interrupt
from bench.system.hashing import sha256_json
from bench.system.paths import cache_root, write_bytes

KIND = "figures"
MANY_RUNS = 1000  # from which pictures are drawn in processes
ABOUT = "about.json"


@dataclass(frozen=True)
class Picture:
    """A picture in the formats that it has, what a reader who cannot see it is told, a caption."""

    stem: str
    files: Mapping[str, bytes]
    alternative: str
    caption: str


@dataclass(frozen=True)
class Job:
    """Pictures to draw: they follow from the runs, their records and `about` (plain values) alone.

    The caller sees to that. `make` draws them.
    """

    runs: Sequence[Run]
    about: Any
    make: Callable[[], Sequence[Picture]]

    def path(self) -> Path:
        """Return the file of the cache; raises BenchError where there can be no cache."""
        key = sha256_json([_code(), mpl.__version__, [*map(_told, self.runs)], self.about])
        return cache_root() / KIND / f"{key[:32]}.zip"


def pictures(job: Job) -> list[Picture]:
    """Return the pictures of a job, from the cache where it has them."""
    try:
        path = job.path()
    except BenchError:  # no user's folder
        return list(job.make())
    kept = _read(path)
    return _made(job, path) if kept is None else kept


def ahead(jobs: Sequence[Job]) -> None:
    """Draw what the cache lacks on all cores, so that `pictures` finds it; few are left to it.

    A process begins in a second, which so many runs take longer to draw.
    """
    try:
        lacking = [(job, path) for job in jobs if not (path := job.path()).is_file()]
    except BenchError:
        return
    workers = min(os.cpu_count() or 1, len(lacking))
    if workers < 2 or sum(len(job.runs) for job, _ in lacking) < MANY_RUNS:
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), interrupt.follow_parent)
    # What a killed process leaves is drawn by `pictures`.
    with pool, contextlib.suppress(BrokenProcessPool):
        wait([pool.submit(_made, job, path) for job, path in lacking])


def _made(job: Job, path: Path) -> list[Picture]:
    """Draw the pictures of a job, and put them into the cache."""
    made = list(job.make())
    with contextlib.suppress(OSError):
        write_bytes(path, _packed(made))
    return made


@lru_cache(maxsize=10_000)
def _told(run: Run) -> str:
    return repr(run)


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
