"""Local features of images, kept on disk: the shards of `bench.store`, a record per feature.

`<cache>/local/<key>/shard-00012.npy` is an array of records (image, point, attention, scale,
descriptor), sorted by image. Only shards that hold a wanted image are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import engine, extract, local, store
from bench.canonical import plain
from bench.engine import Loaded
from bench.paths import cache_root
from bench.progress import Progress
from bench.rerank import Precision
from bench.types import Image, LocalFeatures, LocalRule, Rows

PER_SHARD = 32


@dataclass(frozen=True)
class Kept:
    """Local features of an image list: `read(row)` gives those of one image.

    `features` and `bytes` are means over the images of the shards that were looked at.
    """

    read: Callable[[int], LocalFeatures]
    features: float
    bytes: float


def extract_local(
    loaded: Loaded,
    folder: Path,
    wanted: Sequence[Image],
    rows: Rows,
    rule: LocalRule,
    precision: Precision,
    phase: str,
    *,
    force: bool = False,
) -> Kept:
    """Return the local features of the images `rows` of `wanted`; what is kept is not made again.

    Images that cannot be decoded fail the call at its end, as in `extract.extract`.
    """
    kept = open_for(loaded, folder, wanted, rule, precision)
    shards = np.unique(rows // PER_SHARD).tolist()
    kind = record_type(rule.dim, precision)

    def make(part: Sequence[Image], progress: Progress) -> tuple[NDArray[Any], list[str]]:
        return _describe(loaded, folder, part, rule, kind, progress)

    extract.fill(kept, shards, wanted, phase, make, store.put, force=force)
    images = sum(end - first for first, end in map(kept.span, shards))
    count = sum(len(_open(kept, shard)) for shard in shards)
    return Kept(_reader(kept), count / images, count * kind.itemsize / images)


def open_for(
    loaded: Loaded, folder: Path, wanted: Sequence[Image], rule: LocalRule, precision: Precision
) -> store.Store:
    """Return the store of the local features of these images under this method."""
    key = extract.key_of(loaded, folder, wanted) | {
        "local": plain(rule),
        "kept_as": precision,
        "shard_rows": PER_SHARD,
    }
    return store.open_store(cache_root(), key, len(wanted), rule.dim, "local", PER_SHARD)


def record_type(dim: int, precision: Precision) -> np.dtype[Any]:
    """Return the type of one feature on disk; `image` counts within the shard."""
    return np.dtype(
        [
            ("image", np.int32),
            ("point", np.float32, (2,)),
            ("attention", np.float32),
            ("scale", np.float32),
            ("descriptor", precision, (dim,)),
        ]
    )


def to_records(features: Sequence[LocalFeatures], kind: np.dtype[Any]) -> NDArray[Any]:
    """Return the features of the images of a shard as one array of records."""
    counts = [len(one.points) for one in features]
    records = np.empty(sum(counts), dtype=kind)
    records["image"] = np.repeat(np.arange(len(counts)), counts)
    if features:
        records["point"] = np.concatenate([one.points for one in features])
        records["attention"] = np.concatenate([one.attention for one in features])
        records["scale"] = np.concatenate([one.scale for one in features])
        records["descriptor"] = np.concatenate([one.descriptors for one in features])
    return records


def _reader(kept: store.Store) -> Callable[[int], LocalFeatures]:
    """Return a function from row to features; it opens each shard once, and may be shared."""
    opened: dict[int, tuple[NDArray[Any], Rows]] = {}

    def read(row: int) -> LocalFeatures:
        shard, at = divmod(row, kept.per_shard)
        if shard not in opened:
            records = _open(kept, shard)
            begins = np.searchsorted(records["image"], np.arange(kept.per_shard + 1))
            opened[shard] = records, begins
        records, begins = opened[shard]
        mine = np.asarray(records[begins[at] : begins[at + 1]])
        return LocalFeatures(
            *(
                np.ascontiguousarray(mine[name])
                for name in ("point", "attention", "scale", "descriptor")
            )
        )

    return read


def _open(kept: store.Store, shard: int) -> NDArray[Any]:
    records: NDArray[Any] = np.load(kept.path(shard), mmap_mode="r", allow_pickle=False)
    return records


def _describe(
    loaded: Loaded,
    folder: Path,
    wanted: Sequence[Image],
    rule: LocalRule,
    kind: np.dtype[Any],
    progress: Progress,
) -> tuple[NDArray[Any], list[str]]:
    """Return the records of one shard, and a sentence per image that could not be decoded."""
    features: dict[int, LocalFeatures] = {}
    faults: list[str] = []
    method: Any = loaded.method

    def work(batch: Any) -> list[LocalFeatures]:
        return local.describe_pyramid(method.local, batch, loaded.rule, rule)

    for positions, found in engine.results(loaded, folder, wanted, progress, faults, work):
        features |= dict(zip(positions, found, strict=True))
    if faults:
        return np.empty(0, dtype=kind), faults
    return to_records([features[i] for i in range(len(wanted))], kind), []
