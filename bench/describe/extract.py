"""From a list of images to descriptors in a store: shard by shard, resumable, nothing dropped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from bench.data import locate
from bench.describe import copies, engine, pixels
from bench.errors import BenchError, first_few
from bench.images import decode
from bench.store import file_hashes, reuse, room, shards
from bench.store.matrix import Matrix
from bench.system import identity as identities
from bench.system import memory
from bench.system.hashing import plain, sha256_lines
from bench.system.paths import cache_root
from bench.system.progress import Progress
from bench.types import Image, Preprocess

MOST_LOOKED_AT = 100  # missing files for which names in other letters are looked for
CODE_VERSION = 2  # of the stages from file to descriptor; part of every key

# What makes the array of a shard from its images; also a sentence for each position without one.
Make = Callable[
    [engine.Loaded, Path, Sequence[Image], Progress], tuple[NDArray[Any], dict[int, str]]
]
Write = Callable[[shards.Store, int, NDArray[Any], dict[int, str]], None]
# What makes the missing shards of a job; also how many images were described, and what is wrong
# with those that cannot be.
Doer = Callable[["Job", Progress], tuple[int, list[str]]]


class BrokenImagesError(BenchError):
    """Images that cannot be decoded; `faults` has a sentence for each."""

    def __init__(self, faults: list[str], total: int, advice: str = "") -> None:
        """Say how many of `total` images cannot be used, and why the first few cannot."""
        self.faults = faults
        few = " ".join(faults[:5]) + (f" And {len(faults) - 5} more." if len(faults) > 5 else "")
        super().__init__(
            f"{len(faults)} of {total} images cannot be used: {few} All others are described and "
            f"stored; replace the files and run the same command again{advice}."
        )


@dataclass(frozen=True)
class Listed:
    """A list of images with the sha256 of their files, None where a file cannot be read."""

    folder: Path
    images: Sequence[Image]
    prints: Sequence[str | None]

    def part(self, first: int, end: int) -> Listed:
        """Return the images `first` to `end` as a list of their own."""
        return Listed(self.folder, self.images[first:end], self.prints[first:end])

    @cached_property
    def lines(self) -> list[str]:
        """Return a line of JSON per image: file, box, sha256."""
        pairs = zip(self.images, self.prints, strict=True)
        return [json.dumps([image.file, image.box, digest]) for image, digest in pairs]


@dataclass(frozen=True)
class Work:
    """All that is needed to make any shard of a store, whoever does it."""

    store: shards.Store
    loaded: engine.Loaded
    listed: Listed
    make: Make
    write: Write
    allow_missing: bool = False


@dataclass(frozen=True)
class Job:
    """A store to be completed: the shards that are not there, and what its sidecars say.

    Those `adopted` are not there either, but another store has them. With `copied` nothing is
    described: the rows are those of another store.
    """

    phase: str
    work: Work
    key: dict[str, Any]
    todo: Sequence[int]
    adopted: Mapping[int, shards.Store]
    force: bool = False
    copied: copies.Copied | None = None

    @property
    def images(self) -> int:
        """Return how many images are to be described."""
        return sum(self.shard_sizes())

    def shard_sizes(self) -> list[int]:
        """Return how many images are to be described for each missing shard."""
        return [] if self.copied is not None else self._sizes()

    def _sizes(self) -> list[int]:
        return [end - first for first, end in map(self.work.store.span, self.todo)]

    def images_to_describe(self) -> list[Image]:
        """Return the images that are to be described."""
        spans = map(self.work.store.span, () if self.copied is not None else self.todo)
        return [image for first, end in spans for image in self.work.listed.images[first:end]]

    def need(self, row_bytes: int) -> room.Need:
        """Return what the missing shards add to the disk, with `row_bytes` for an image."""
        if not self.todo:
            return room.Need(self.work.store.folder, 0, self.phase)
        kept = self.work.store
        most = kept.per_shard * row_bytes + room.FILE_BYTES
        new = sum(self._sizes()) * row_bytes + len(self.todo) * room.FILE_BYTES
        listed = kept.folder / "images.jsonl"
        if not listed.is_file():
            new += sum(len(line) + 1 for line in self.work.listed.lines)
        there = sum(p.stat().st_size for p in map(kept.path, self.todo) if p.is_file())
        return room.Need(kept.folder, max(new - there, most), self.phase)


def check_files(folder: Path, wanted: Sequence[Image], *, allow_missing: bool = False) -> None:
    """Refuse a data set whose image files are not all there, naming the first few."""
    absent = [image.file for image in wanted if not (folder / image.path).is_file()]
    if len(absent) == len(wanted) and not folder.is_dir():
        raise BenchError(
            f"the image folder {folder} does not exist. Put the {len(wanted)} photographs there, "
            "or set RETRIEVAL_BENCH_DATA to the folder that contains the data set."
        )
    if allow_missing:
        return
    if absent:
        like = locate.other_case(folder, absent[:MOST_LOOKED_AT])
        near = [f"{file} is {other} on the disk" for file, other in like.items()]
        letters = f"Some names differ only in case: {first_few(near)}. " if near else ""
        raise BenchError(
            f"{len(absent)} of {len(wanted)} images are missing in {folder}: "
            f"{first_few(absent)}. {letters}`data verify NAME --list FILE` lists all of them; "
            "--allow-partial uses the images that exist."
        )


def extract(
    loaded: engine.Loaded,
    folder: Path,
    wanted: Sequence[Image],
    phase: str,
    *,
    force: bool = False,
    missing: dict[int, str] | None = None,
) -> tuple[list[Matrix], int]:
    """Return the descriptors of `wanted`, unit rows float32 in list order, and how many were there.

    What is in the store is not computed again unless `force`. Images that cannot be decoded fail
    the call at its end; where a dict `missing` is given they do not: their rows are zeros, and it
    gets row and reason of each.
    """
    allow = missing is not None
    job = prepare(loaded, folder, wanted, phase, force=force, allow_missing=allow)
    room.check_room([job.need(4 * loaded.info.dim)])
    return finish(job, missing)


def prepare(
    loaded: engine.Loaded,
    folder: Path,
    wanted: Sequence[Image],
    phase: str,
    *,
    force: bool = False,
    allow_missing: bool = False,
    database: Job | None = None,
) -> Job:
    """Return the work that is left to have the descriptors of `wanted`; nothing is done yet.

    Where all of `wanted` are whole images of `database`, rows of that are copied.
    """
    listed = look_at(folder, wanted)
    key = key_of(loaded, listed)
    copied = None
    if database is not None:
        other = database.work.listed
        rows = copies.rows_of(listed.images, listed.prints, other.images, other.prints)
        if rows is not None:
            copied = copies.Copied(database.work.store, rows)
            key["rows_of"] = copied.store.key
    kept = shards.open_store(cache_root(), key, len(wanted), loaded.info.dim)
    work = Work(kept, loaded, listed, engine.rows_of, shards.write, allow_missing)
    return replace(job_of(phase, work, key, kept.shards(), force=force), copied=copied)


def job_of(
    phase: str, work: Work, key: dict[str, Any], numbers: Iterable[int], *, force: bool = False
) -> Job:
    """Return the job of making those of the shards that are not there, or all if `force`."""
    if work.store.folder.is_dir():
        shards.use(work.store.folder)
    if force:
        return Job(phase, work, key, list(numbers), {}, force)
    partial = work.allow_missing
    absent = shards.missing(work.store, numbers, partial=partial)
    adopted = reuse.find(work.store, key, work.listed.lines, absent, partial=partial)
    todo = [shard for shard in absent if shard not in adopted]
    return Job(phase, work, key, todo, adopted)


def finish(
    job: Job, missing: dict[int, str] | None = None, by: Doer | None = None
) -> tuple[list[Matrix], int]:
    """Do a job of `prepare`; returns and `missing` are those of `extract`, `by` that of `fill`."""
    done = fill(job, by)
    if missing is not None:
        missing |= shards.absent_rows(job.work.store)
    return shards.matrices(job.work.store, job.phase), job.work.store.rows - done


def fill(job: Job, by: Doer | None = None) -> int:
    """Make the shards of a job; return how many images were described.

    `by` does it, or None for this process. Images that cannot be decoded fail the call at its end,
    all of them named, after everything else is computed and kept.
    """
    kept = job.work.store
    shards.begin(kept, job.key, "".join(f"{line}\n" for line in job.work.listed.lines))
    for shard in shards.claim(kept, list(job.adopted), partial=job.work.allow_missing):
        reuse.take(kept, shard, job.adopted[shard])
    for shard in job.todo if job.force else ():
        kept.path(shard).with_suffix(".json").unlink(missing_ok=True)
    if job.copied is None:
        with Progress(job.phase, job.images) as progress:
            done, broken = (by or one_by_one)(job, progress)
    else:
        done, broken = 0, copies.copy(kept, job.copied, job.todo)
    if broken and not job.work.allow_missing:
        raise BrokenImagesError(broken, kept.rows)
    return done


def one_by_one(job: Job, progress: Progress) -> tuple[int, list[str]]:
    """Make the shards of a job in this process; return images described, and their faults."""
    kept, done, broken = job.work.store, 0, list[str]()

    def skip(shard: int) -> None:
        first, end = kept.span(shard)
        progress.leave_out(end - first)

    for shard in shards.claim(kept, list(job.todo), skip, partial=job.work.allow_missing):
        faults = make_shard(job.work, shard, progress)
        first, end = kept.span(shard)
        done += end - first
        broken += faults.values()
    return done, broken


def make_shard(work: Work, shard: int, progress: Progress) -> dict[int, str]:
    """Make and write one shard; return a sentence per position whose image cannot be decoded.

    The manifest names them, so that only a run that allows them takes the shard as it is.
    """
    part = work.listed.part(*work.store.span(shard))
    rows, faults = describe_part(work.loaded, work.make, part, progress)
    work.write(work.store, shard, rows, inside(part.folder, faults))
    return faults


def describe_part(
    loaded: engine.Loaded, make: Make, part: Listed, progress: Progress
) -> tuple[NDArray[Any], dict[int, str]]:
    """Return the array of a shard from its images, and a sentence per position without one.

    The files must have the content that `prints` states when they are decoded: it is compared
    before, and the state of each file must be the same after. A shard of other files is not made.
    """
    paths = [part.folder / image.path for image in part.images]
    before = file_hashes.states(paths)
    for path, listed, now in zip(
        paths, part.prints, file_hashes.of_files(paths, cache_root()), strict=True
    ):
        if listed != now:
            raise _changed(path, listed is None)
    rows, faults = make(loaded, part.folder, part.images, progress)
    memory.give_back()
    for path, listed, old, new in zip(
        paths, part.prints, before, file_hashes.states(paths), strict=True
    ):
        if old != new:
            raise _changed(path, listed is None)
    return rows, faults


def _changed(path: Path, new: bool) -> BenchError:
    what = "appeared" if new else "changed"
    return BenchError(f"{path} {what} during the run; run the same command again.")


def inside(folder: Path, faults: Mapping[int, str]) -> dict[int, str]:
    """Return the sentences with paths inside of `folder`, as manifests keep them."""
    return {at: why.replace(f"{folder}/", "") for at, why in faults.items()}


def look_at(folder: Path, wanted: Sequence[Image]) -> Listed:
    """Return the list with the sha256 of every file."""
    paths = [folder / image.path for image in wanted]
    return Listed(folder, wanted, file_hashes.of_files(paths, cache_root()))


def key_of(loaded: engine.Loaded, listed: Listed) -> dict[str, Any]:
    """Return everything that determines the descriptors of these images under this method.

    Neither the data set's name nor the place of its folder is part of it, so data sets with the
    same list share a store. Options that are neutral (`bench.system.identity`) are left out, so
    that stores of older versions are found.
    """
    info, wanted = loaded.info, listed.images
    key: dict[str, Any] = {
        "code": CODE_VERSION,
        "shard_rows": shards.rows_per_shard(len(wanted)),
        "images": {"count": len(wanted), "sha256": sha256_lines(listed.lines)},
        "method": {
            "name": info.name,
            "variant": info.variant,
            "version": info.version,
            "dim": info.dim,
            "config": dict(info.config),
            "weights_sha256": info.weights.get("sha256"),
        },
        "preprocess": _rule_that_matters(loaded.rule, wanted),
        **({"pixels": paths} if (paths := _paths(loaded.rule, listed)) else {}),
        "precision": engine.precision(loaded),
        "compiled": loaded.settings.compiled,
        "device": loaded.device.split(":")[0],
    }
    return dict(identities.elided(key))


def _paths(rule: Preprocess, listed: Listed) -> list[dict[str, Any]]:
    """Return the pixel paths newer than version 0.1 that a list takes under a rule.

    A box of a photograph that is turned is one: before, its numbers were of the turned pixels.
    """
    boxed = (image for image in listed.images if image.box is not None)
    turned = any(decode.turns(listed.folder / image.path, rule) for image in boxed)
    return [*pixels.codes(rule), *([pixels.TURNED_BOX] if turned else [])]


def _rule_that_matters(rule: Preprocess, wanted: Sequence[Image]) -> dict[str, Any]:
    """Return the preprocessing of a store key; without boxes, fields about boxes are dropped."""
    fields: dict[str, Any] = plain(rule)
    if all(image.box is None for image in wanted):
        del fields["query_cap"], fields["crop_rounding"]
    return fields
