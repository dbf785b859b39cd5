"""A run, from names to a record: the list of calls that the whole project is about."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import (
    card,
    datasets,
    engine,
    extract,
    latency,
    local_store,
    machine,
    methods,
    rerank,
    store,
)
from bench.descriptors import Matrix
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
    datasets.check_queries(dataset)
    if options.allow_partial:
        dataset = datasets.available(dataset)
    if options.limit is not None:
        dataset = datasets.limited(dataset, options.limit)
    if options.query_crop == "whole":
        dataset = replace(dataset, crop="whole")
    dataset, _ = datasets.placed(dataset)
    extract.check_files(dataset.folder, [*dataset.database, *dataset.queries])
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
    """Return what `--dry-run` prints."""
    dataset, loaded = planned.dataset, planned.loaded
    info, out = loaded.info, []
    out.append(f"method: {info.name}.{info.variant} ({info.dim}-d), {info.weights['source']}")
    if dataset.absent is not None:
        gone = "{} database images and {} queries are not here".format(*dataset.absent)
        out.append(f"partial: {gone}, and are left out")
    lists = (("database", dataset.database), ("queries", datasets.shown_queries(dataset)))
    out.append(f"data set: {dataset.name} ({dataset.variant}), {dataset.folder}")
    for what, wanted in lists:
        kept = extract.open_for(loaded, dataset.folder, wanted)
        todo = sum(b - a for a, b in map(kept.span, store.missing(kept)))
        size = len(wanted) * info.dim * 4 / 1e6
        out.append(f"{what}: {len(wanted)} images, {todo} to describe, {size:.1f} MB in the store")
    if planned.options.rerank is not None:
        out.append(f"re-ranking: {planned.card['candidates_rule']}")
    out.append(f"device: {loaded.device}")
    out.append(f"card: {card.short(planned.card)}, {planned.card['crop_rule']}")
    return out


def run(planned: Plan) -> Path:
    """Describe, search, score, measure; return the path of the record."""
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    shown = datasets.shown_queries(dataset)
    phases: dict[str, float] = {}
    described: list[list[Matrix]] = []
    faults: list[str] = []
    from_store = 0
    for what, wanted in (("database", dataset.database), ("queries", shown)):
        start = time.perf_counter()
        try:
            parts, kept = extract.extract(
                loaded, dataset.folder, wanted, f"describe {what}", force=options.force
            )
        except extract.BrokenImagesError as error:  # all of them are named, of both lists
            faults += error.faults
            continue
        described.append(parts)
        from_store += kept
        phases[f"describe {what}"] = time.perf_counter() - start
    if faults:
        raise extract.BrokenImagesError(faults, len(dataset.database) + len(shown))
    start = time.perf_counter()
    measured = latency.measure(loaded, dataset.folder, dataset.database)
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
        None if options.rerank is None else reranking(planned),
    )


def reranking(planned: Plan) -> rerank.Reranking:
    """Return the stage that re-ranks the lists of this run; nothing is computed yet."""
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    assert options.rerank is not None
    rule = methods.local_of(loaded.method, loaded.info)

    def verify(
        shortlist: Shortlist, mask: NDArray[np.bool_], phases: dict[str, float]
    ) -> rerank.Verified:
        kept = []
        for what, wanted, rows in (
            ("database", dataset.database, np.unique(shortlist.row[mask])),
            ("queries", datasets.shown_queries(dataset), np.flatnonzero(mask.any(axis=1))),
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
