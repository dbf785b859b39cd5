"""A run that is about to start: names loaded, options applied, what cannot work refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bench import datasets, methods, stages
from bench.describe import engine, extract, loading
from bench.errors import BenchError
from bench.pipeline import distractors, needs
from bench.pipeline.chain import Chain, chain_of
from bench.pipeline.needs import ListOf, Needed
from bench.pipeline.options import Options
from bench.pipeline.score import check_search, searched_as
from bench.rerank import verification
from bench.scoring import card
from bench.stage import Stage
from bench.store import room
from bench.system.paths import cache_root
from bench.types import Dataset


@dataclass(frozen=True)
class Plan:
    """A run that is about to start: everything loaded and checked, nothing computed."""

    dataset: Dataset
    distractors: tuple[Dataset, ...]
    loaded: engine.Loaded
    card: card.Card
    options: Options
    method: str  # as it was named
    chain: Chain = field(default_factory=Chain)
    needed: Sequence[Needed] = ()

    def database_lists(self) -> list[tuple[str, Dataset]]:
        """Return what is searched, in order of rows: the data set, then its distractors."""
        return [("database", self.dataset)] + [
            (f"distractors {added.name}", added) for added in self.distractors
        ]


def plan(
    method_name: str, dataset_name: str, options: Options, chosen: Sequence[Stage] | None = None
) -> Plan:
    """Load data set and method, apply the options, and refuse what cannot work.

    `chosen` are stages in place of those of the options.
    """
    dataset = datasets.check_queries(datasets.load(dataset_name))
    check_search(dataset, options)
    datasets.say_notes(dataset)
    dataset, _ = datasets.placed(dataset)  # before anything is left out of the lists
    if options.allow_partial:
        dataset = datasets.available(dataset)
    if options.limit is not None:
        dataset = datasets.limited(dataset, options.limit)
    if options.pixels.query_crop == "whole":
        dataset = replace(dataset, crop="whole")
    wanted = [*dataset.database, *dataset.queries]
    extract.check_files(dataset.folder, wanted, allow_missing=options.allow_missing)
    added = distractors.load(options.distractors, dataset, options.limit)
    if any(one.limit is not None for one in added):
        dataset = replace(dataset, limit=options.limit)
    loaded = loading.load(
        method_name, options.weights, options.device, options.settings, options.pixels.rule
    )
    chain = chain_of(options, _stages(options, loaded) if chosen is None else chosen)
    needed = needs.resolve(chain.stages, _lists(dataset, added), dataset, loaded, options)
    facts = {one.need: one.facts for one in needed}
    rows = sum(len(one.database) for one in added)
    chain = chain.fit_to(dataset, rows, loaded.info.dim, facts)
    made = card.make(
        dataset,
        loaded.rule,
        unit_norm=True,
        precision=engine.precision(loaded),
        distractors=[(one.name, len(one.database)) for one in added],
        stages=chain.entries(),
        **searched_as(options, chain.dim(loaded.info.dim), len(dataset.database) + rows),
    )
    if added:
        made["distractors"] |= distractors.on_card(added)
    return Plan(dataset, added, loaded, made, options, method_name, chain, needed)


def _stages(options: Options, loaded: engine.Loaded) -> list[Stage]:
    """Return the stages of a run in order; geometric verification is the method's."""
    texts = options.stages
    if options.rerank is not None:
        if any(stages.split(text)[0] == stages.VERIFICATION for text in texts):
            raise BenchError("--rerank is --stage rerank at the end; give one of them.")
        texts = (*texts, f"{stages.VERIFICATION}:{options.rerank}")
    return [
        _verification(text, options, loaded)
        if stages.split(text)[0] == stages.VERIFICATION
        else stages.parse(text)
        for text in texts
    ]


def _verification(text: str, options: Options, loaded: engine.Loaded) -> Stage:
    """Return the stage of `rerank[:RULE]`, with the local features of the method."""
    _, rule, rest = stages.split(text)
    candidates = rule or "deployable"
    if rest or candidates not in verification.RULES:
        raise BenchError(f"--stage {text!r} is written rerank:RULE; RULE is one of "
                         f"{', '.join(verification.RULES)}.")  # fmt: skip
    local_rule = methods.local_of(loaded.method, loaded.info)
    stage = verification.stage_of(candidates, local_rule)
    return verification.Verification(stage, local_rule, options.ransac, options.local_precision)


def _lists(dataset: Dataset, added: Sequence[Dataset]) -> list[ListOf]:
    """Return the lists of a run: database, distractors, and the queries last."""
    lists: list[ListOf] = [("database", dataset.folder, dataset.database)]
    lists += [(f"distractors {one.name}", one.folder, one.database) for one in added]
    return [*lists, ("queries", dataset.folder, datasets.shown_queries(dataset))]


def jobs(planned: Plan) -> list[extract.Job]:
    """Return what is to be described of the run's own lists, the queries last; nothing is done.

    What its stages need besides is in `needs.jobs`.
    """
    dataset, options = planned.dataset, planned.options
    prepare = partial(
        extract.prepare,
        planned.loaded,
        force=options.force,
        allow_missing=options.allow_missing,
    )
    out = [
        prepare(one.folder, one.database, f"describe {what}")
        for what, one in planned.database_lists()
    ]
    shown = datasets.shown_queries(dataset)
    return [*out, prepare(dataset.folder, shown, "describe queries", database=out[0])]


def room_needed(planned: Plan, all_jobs: Sequence[extract.Job]) -> str:
    """Return how much is going to be written and how much may be; refuse what does not fit."""
    dataset, options = planned.dataset, planned.options
    wanted = [job.need(4 * job.work.store.dim) for job in all_jobs]
    labelled = sum(len(t.positive) + len(t.ignored) for p in dataset.protocols for t in p.truth)
    depth = min(options.shortlist, len(dataset.database))
    wanted.append(room.record(options.output, len(dataset.queries), labelled, depth))
    room.check_room(wanted)
    free = room.size(room.free_bytes(cache_root()))
    total = room.size(sum(need.bytes for need in wanted))
    return f"{total}; {free} are free for {cache_root()}"
