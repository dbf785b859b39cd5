"""A run, from names to a record: the list of calls that the whole project is about."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from bench.describe import engine, extract
from bench.measure import latency
from bench.pipeline.plan import Plan, jobs, room_needed
from bench.pipeline.score import finish
from bench.pipeline.verify_pairs import reranking
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
    try:
        with hired or nullcontext() as cluster:
            return _run(planned, cluster)
    finally:
        shards.release()


def _run(planned: Plan, cluster: Cluster | None) -> Path:
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    memory.reset_peaks(loaded.device)
    phases: dict[str, float] = {}
    described: list[list[Matrix]] = []
    faults: list[str] = []
    from_store = 0
    all_jobs = jobs(planned)
    rows: list[dict[int, str]] = [{} for _ in all_jobs]
    said = room_needed(planned, all_jobs)
    count = sum(job.images for job in all_jobs)
    if count:
        print(f"to describe: {count} images; to write: {said}", file=sys.stderr, flush=True)
    for job, found in zip(all_jobs, rows, strict=True):
        start = time.perf_counter()
        try:
            parts, kept = extract.finish(job, found if options.allow_missing else None, cluster)
        except extract.BrokenImagesError as error:  # all of them are named, of all lists
            faults += error.faults
            continue
        described.append(parts)
        from_store += kept
        phases[job.phase] = time.perf_counter() - start
    if faults:
        total = sum(len(job.work.listed.images) for job in all_jobs)
        advice = ", or score without them: --allow-missing, which marks the result"
        raise extract.BrokenImagesError(faults, total, advice)
    absent = Missing(_end_to_end(rows[:-1], all_jobs), rows[-1])
    missing.check(absent, dataset)
    measured = None
    if options.measure != "none":
        start = time.perf_counter()
        usable = [image for row, image in enumerate(dataset.database) if row not in rows[0]]
        measured = latency.measure(loaded, dataset.folder, usable, options.measure)
        phases["latency"] = time.perf_counter() - start
    taken = {
        "phases_s": phases,
        "images_from_store": from_store,
        "latency": measured and measured.latency,
        "extraction": engine.about(loaded),
    }
    return finish(
        dataset,
        [part for parts in described[:-1] for part in parts],
        described[-1],
        lambda _: planned.card,
        loaded.info,
        options,
        taken,
        loaded.device,
        None if options.rerank is None else reranking(planned, rows, cluster),
        measured,
        absent,
        [image for _, one in planned.database_lists() for image in one.database],
        None if cluster is None else cluster.about,
        exact.here if cluster is None else cluster.hand_out,
    )


def _end_to_end(rows: Sequence[dict[int, str]], all_jobs: Sequence[extract.Job]) -> dict[int, str]:
    """Return the missing rows of several lists as rows of the lists laid end to end."""
    out: dict[int, str] = {}
    first = 0
    for gone, job in zip(rows, all_jobs, strict=False):
        out |= {first + row: why for row, why in gone.items()}
        first += len(job.work.listed.images)
    return out
