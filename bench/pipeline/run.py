"""A run, from names to a record: the list of calls that the whole project is about."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bench.describe import engine, extract
from bench.measure import busy
from bench.measure.earlier import Measured
from bench.pipeline import needs, query_cost, stage_costs
from bench.pipeline.chain import CODES
from bench.pipeline.ground import Ground
from bench.pipeline.lists import Lists
from bench.pipeline.local import features_of
from bench.pipeline.plan import Plan, jobs, room_needed
from bench.pipeline.score import Taken, scored
from bench.pipeline.space import How
from bench.pipeline.walk import Inputs, walk
from bench.search import exact, missing
from bench.search.missing import Missing
from bench.stage import Need
from bench.store import shards
from bench.store.matrix import Matrix, count_rows
from bench.system import memory
from bench.system.notes import note
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
    loaded, options = planned.loaded, planned.options
    memory.reset_peaks(loaded.device)
    made = describe(planned, cluster)
    lists, inputs = described(planned, made, cluster)
    phases = dict(made.phases_s)
    start = time.perf_counter()
    measured, query = _measured(planned, made)
    if measured is not None and not measured.earlier:
        phases["latency"] = time.perf_counter() - start
    hand_out = exact.here if cluster is None else cluster.hand_out
    how = How(options.memory_budget_mib << 20, loaded.device, hand_out)
    watch = busy.watch()
    walked = walk(lists, inputs, planned.chain, how)
    company = busy.signs(watch.seen())
    if query is not None:
        chain = planned.chain
        query = query_cost.before_search(query, lists, inputs, chain, walked, how, options.measure)
    taken = Taken(
        phases,
        {
            "images_from_store": made.from_store,
            "latency": measured and measured.latency,
            "extraction": engine.about(loaded),
        },
        measured,
        loaded.device,
        [image for _, images in planned.database_lists() for image in images.database],
        None if cluster is None else cluster.about,
        query,
        company,
    )
    done = scored(walked, inputs, planned.card, loaded.info, options, planned.chain, taken)
    return done.write(options.results)


def _measured(planned: Plan, made: Described) -> tuple[Measured | None, query_cost.Query | None]:
    """Return what describing costs, of a database image and of a query, where options ask for it.

    Other than the first, a query has the second method of every fusion, and local features.
    """
    how, dataset = planned.options.measure, planned.dataset
    if how == "none":
        return None, None
    gone = made.gone[0]
    usable = [image for row, image in enumerate(dataset.database) if row not in gone]
    own = query_cost.Describer(
        planned.method, planned.loaded, made.jobs[0].work.store.key, planned.options.weights
    )
    others = [
        query_cost.Describer(
            str(need.need.method),
            need.loaded,
            made.supplied[need.need].database[0].key or "",
            codes=need.need == CODES,
        )
        for need in planned.needed
        if need.need.beside
    ]
    measured = own.fresh(planned, usable, how)
    return measured, query_cost.described(planned, [own, *others], usable, measured)


@dataclass(frozen=True)
class Described:
    """The described lists: per list its parts and the images without a descriptor.

    `supplied` are the descriptors that stages need besides.
    """

    jobs: Sequence[extract.Job]
    parts: Sequence[list[Matrix]]
    gone: Sequence[dict[int, str]]
    from_store: int
    phases_s: Mapping[str, float]
    supplied: Mapping[Need, Lists]


def described(
    planned: Plan,
    made: Described,
    by: extract.Doer | None,
    others: extract.Doer | None = None,
) -> tuple[Lists, Inputs]:
    """Return the rows that have a descriptor, with queries and labels.

    `by` and `others`, as in `describe`, make local features, where a stage needs them.
    """
    absent = Missing(_end_to_end(made.gone[:-1], made.jobs), made.gone[-1])
    missing.check(absent, planned.dataset)
    copied = made.jobs[-1].copied
    rows = None if copied is None else copied.rows
    own = Lists([part for parts in made.parts[:-1] for part in parts], made.parts[-1])
    supplied = {
        need: _without(lists, absent) if need.beside else lists
        for need, lists in made.supplied.items()
    }
    needed = {need.role for stage in planned.chain.stages for need in stage.needs()}
    doer = by if planned.local is planned.loaded else others
    features = features_of(planned, made.gone, doer, rows) if "local" in needed else None
    ground = Ground(planned.dataset, count_rows(own.database), absent)
    return _without(own, absent), Inputs(ground, features, supplied)


def _without(lists: Lists, absent: Missing) -> Lists:
    """Return the rows of all images that have a descriptor."""
    database = missing.without(lists.database, absent.database)
    return replace(lists, database=database, queries=missing.without(lists.queries, absent.queries))


def describe(
    planned: Plan, by: extract.Doer | None, others: extract.Doer | None = None
) -> Described:
    """Describe what is not in the store; all images that cannot be decoded are named at the end.

    `by` does it with the run's method, `others` with those that stages need; None: this process.
    """
    options, own = planned.options, jobs(planned)
    needed = [needs.jobs(need, options) for need in planned.needed]
    all_jobs = [*own, *itertools.chain(*needed)]
    gone: list[dict[int, str]] = [{} for _ in all_jobs]
    size = room_needed(planned, all_jobs)
    count = sum(job.images for job in all_jobs)
    for line in stage_costs.lines(planned.chain):
        note(line)
    if count:
        note(f"to describe: {count} images; to write: {size}")
    parts, faults, from_store, phases = [], list[str](), 0, dict[str, float]()
    for job, found in zip(all_jobs, gone, strict=True):
        start = time.perf_counter()
        try:
            doer = by if job.work.loaded is planned.loaded else others
            made, kept = extract.finish(job, found if job.work.allow_missing else None, doer)
        except extract.BrokenImagesError as error:  # all of them are named, of all lists
            faults += error.faults
            continue
        parts.append(made)
        from_store += kept
        phases[job.phase] = time.perf_counter() - start
    if faults:
        total = sum(len(job.work.listed.images) for job in all_jobs)
        advice = ", or score without them: --allow-missing, which marks the result"
        raise extract.BrokenImagesError(faults, total, advice)
    supplied, at = {}, len(own)
    for need, some in zip(planned.needed, needed, strict=True):
        supplied[need.need] = _lists_of(need, parts[at : at + len(some)])
        if need.need.beside:
            for mine, more in zip(gone, gone[at : at + len(some)], strict=False):
                mine |= {row: why for row, why in more.items() if row not in mine}
        at += len(some)
    return Described(own, parts[: len(own)], gone[: len(own)], from_store, phases, supplied)


def _lists_of(need: needs.Needed, parts: Sequence[list[Matrix]]) -> Lists:
    """Return the descriptors of a need."""
    count = len(need.database)
    database, queries = itertools.chain(*parts[:count]), itertools.chain(*parts[count:])
    return Lists(list(database), list(queries), need.pairs, need.about)


def _end_to_end(rows: Sequence[dict[int, str]], all_jobs: Sequence[extract.Job]) -> dict[int, str]:
    """Return the missing rows of several lists as rows of the lists laid end to end."""
    out: dict[int, str] = {}
    first = 0
    for gone, job in zip(rows, all_jobs, strict=False):
        out |= {first + row: why for row, why in gone.items()}
        first += len(job.work.listed.images)
    return out
