"""Room on the disks: the bytes that a run is going to write, refused before it begins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

FILE_BYTES = 8192  # what a small file takes besides: header, manifest, the blocks of the disk


@dataclass(frozen=True)
class Need:
    """Bytes that are going to be written below a folder."""

    folder: Path
    bytes: int
    what: str


def check_room(needs: Sequence[Need]) -> None:
    """Refuse at once what the disks have no room for."""
    disks: dict[int, list[Need]] = {}
    for need in needs:
        if need.bytes:
            check_writable(need.folder)
        disks.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
    for some in disks.values():
        folder, total = some[0].folder, sum(need.bytes for need in some)
        free = shutil.disk_usage(_existing(folder)).free
        if total > free:
            parts = ", ".join(f"{need.what} {size(need.bytes)}" for need in some if need.bytes)
            raise BenchError(
                f"the disk of {folder} has {size(free)} free, but the run would write "
                f"{size(total)} ({parts}). Free some space, or choose folders on another disk "
                "with RETRIEVAL_BENCH_CACHE and --results."
            )


def check_writable(folder: Path) -> None:
    """Refuse a folder, or the one it would be made in, that this user may not write to."""
    there = _existing(folder)
    if not os.access(there, os.W_OK | os.X_OK):
        raise BenchError(
            f"{there} is not writable, so nothing can be stored in {folder}; choose another "
            "folder: --results for records, RETRIEVAL_BENCH_CACHE for descriptors."
        )


def record(output: Path, queries: int, labelled: int, depth: int) -> Need:
    """Return about what a record takes: ranks, ground truth and a list of `depth` per query."""
    arrays = labelled * 6 * 8 + queries * depth * 3 * 8
    return Need(output, arrays + queries * 1000 + 4 * FILE_BYTES, "the record")


def free_bytes(folder: Path) -> int:
    """Return what may still be written below a folder, which need not exist yet."""
    return shutil.disk_usage(_existing(folder)).free


def size(count: float) -> str:
    """Return a number of bytes as text: 512 bytes, 4.1 kB, 8.2 GB."""
    if count < 1000:
        return f"{count:.0f} bytes"
    power = 1 if count < 999_950 else 2 if count < 999_950_000 else 3
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = Path(os.path.dirname(folder))
    return folder
