"""From a list of images to descriptors in a store: shard by shard, resumable, nothing dropped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import engine, store
from bench.canonical import plain
from bench.descriptors import Matrix
from bench.errors import BenchError, first_few
from bench.paths import cache_root
from bench.progress import Progress
from bench.types import Image, Preprocess

CODE_VERSION = 1  # of the stages from file to descriptor; part of every key
ENDS_BYTES = 1 << 16

Write = Callable[[store.Store, int, NDArray[Any]], None]
Make = Callable[[Sequence[Image], Progress], tuple[NDArray[Any], list[str]]]


class BrokenImagesError(BenchError):
    """Images that cannot be decoded; `faults` has a sentence for each."""

    def __init__(self, faults: list[str], total: int) -> None:
        """Say how many of `total` images cannot be used, and why the first few cannot."""
        self.faults = faults
        few = " ".join(faults[:5]) + (f" And {len(faults) - 5} more." if len(faults) > 5 else "")
        super().__init__(
            f"{len(faults)} of {total} images cannot be used: {few} "
            "All shards without them are kept; replace the files and run again."
        )


def check_files(folder: Path, wanted: Sequence[Image]) -> None:
    """Refuse a data set whose image files are not all there, naming the first few."""
    absent = [image.file for image in wanted if not (folder / image.path).is_file()]
    if len(absent) == len(wanted) and not folder.is_dir():
        raise BenchError(
            f"the image folder {folder} does not exist. Put the {len(wanted)} photographs there, "
            "or set RETRIEVAL_BENCH_DATA to the folder that holds the data set."
        )
    if absent:
        raise BenchError(
            f"{len(absent)} of {len(wanted)} images are missing in {folder}: {first_few(absent)}. "
            "`data verify` of the data set, with --list FILE, names all of them; --allow-partial "
            "uses those that are there."
        )


def extract(
    loaded: engine.Loaded, folder: Path, wanted: Sequence[Image], phase: str, *, force: bool = False
) -> tuple[list[Matrix], int]:
    """Return the descriptors of `wanted`, unit rows float32 in list order, and how many were there.

    What is in the store is not computed again unless `force`.
    """
    kept = open_for(loaded, folder, wanted)

    def make(part: Sequence[Image], progress: Progress) -> tuple[NDArray[np.float32], list[str]]:
        return engine.rows_of(loaded, folder, part, progress)

    done = fill(kept, kept.shards(), wanted, phase, make, store.write, force=force)
    return store.matrices(kept, phase), len(wanted) - done


def fill(
    kept: store.Store,
    shards: Iterable[int],
    wanted: Sequence[Image],
    phase: str,
    make: Make,
    write: Write,
    *,
    force: bool = False,
) -> int:
    """Make and write those of the shards that are not there; return how many images they hold.

    `make` gives the array of a shard from its images, and a sentence per image that cannot be
    decoded. Such images fail the call at its end, all of them named, after everything else is
    computed and kept.
    """
    todo = [shard for shard in shards if force or not store.has(kept, shard)]
    if force:
        for shard in todo:
            kept.path(shard).with_suffix(".json").unlink(missing_ok=True)
    rows_todo = sum(end - first for first, end in map(kept.span, todo))
    broken: list[str] = []
    with Progress(phase, rows_todo) as progress:
        for shard in store.claim(kept, todo):
            first, end = kept.span(shard)
            rows, faults = make(wanted[first:end], progress)
            broken += faults
            if not faults:
                write(kept, shard, rows)
    if broken:
        raise BrokenImagesError(broken, len(wanted))
    return rows_todo


def open_for(loaded: engine.Loaded, folder: Path, wanted: Sequence[Image]) -> store.Store:
    """Return the store that belongs to these images under this method."""
    key = key_of(loaded, folder, wanted)
    return store.open_store(cache_root(), key, len(wanted), loaded.info.dim)


def key_of(loaded: engine.Loaded, folder: Path, wanted: Sequence[Image]) -> dict[str, Any]:
    """Return everything that determines the descriptors of these images under this method."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        prints = list(pool.map(_fingerprint, [folder / image.path for image in wanted]))
    info = loaded.info
    return {
        "code": CODE_VERSION,
        "shard_rows": store.SHARD_ROWS,
        "images": [
            [image.file, image.box, mark] for image, mark in zip(wanted, prints, strict=True)
        ],
        "method": {
            "name": info.name,
            "variant": info.variant,
            "version": info.version,
            "dim": info.dim,
            "config": dict(info.config),
            "weights_sha256": info.weights.get("sha256"),
        },
        "preprocess": _rule_that_matters(loaded.rule, wanted),
        "precision": "float32",
        "device": loaded.device.split(":")[0],
    }


def _rule_that_matters(rule: Preprocess, wanted: Sequence[Image]) -> dict[str, Any]:
    """Return the rule as the key keeps it: without boxes, what is said of boxes changes nothing."""
    fields: dict[str, Any] = plain(rule)
    if all(image.box is None for image in wanted):
        del fields["query_cap"], fields["crop_rounding"]
    return fields


def _fingerprint(path: Path) -> str:
    """Return a hash of a file's size, first and last 64 KiB: content, not dates, at little cost."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        digest = hashlib.sha256(f"{size} ".encode() + file.read(ENDS_BYTES))
        file.seek(max(0, size - ENDS_BYTES))
        digest.update(file.read(ENDS_BYTES))
    return digest.hexdigest()[:32]
