"""A run, from names to a record: the list of calls that the whole project is about."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench.describe import engine, extract
from bench.measure import latency
from bench.pipeline.local import features_of
from bench.pipeline.plan import Plan, jobs, room_needed
from bench.pipeline.score import Taken, write
from bench.pipeline.space import How
from bench.pipeline.walk import Described, walk
from bench.search import exact, missing
from bench.search.missing import Missing
from bench.store import shards
from bench.store.matrix import Matrix
from bench.system import memory
from bench.system.progress import Progress


class Cluster(Protocol):
    """Other machines: called, they describe the images of a job."""

    def __call__(self, job: extract.Job, progress: Progress) -> tuple[int, list[str]]:
        """Do a job; return images described, and a sentence for each that cannot be."""

    @property
    def hand_out(self) -> exact.HandOut:
        """Return what hands out the parts of a search."""

    def about(self) -> list[dict[str, Any]]:
        """Return what a record keeps of every machine."""


def run(planned: Plan, hired: AbstractContextManager[Cluster | None] | None = None) -> Path:
    """Describe, search, score, measure; return the path of the record.

    `hired` gives the cluster that describes and searches, for as long as the run lasts
    (`bench.cluster.dispatch.crew`); without it this process does.
    """
    with shards.in_use(), hired or nullcontext() as cluster:
        return _run(planned, cluster)


def _run(planned: Plan, cluster: Cluster | None) -> Path:
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    memory.reset_peaks(loaded.device)
    lists = describe(planned, cluster)
    given = described(planned, lists, cluster)
    phases = dict(lists.phases_s)
    measured = None
    if options.measure != "none":
        start = time.perf_counter()
        usable = [image for row, image in enumerate(dataset.database) if row not in lists.gone[0]]
        measured = latency.measure(loaded, dataset.folder, usable, options.measure)
        phases["latency"] = time.perf_counter() - start
    hand_out = exact.here if cluster is None else cluster.hand_out
    how = How(options.memory_budget_mib << 20, loaded.device, hand_out)
    walked = walk(given, planned.chain, how)
    taken = Taken(
        phases,
        {
            "images_from_store": lists.from_store,
            "latency": measured and measured.latency,
            "extraction": engine.about(loaded),
        },
        measured,
        loaded.device,
        [image for _, one in planned.database_lists() for image in one.database],
        None if cluster is None else cluster.about,
    )
    return write(walked, given, planned.card, loaded.info, options, planned.chain, taken)


@dataclass(frozen=True)
class Lists:
    """What was described: per list its parts and the images without a descriptor."""

    jobs: Sequence[extract.Job]
    parts: Sequence[list[Matrix]]
    gone: Sequence[dict[int, str]]
    from_store: int
    phases_s: Mapping[str, float]


def described(planned: Plan, lists: Lists, by: extract.Doer | None) -> Described:
    """Return what is searched; `by` describes local features, where a stage needs them."""
    absent = Missing(_end_to_end(lists.gone[:-1], lists.jobs), lists.gone[-1])
    missing.check(absent, planned.dataset)
    copied = lists.jobs[-1].copied
    rows = None if copied is None else copied.rows
    needed = {need.role for stage in planned.chain.stages for need in stage.needs()}
    return Described(
        planned.dataset,
        [part for parts in lists.parts[:-1] for part in parts],
        lists.parts[-1],
        absent,
        features_of(planned, lists.gone, by, rows) if "local" in needed else None,
    )


def describe(planned: Plan, by: extract.Doer | None) -> Lists:
    """Describe what is not in the store; all images that cannot be decoded are named at the end."""
    options, all_jobs = planned.options, jobs(planned)
    gone: list[dict[int, str]] = [{} for _ in all_jobs]
    said = room_needed(planned, all_jobs)
    count = sum(job.images for job in all_jobs)
    if count:
        print(f"to describe: {count} images; to write: {said}", file=sys.stderr, flush=True)
    parts, faults, from_store, phases = [], list[str](), 0, {}
    for job, found in zip(all_jobs, gone, strict=True):
        start = time.perf_counter()
        try:
            rows, kept = extract.finish(job, found if options.allow_missing else None, by)
        except extract.BrokenImagesError as error:  # all of them are named, of all lists
            faults += error.faults
            continue
        parts.append(rows)
        from_store += kept
        phases[job.phase] = time.perf_counter() - start
    if faults:
        total = sum(len(job.work.listed.images) for job in all_jobs)
        advice = ", or score without them: --allow-missing, which marks the result"
        raise extract.BrokenImagesError(faults, total, advice)
    return Lists(all_jobs, parts, gone, from_store, phases)


def _end_to_end(rows: Sequence[dict[int, str]], all_jobs: Sequence[extract.Job]) -> dict[int, str]:
    """Return the missing rows of several lists as rows of the lists laid end to end."""
    out: dict[int, str] = {}
    first = 0
    for gone, job in zip(rows, all_jobs, strict=False):
        out |= {first + row: why for row, why in gone.items()}
        first += len(job.work.listed.images)
    return out
