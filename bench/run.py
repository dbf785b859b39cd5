"""A run, from names to a record: the list of calls that the whole project is about."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench import (
    card,
    datasets,
    distractors,
    engine,
    estimate,
    extract,
    latency,
    loading,
    local_store,
    memory,
    methods,
    missing,
    rerank,
    room,
    search,
    store,
    timing,
)
from bench.descriptors import Matrix
from bench.missing import Missing
from bench.paths import cache_root
from bench.report.cards import sentence
from bench.run_options import Options
from bench.scoring import check_search, finish, searched_as
from bench.types import Dataset, Image, LocalFeatures, Preprocess, Rows, Shortlist

if TYPE_CHECKING:
    from bench.cluster.dispatch import Cluster


@dataclass(frozen=True)
class Plan:
    """A run that is about to start: everything loaded and checked, nothing computed."""

    dataset: Dataset
    distractors: tuple[Dataset, ...]
    loaded: engine.Loaded
    card: card.Card
    options: Options
    method: str  # as it was named

    def database_lists(self) -> list[tuple[str, Dataset]]:
        """Return what is searched, in order of rows: the data set, then its distractors."""
        return [("database", self.dataset)] + [
            (f"distractors {added.name}", added) for added in self.distractors
        ]


def plan(method_name: str, dataset_name: str, options: Options) -> Plan:
    """Load data set and method, apply the options, and refuse what cannot work."""
    dataset = datasets.check_queries(datasets.load(dataset_name))
    check_search(dataset, options)
    if options.allow_partial:
        dataset = datasets.available(dataset)
    if options.limit is not None:
        dataset = datasets.limited(dataset, options.limit)
    if options.query_crop == "whole":
        dataset = replace(dataset, crop="whole")
    dataset, _ = datasets.placed(dataset)
    wanted = [*dataset.database, *dataset.queries]
    extract.check_files(dataset.folder, wanted, allow_missing=options.allow_missing)
    added = distractors.load(options.distractors, dataset, options.limit)
    if any(one.limit is not None for one in added):
        dataset = replace(dataset, limit=options.limit)
    loaded = loading.load(method_name, options.weights, options.device, options.settings)
    rule = with_query_crop(loaded.rule, options.query_crop)
    rule = with_size(rule, options.max_side, options.scales)
    loaded = replace(loaded, rule=rule)
    said = None
    if options.rerank is not None:
        local_rule = methods.local_of(loaded.method, loaded.info)
        stage = rerank.stage_of(options.rerank, local_rule)
        said = rerank.card_of(stage, local_rule, options.ransac, options.local_precision)
    n_rows = sum(len(one.database) for one in (dataset, *added))
    made = card.make(
        dataset,
        rule,
        unit_norm=True,
        precision=engine.precision(loaded),
        distractors=[(one.name, len(one.database)) for one in added],
        rerank=said,
        **searched_as(options, loaded.info.dim, n_rows),
    )
    if added:
        made["distractors"] |= distractors.on_card(added)
    return Plan(dataset, added, loaded, made, options, method_name)


def with_query_crop(rule: Preprocess, query_crop: str | None) -> Preprocess:
    """Return the rule with the cap that `--query-crop` names for cropped queries."""
    caps: dict[str | None, Any] = {"crop": "own", "crop-relative": "relative"}
    return replace(rule, query_cap=caps[query_crop]) if query_crop in caps else rule


def with_size(
    rule: Preprocess, max_side: str | None, scales: tuple[float, ...] | None
) -> Preprocess:
    """Return the rule with the size cap ("none": no cap) and the scales that were asked for."""
    if max_side is not None:
        rule = replace(rule, max_side_px=None if max_side == "none" else int(max_side))
    return rule if scales is None else replace(rule, scales=scales)


def describe_plan(planned: Plan, kinds: Sequence[Any] = (), ray: Any = None) -> list[str]:
    """Return what `--dry-run` prints; a disk without room is refused as in a run.

    `kinds` are the nodes of a cluster (`bench.cluster.forecast`); without any, and with the module
    `ray`, those that it is connected to.
    """
    dataset, loaded = planned.dataset, planned.loaded
    info, out = loaded.info, []
    out.append(f"method: {info.name}.{info.variant} ({info.dim}-d), {info.weights['source']}")
    if dataset.absent is not None:
        gone = "{} database images and {} queries are not here".format(*dataset.absent)
        out.append(f"partial: {gone}, and are left out")
    out.append(f"data set: {dataset.name} ({dataset.variant}), {dataset.folder}")
    all_jobs = jobs(planned)
    for job in all_jobs:
        size = room.size(len(job.work.listed.images) * info.dim * 4)
        out.append(
            f"{job.phase.removeprefix('describe ')}: {len(job.work.listed.images)} images, "
            f"{job.images} to describe, {size} in the store"
        )
    if planned.options.rerank is not None:
        out.append(f"re-ranking: {sentence('candidates_rule', planned.card)}")
    for word in ("compression", "search"):
        if planned.card[word] not in ("none (float32)", "exact"):
            out.append(f"{word}: {sentence(word, planned.card)}")
    out.append(f"device: {loaded.device}, {engine.precision(loaded)}")
    out.append(f"card: {card.short(planned.card)}, {sentence('crop_rule', planned.card)}")
    out.append(f"to write: {room_needed(planned, all_jobs)}")
    todo = [
        replace(image, found=str(job.work.listed.folder / image.path))
        for job in all_jobs
        for image in job.images_to_describe()
    ]
    probed = estimate.probe(loaded, dataset.folder, todo) if todo else None
    if todo:
        out.append(estimate.say_time(probed, len(todo)))
    if kinds or ray is not None:
        from bench.cluster import forecast

        kinds = kinds or forecast.of_cluster(ray, loaded.device, torch.get_num_threads())
        lists = [job.shard_sizes() for job in all_jobs]
        out += forecast.lines(kinds, lists, None if probed is None else 1 / probed.seconds)
    return out


def jobs(planned: Plan) -> list[extract.Job]:
    """Return what is to be described, the queries last; nothing is done yet."""
    dataset, options = planned.dataset, planned.options
    lists = [(what, one.folder, one.database) for what, one in planned.database_lists()]
    lists.append(("queries", dataset.folder, datasets.shown_queries(dataset)))
    return [
        extract.prepare(
            planned.loaded,
            folder,
            wanted,
            f"describe {what}",
            force=options.force,
            allow_missing=options.allow_missing,
        )
        for what, folder, wanted in lists
    ]


def room_needed(planned: Plan, all_jobs: Sequence[extract.Job]) -> str:
    """Return how much is going to be written and how much may be; refuse what does not fit."""
    dataset, options = planned.dataset, planned.options
    row_bytes = 4 * planned.loaded.info.dim
    needs = [job.need(row_bytes) for job in all_jobs]
    labelled = sum(len(t.positive) + len(t.ignored) for p in dataset.protocols for t in p.truth)
    depth = min(options.shortlist, len(dataset.database))
    needs.append(room.record(options.output, len(dataset.queries), labelled, depth))
    room.check_room(needs)
    free = room.size(room.free_bytes(cache_root()))
    total = room.size(sum(need.bytes for need in needs))
    return f"{total}; {free} are free for {cache_root()}"


def run(planned: Plan, ray: Any = None) -> Path:
    """Describe, search, score, measure; return the path of the record.

    `ray` is the module, connected (see `bench.cluster.connect`), or None: this process describes.
    """
    try:
        if ray is None:
            return _run(planned, None)
        from bench.cluster import dispatch

        options = planned.options
        with dispatch.crew(
            ray, planned.method, options.weights, planned.loaded, options.image_url
        ) as cluster:
            return _run(planned, cluster)
    finally:
        store.release()


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
        search.here if cluster is None else cluster.hand_out,
    )


def _end_to_end(rows: Sequence[dict[int, str]], all_jobs: Sequence[extract.Job]) -> dict[int, str]:
    """Return the missing rows of several lists as rows of the lists laid end to end."""
    out: dict[int, str] = {}
    first = 0
    for gone, job in zip(rows, all_jobs, strict=False):
        out |= {first + row: why for row, why in gone.items()}
        first += len(job.work.listed.images)
    return out


def reranking(
    planned: Plan, absent: Sequence[dict[int, str]], by: extract.Doer | None = None
) -> rerank.Reranking:
    """Return the stage that re-ranks the lists of this run; nothing is computed yet."""
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    assert options.rerank is not None
    rule = methods.local_of(loaded.method, loaded.info)

    def verify(
        shortlist: Shortlist, mask: NDArray[np.bool_], phases: dict[str, float]
    ) -> rerank.Verified:
        def features(
            what: str, folder: Path, wanted: Sequence[Image], rows: Rows, gone: dict[int, str]
        ) -> Any:
            start, phase = time.perf_counter(), f"local features, {what}"
            kept = local_store.extract_local(
                loaded,
                folder,
                wanted,
                rows,
                rule,
                options.local_precision,
                phase,
                force=options.force,
                missing=gone if options.allow_missing else None,
                by=by,
            )
            phases[phase] = time.perf_counter() - start
            return kept

        wanted = np.unique(shortlist.row[mask])
        of_rows, first = [], 0
        for (what, one), gone in zip(planned.database_lists(), absent, strict=False):
            rows = wanted[(wanted >= first) & (wanted < first + len(one.database))] - first
            if len(rows):
                kept = features(what, one.folder, one.database, rows, gone)
                of_rows.append((first, len(rows), kept))
            first += len(one.database)
        shown = datasets.shown_queries(dataset)
        asked = np.flatnonzero(mask.any(axis=1))
        of_queries = features("queries", dataset.folder, shown, asked, absent[-1])

        def read(row: int) -> LocalFeatures:
            first, _, kept = next(of for of in reversed(of_rows) if of[0] <= row)
            found: LocalFeatures = kept.read(row - first)
            return found

        start = time.perf_counter()
        inliers, query_ms = rerank.count_inliers(
            shortlist, mask, of_queries.read, read, rule, options.ransac
        )
        phases["re-rank"] = time.perf_counter() - start
        about = {
            "pairs": int(mask.sum()),
            "ms_per_query": timing.summarise(timing.in_blocks(query_ms)),
            "features_per_image": sum(n * kept.features for _, n, kept in of_rows) / len(wanted),
            "bytes_per_image": sum(n * kept.bytes for _, n, kept in of_rows) / len(wanted),
        }
        return rerank.Verified(inliers, about)

    return rerank.Reranking(rerank.stage_of(options.rerank, rule), verify)
