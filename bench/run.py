"""A run, from names to a record: the list of calls that the whole project is about."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import (
    card,
    datasets,
    engine,
    estimate,
    extract,
    latency,
    local_store,
    machine,
    methods,
    missing,
    rerank,
    store,
)
from bench.descriptors import Matrix
from bench.missing import Missing
from bench.paths import cache_root
from bench.scoring import Options, finish
from bench.types import Dataset, Preprocess, Shortlist


@dataclass(frozen=True)
class Plan:
    """A run that is about to start: everything loaded and checked, nothing computed."""

    dataset: Dataset
    loaded: engine.Loaded
    card: card.Card
    options: Options


def plan(method_name: str, dataset_name: str, options: Options) -> Plan:
    """Load data set and method, apply the options, and refuse what cannot work."""
    dataset = datasets.load(dataset_name)
    if options.limit is not None:
        dataset = datasets.limited(dataset, options.limit)
    if options.query_crop == "whole":
        dataset = replace(dataset, crop="whole")
    wanted = [*dataset.database, *dataset.queries]
    extract.check_files(dataset.folder, wanted, allow_missing=options.allow_missing)
    device = machine.pick_device(options.device)
    machine.set_exact_float32()
    info, method, rule = methods.load(method_name, options.weights, device)
    rule = with_query_crop(rule, options.query_crop)
    loaded = engine.Loaded(method, info, rule, device, options.batch_size)
    said = None
    if options.rerank is not None:
        local_rule = methods.local_of(method, info)
        stage = rerank.Stage(options.rerank)
        said = rerank.card_of(stage, local_rule, options.ransac, options.local_precision)
    return Plan(dataset, loaded, card.make(dataset, rule, unit_norm=True, rerank=said), options)


def with_query_crop(rule: Preprocess, query_crop: str | None) -> Preprocess:
    """Return the rule with the cap that `--query-crop` names for cropped queries."""
    caps: dict[str | None, Any] = {"crop": "own", "crop-relative": "relative"}
    return replace(rule, query_cap=caps[query_crop]) if query_crop in caps else rule


def describe_plan(planned: Plan) -> list[str]:
    """Return what `--dry-run` prints; a disk without room is refused as in a run."""
    dataset, loaded = planned.dataset, planned.loaded
    info, out = loaded.info, []
    out.append(f"method: {info.name}.{info.variant} ({info.dim}-d), {info.weights['source']}")
    out.append(f"data set: {dataset.name} ({dataset.variant}), {dataset.folder}")
    all_jobs = jobs(planned)
    for job in all_jobs:
        size = estimate.size(len(job.work.listed.images) * info.dim * 4)
        out.append(
            f"{job.phase.removeprefix('describe ')}: {len(job.work.listed.images)} images, "
            f"{job.images} to describe, {size} in the store"
        )
    if planned.options.rerank is not None:
        out.append(f"re-ranking: {planned.card['candidates_rule']}")
    out.append(f"device: {loaded.device}")
    out.append(f"card: {card.short(planned.card)}, {planned.card['crop_rule']}")
    out.append(f"to write: {room(planned, all_jobs)}")
    todo = [image for job in all_jobs for image in job.images_to_describe()]
    if todo:
        probed = estimate.probe(loaded, dataset.folder, todo)
        out.append(estimate.say_time(probed, len(todo)))
    return out


def jobs(planned: Plan) -> list[extract.Job]:
    """Return what is to be described, of the database and of the queries; nothing is done yet."""
    dataset, options = planned.dataset, planned.options
    return [
        extract.prepare(
            planned.loaded,
            dataset.folder,
            wanted,
            f"describe {what}",
            force=options.force,
            allow_missing=options.allow_missing,
        )
        for what, wanted in (
            ("database", dataset.database),
            ("queries", datasets.shown_queries(dataset)),
        )
    ]


def room(planned: Plan, all_jobs: Sequence[extract.Job]) -> str:
    """Return how much is going to be written and how much may be; refuse what does not fit."""
    dataset, options = planned.dataset, planned.options
    row_bytes = 4 * planned.loaded.info.dim
    needs = [job.need(row_bytes) for job in all_jobs]
    labelled = sum(len(t.positive) + len(t.ignored) for p in dataset.protocols for t in p.truth)
    depth = min(options.shortlist, len(dataset.database))
    needs.append(estimate.record(options.output, len(dataset.queries), labelled, depth))
    estimate.check_room(needs)
    free = estimate.size(estimate.free_bytes(cache_root()))
    total = estimate.size(sum(need.bytes for need in needs))
    return f"{total}; {free} are free for {cache_root()}"


def run(planned: Plan) -> Path:
    """Describe, search, score, measure; return the path of the record."""
    try:
        return _run(planned)
    finally:
        store.release()


def _run(planned: Plan) -> Path:
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    phases: dict[str, float] = {}
    described: list[list[Matrix]] = []
    faults: list[str] = []
    from_store = 0
    rows: list[dict[int, str]] = [{}, {}]
    all_jobs = jobs(planned)
    said = room(planned, all_jobs)
    count = sum(job.images for job in all_jobs)
    if count:
        print(f"to describe: {count} images; to write: {said}", file=sys.stderr, flush=True)
    for job, found in zip(all_jobs, rows, strict=True):
        start = time.perf_counter()
        try:
            parts, kept = extract.finish(job, found)
        except extract.BrokenImagesError as error:  # all of them are named, of both lists
            faults += error.faults
            continue
        described.append(parts)
        from_store += kept
        phases[job.phase] = time.perf_counter() - start
    if faults:
        total = sum(len(job.work.listed.images) for job in all_jobs)
        advice = ", or score without them: --allow-missing, which marks the result"
        raise extract.BrokenImagesError(faults, total, advice)
    absent = Missing(*rows)
    missing.check(absent, dataset)
    start = time.perf_counter()
    usable = [image for row, image in enumerate(dataset.database) if row not in absent.database]
    measured = latency.measure(loaded, dataset.folder, usable)
    phases["latency"] = time.perf_counter() - start
    timing = {"phases_s": phases, "images_from_store": from_store, "latency": measured}
    return finish(
        dataset,
        described[0],
        described[1],
        lambda _: planned.card,
        loaded.info,
        options,
        timing,
        loaded.device,
        None if options.rerank is None else reranking(planned, absent),
        absent,
    )


def reranking(planned: Plan, absent: Missing) -> rerank.Reranking:
    """Return the stage that re-ranks the lists of this run; nothing is computed yet."""
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    assert options.rerank is not None
    rule = methods.local_of(loaded.method, loaded.info)

    def verify(
        shortlist: Shortlist, mask: NDArray[np.bool_], phases: dict[str, float]
    ) -> rerank.Verified:
        kept = []
        rows_of_queries = np.flatnonzero(mask.any(axis=1))
        for what, wanted, rows, gone in (
            ("database", dataset.database, np.unique(shortlist.row[mask]), absent.database),
            ("queries", datasets.shown_queries(dataset), rows_of_queries, absent.queries),
        ):
            start, phase = time.perf_counter(), f"local features, {what}"
            kept.append(
                local_store.extract_local(
                    loaded,
                    dataset.folder,
                    wanted,
                    rows,
                    rule,
                    options.local_precision,
                    phase,
                    force=options.force,
                    missing=gone if options.allow_missing else None,
                )
            )
            phases[phase] = time.perf_counter() - start
        of_rows, of_queries = kept
        start = time.perf_counter()
        inliers, query_ms = rerank.count_inliers(
            shortlist, mask, of_queries.read, of_rows.read, rule.match_distance, options.ransac
        )
        phases["re-rank"] = time.perf_counter() - start
        about = {
            "pairs": int(mask.sum()),
            "ms_per_query": latency.percentiles(query_ms),
            "features_per_image": of_rows.features,
            "bytes_per_image": of_rows.bytes,
        }
        return rerank.Verified(inliers, about)

    return rerank.Reranking(rerank.Stage(options.rerank), verify)
