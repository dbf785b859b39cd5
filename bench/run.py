"""A run, from names to a record: the list of calls that the whole project is about."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import (
    approximate,
    card,
    compress,
    datasets,
    distractors,
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
from bench.types import Dataset, Image, LocalFeatures, Preprocess, Rows, Shortlist


@dataclass(frozen=True)
class Plan:
    """A run that is about to start: everything loaded and checked, nothing computed."""

    dataset: Dataset
    distractors: tuple[Dataset, ...]
    loaded: engine.Loaded
    card: card.Card
    options: Options

    def database_lists(self) -> list[tuple[str, Dataset]]:
        """Return what is searched, in order of rows: the data set, then its distractors."""
        return [("database", self.dataset)] + [
            (f"distractors {added.name}", added) for added in self.distractors
        ]


def plan(method_name: str, dataset_name: str, options: Options) -> Plan:
    """Load data set and method, apply the options, and refuse what cannot work."""
    dataset = datasets.check_queries(datasets.load(dataset_name))
    if options.limit is not None:
        dataset = datasets.limited(dataset, options.limit)
    if options.query_crop == "whole":
        dataset = replace(dataset, crop="whole")
    extract.check_files(dataset.folder, [*dataset.database, *dataset.queries])
    added = distractors.load(options.distractors, dataset, options.limit)
    if any(one.limit is not None for one in added):
        dataset = replace(dataset, limit=options.limit)
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
    n_rows = sum(len(one.database) for one in (dataset, *added))
    made = card.make(
        dataset,
        rule,
        unit_norm=True,
        distractors=[(one.name, len(one.database)) for one in added],
        rerank=said,
        compression=compress.sentence(compress.parse(options.compression), info.dim, n_rows),
        search=approximate.sentence(approximate.parse(options.search), info.dim, n_rows),
    )
    if added:
        made["distractors"] |= distractors.on_card(added)
    return Plan(dataset, added, loaded, made, options)


def with_query_crop(rule: Preprocess, query_crop: str | None) -> Preprocess:
    """Return the rule with the cap that `--query-crop` names for cropped queries."""
    caps: dict[str | None, Any] = {"crop": "own", "crop-relative": "relative"}
    return replace(rule, query_cap=caps[query_crop]) if query_crop in caps else rule


def describe_plan(planned: Plan) -> list[str]:
    """Return what `--dry-run` prints."""
    dataset, loaded = planned.dataset, planned.loaded
    info, out = loaded.info, []
    out.append(f"method: {info.name}.{info.variant} ({info.dim}-d), {info.weights['source']}")
    out.append(f"data set: {dataset.name} ({dataset.variant}), {dataset.folder}")
    for what, folder, wanted in _lists(planned):
        kept = extract.open_for(loaded, folder, wanted)
        todo = sum(b - a for a, b in map(kept.span, store.missing(kept)))
        size = len(wanted) * info.dim * 4 / 1e6
        out.append(f"{what}: {len(wanted)} images, {todo} to describe, {size:.1f} MB in the store")
    if planned.options.rerank is not None:
        out.append(f"re-ranking: {planned.card['candidates_rule']}")
    for word in ("compression", "search"):
        if planned.card[word] not in ("none (float32)", "exact"):
            out.append(f"{word}: {planned.card[word]}")
    out.append(f"device: {loaded.device}")
    out.append(f"card: {card.short(planned.card)}, {planned.card['crop_rule']}")
    return out


def _lists(planned: Plan) -> list[tuple[str, Path, tuple[Image, ...]]]:
    """Return what is to be described: name, folder and images; the queries last."""
    dataset = planned.dataset
    searched = [(what, one.folder, one.database) for what, one in planned.database_lists()]
    return [*searched, ("queries", dataset.folder, datasets.shown_queries(dataset))]


def run(planned: Plan) -> Path:
    """Describe, search, score, measure; return the path of the record."""
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    lists = _lists(planned)
    phases: dict[str, float] = {}
    described: list[list[Matrix]] = []
    faults: list[str] = []
    from_store = 0
    for what, folder, wanted in lists:
        start = time.perf_counter()
        try:
            parts, kept = extract.extract(
                loaded, folder, wanted, f"describe {what}", force=options.force
            )
        except extract.BrokenImagesError as error:  # all of them are named, of all lists
            faults += error.faults
            continue
        described.append(parts)
        from_store += kept
        phases[f"describe {what}"] = time.perf_counter() - start
    if faults:
        raise extract.BrokenImagesError(faults, sum(len(wanted) for _, _, wanted in lists))
    start = time.perf_counter()
    measured = latency.measure(loaded, dataset.folder, dataset.database)
    phases["latency"] = time.perf_counter() - start
    timing = {"phases_s": phases, "images_from_store": from_store, "latency": measured}
    return finish(
        dataset,
        [part for parts in described[:-1] for part in parts],
        described[-1],
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
        def features(what: str, folder: Path, wanted: Sequence[Image], rows: Rows) -> Any:
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
            )
            phases[phase] = time.perf_counter() - start
            return kept

        wanted = np.unique(shortlist.row[mask])
        of_rows, first = [], 0
        for what, one in planned.database_lists():
            rows = wanted[(wanted >= first) & (wanted < first + len(one.database))] - first
            if len(rows):
                kept = features(what, one.folder, one.database, rows)
                of_rows.append((first, len(rows), kept))
            first += len(one.database)
        shown = datasets.shown_queries(dataset)
        of_queries = features("queries", dataset.folder, shown, np.flatnonzero(mask.any(axis=1)))

        def read(row: int) -> LocalFeatures:
            first, _, kept = next(of for of in reversed(of_rows) if of[0] <= row)
            found: LocalFeatures = kept.read(row - first)
            return found

        start = time.perf_counter()
        inliers, query_ms = rerank.count_inliers(
            shortlist, mask, of_queries.read, read, rule.match_distance, options.ransac
        )
        phases["re-rank"] = time.perf_counter() - start
        about = {
            "pairs": int(mask.sum()),
            "ms_per_query": latency.percentiles(query_ms),
            "features_per_image": sum(n * kept.features for _, n, kept in of_rows) / len(wanted),
            "bytes_per_image": sum(n * kept.bytes for _, n, kept in of_rows) / len(wanted),
        }
        return rerank.Verified(inliers, about)

    return rerank.Reranking(rerank.Stage(options.rerank), verify)
