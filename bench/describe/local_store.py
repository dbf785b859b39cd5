"""Local features of images, kept on disk: the shards of `bench.store.shards`, a record per feature.

`<cache>/local/<key>/shard-00012.npy` is an array of records (image, point, attention, scale,
descriptor), sorted by image. Only shards that hold a wanted image are made.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.describe import engine, extract
from bench.describe.engine import Loaded
from bench.errors import BenchError
from bench.store import room, shards
from bench.system import identity as identities
from bench.system.hashing import plain
from bench.system.notes import note
from bench.system.paths import cache_root
from bench.system.progress import Progress
from bench.types import Image, LocalFeatures, LocalRule, Precision, Rows

PER_SHARD = 32
NO_FEATURES = "has no local features"
# Of a rule; with others the features are as before.
OF_MATCHING = ("match_distance", "mutual", "upright", "least_inliers", "inlier_weight")


@dataclass(frozen=True)
class Kept:
    """Local features of an image list: `read(row)` gives those of one image.

    `features` and `bytes` are means over the images of the shards that were looked at.
    """

    read: Callable[[int], LocalFeatures]
    features: float
    bytes: float


def extract_local(  # noqa: PLR0913
    loaded: Loaded,
    folder: Path,
    wanted: Sequence[Image],
    rows: Rows,
    rule: LocalRule,
    precision: Precision,
    phase: str,
    *,
    force: bool = False,
    missing: Container[int] | None = None,
    by: extract.Doer | None = None,
) -> Kept:
    """Return the local features of the images `rows` of `wanted`; stored ones are reused.

    Images that cannot be decoded fail the call at its end, as in `extract.extract`; those of
    `missing`, the rows that have no global descriptor either, have no features, and those of which
    the method makes NaN are named and have none. `by` is that of `extract.fill`.
    """
    kind = record_type(rule.dim, precision)
    job = prepare(loaded, folder, wanted, rows, rule, precision, phase, missing is not None, force)
    kept = job.work.store
    need = job.need(rule.max_features * kind.itemsize)
    room.check_room([replace(need, what=f"{phase}, at most")])
    extract.fill(job, by)
    wanted_shards = _shards_of(rows)
    for shard in wanted_shards:
        manifest = shards.manifest(kept, shard)
        for at, why in (manifest["missing"] if manifest else {}).items():
            if missing is not None and f" {NO_FEATURES}: " in why:
                note(f"{why} It is compared without local features.")
            elif missing is None or kept.span(shard)[0] + at not in missing:
                raise BenchError(
                    f"an image changed during the run: {why} Run the same command again."
                )
    images = sum(end - first for first, end in map(kept.span, wanted_shards))
    count = sum(len(_open(kept, shard)) for shard in wanted_shards)
    read = _reader(kept, missing or (), kind)
    return Kept(read, count / images, count * kind.itemsize / images)


def prepare(  # noqa: PLR0913, PLR0917
    loaded: Loaded,
    folder: Path,
    wanted: Sequence[Image],
    rows: Rows,
    rule: LocalRule,
    precision: Precision,
    phase: str,
    allow_missing: bool,
    force: bool,
) -> extract.Job:
    """Return the work that is left for the features of the images `rows`; nothing is done."""
    listed = extract.look_at(folder, wanted)
    key = extract.key_of(loaded, listed) | identities.elided(
        {
            "local": {key: value for key, value in plain(rule).items() if key not in OF_MATCHING},
            "kept_as": precision,
            "shard_rows": PER_SHARD,
        }
    )
    kept = shards.open_store(cache_root(), key, len(wanted), rule.dim, "local", PER_SHARD)
    make = partial(_describe, rule=rule, kind=record_type(rule.dim, precision))
    work = extract.Work(kept, loaded, listed, make, shards.put, allow_missing)
    return extract.job_of(phase, work, key, _shards_of(rows), force=force)


def _shards_of(rows: Rows) -> list[int]:
    return [int(shard) for shard in np.unique(rows // PER_SHARD)]


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
    counts = [len(image.points) for image in features]
    records = np.empty(sum(counts), dtype=kind)
    records["image"] = np.repeat(np.arange(len(counts)), counts)
    if features:
        records["point"] = np.concatenate([image.points for image in features])
        records["attention"] = np.concatenate([image.attention for image in features])
        records["scale"] = np.concatenate([image.scale for image in features])
        records["descriptor"] = np.concatenate([image.descriptors for image in features])
    return records


def _reader(
    kept: shards.Store, missing: Container[int], kind: np.dtype[Any]
) -> Callable[[int], LocalFeatures]:
    """Return a function from row to features; it opens each shard once, and may be shared."""
    opened: dict[int, tuple[NDArray[Any], Rows]] = {}

    def read(row: int) -> LocalFeatures:
        shard, at = divmod(row, kept.per_shard)
        if row in missing:
            return _features(np.empty(0, dtype=kind))
        if shard not in opened:
            records = _open(kept, shard)
            begins = np.searchsorted(records["image"], np.arange(kept.per_shard + 1))
            opened[shard] = records, begins
        records, begins = opened[shard]
        return _features(np.asarray(records[begins[at] : begins[at + 1]]))

    return read


def _features(records: NDArray[Any]) -> LocalFeatures:
    names = ("point", "attention", "scale", "descriptor")
    return LocalFeatures(*(np.ascontiguousarray(records[name]) for name in names))


def _open(kept: shards.Store, shard: int) -> NDArray[Any]:
    records: NDArray[Any] = np.load(kept.path(shard), mmap_mode="r", allow_pickle=False)
    return records


def _describe(
    loaded: Loaded,
    folder: Path,
    wanted: Sequence[Image],
    progress: Progress,
    *,
    rule: LocalRule,
    kind: np.dtype[Any],
) -> tuple[NDArray[Any], dict[int, str]]:
    """Return the records of one shard, and a sentence per position that could not be decoded."""
    features: dict[int, LocalFeatures] = {}
    faults: dict[int, str] = {}
    work = work_of(loaded, rule)
    for positions, found in engine.results(loaded, folder, wanted, progress, faults, work):
        for position, image in zip(positions, found, strict=True):
            if image is not None:
                features[position] = image
                continue
            faults[position] = (
                f"{folder / wanted[position].path} {NO_FEATURES}: the method "
                f"{loaded.info.name}.{loaded.info.variant} returns NaN or infinity for it."
            )
    nothing = _features(np.empty(0, dtype=kind))
    return to_records([features.get(i, nothing) for i in range(len(wanted))], kind), faults


def work_of(loaded: Loaded, rule: LocalRule) -> Callable[[Any], list[LocalFeatures | None]]:
    """Return the function from a normalised batch to the local features of its images."""
    from bench.describe import local_features

    method: Any = loaded.method

    def work(batch: Any) -> list[LocalFeatures | None]:
        return local_features.describe_pyramid(method.local, batch, loaded.rule, rule)

    return work
