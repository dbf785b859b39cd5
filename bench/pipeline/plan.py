"""A run that is about to start: names loaded, options applied, what cannot work refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from bench import datasets, methods, stages
from bench.data import boxes, copies
from bench.describe import engine, extract, warm
from bench.errors import BenchError
from bench.pipeline import distractors, needs, stage_costs
from bench.pipeline.chain import CODES, Chain, chain_of, with_codes
from bench.pipeline.needs import ListOf, Needed, other_method
from bench.pipeline.options import Options
from bench.pipeline.score import check_search, searched_as
from bench.rerank import verification
from bench.scoring import card
from bench.search import compress
from bench.stage import Stage
from bench.store import room
from bench.system.notes import note
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
    local: engine.Loaded | None = None  # of local features, where a stage needs them

    def database_lists(self) -> list[tuple[str, Dataset]]:
        """Return the searched lists in order of rows: the data set, then its distractors."""
        return [("database", self.dataset)] + [
            (f"distractors {added.name}", added) for added in self.distractors
        ]


def plan(
    method_name: str, dataset_name: str, options: Options, chosen: Sequence[Stage] | None = None
) -> Plan:
    """Load data set and method, apply the options, and refuse what cannot work.

    `chosen` are stages in place of those of the options.
    """
    lists = lists_of(dataset_name, options)
    made = joined(method_name, _load(method_name, options), lists, options, chosen)
    check_copies(lists)
    return made


def _load(method_name: str, options: Options) -> engine.Loaded:
    return warm.load(
        method_name, options.weights, options.device, options.settings, options.pixels.rule
    )


@dataclass(frozen=True)
class Lists:
    """The data set of a run and its distractors, as the options have them."""

    dataset: Dataset
    distractors: tuple[Dataset, ...]


@dataclass(frozen=True)
class Checked:
    """A run that can be done; without its plan where that would keep a network in memory."""

    method: str
    lists: Lists
    options: Options
    kept: Plan | None

    def plan(self) -> Plan:
        """Return the plan; the network is loaded again where it was dropped."""
        if self.kept is not None:
            return self.kept
        return joined(self.method, _load(self.method, self.options), self.lists, self.options)


def plan_all(
    method_names: Sequence[str], dataset_names: Sequence[str], options: Options
) -> tuple[list[Checked], list[BenchError]]:
    """Plan every method on every data set; return the runs, and what refuses any of them.

    The order is that of the data sets, then that of the methods. A sentence that refuses several
    runs is there once. Of several methods one network at a time is in memory.
    """
    lists: dict[str, Lists] = {}
    refused: dict[str, BenchError] = {}
    runs: dict[tuple[str, str], Checked] = {}
    for name in dict.fromkeys(dataset_names):
        with _kept(refused):
            lists[name] = lists_of(name, options)
    _check_names(method_names, options, refused)
    if refused:
        return [], list(refused.values())
    keep = len(set(method_names)) == 1
    for method in dict.fromkeys(method_names):
        made, faults = _plans_of(method, lists, options, keep)
        runs |= {(name, method): run for name, run in made.items()}
        for fault in faults:
            refused.setdefault(str(fault), fault)
    if refused:
        return [], list(refused.values())
    for those in lists.values():
        with _kept(refused):
            check_copies(those)
    wanted = [(name, method) for name in dataset_names for method in method_names]
    return [runs[pair] for pair in wanted if pair in runs], list(refused.values())


def _check_names(
    method_names: Sequence[str], options: Options, refused: dict[str, BenchError]
) -> None:
    """Check methods and stages without loading them; add faults to `refused`."""
    for method in dict.fromkeys(method_names):
        with _kept(refused):
            warm.check(method, options.weights)
    if options.local is not None:
        with _kept(refused):
            warm.check(options.local)
    texts: tuple[str, ...] = ()
    with _kept(refused):
        texts = with_codes(options).stages  # codes are no stage
    for text in texts:
        with _kept(refused):
            if stages.split(text)[0] != stages.VERIFICATION:
                stages.parse(text)


@contextmanager
def _kept(refused: dict[str, BenchError]) -> Iterator[None]:
    """Keep the error that ends the block, the first of each sentence."""
    try:
        yield
    except BenchError as error:
        refused.setdefault(str(error), error)


def _plans_of(
    method: str, lists: Mapping[str, Lists], options: Options, keep: bool
) -> tuple[dict[str, Checked], list[BenchError]]:
    """Plan one method on every data set; `keep` the plans, or drop them with the network.

    What this function holds is gone when the next method is loaded.
    """
    try:
        loaded = _load(method, options)
    except BenchError as error:
        return {}, [error]
    runs: dict[str, Checked] = {}
    faults = []
    for name, those in lists.items():
        try:
            made = joined(method, loaded, those, options)
        except BenchError as error:
            faults.append(error)
        else:
            runs[name] = Checked(method, those, options, made if keep else None)
    return runs, faults


def lists_of(dataset_name: str, options: Options) -> Lists:
    """Load a data set and its distractors; refuse what cannot be scored, or lacks files."""
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
    if dataset.crop == "box":
        found = boxes.check(dataset)
        if not options.allow_missing:
            boxes.refuse(found, dataset)
        for line in found.lines():
            note(f"{dataset.name}: {line}")
    added = distractors.load(options.distractors, dataset, options.limit)
    if any(extra.limit is not None for extra in added):
        dataset = replace(dataset, limit=options.limit, limit_rule="positives")
    return Lists(dataset, added)


def check_copies(lists: Lists) -> None:
    """Say which queries are in the database by content; refuse distractors that are copies.

    All images are hashed, so this comes after everything that is refused without reading them.
    """
    dataset = lists.dataset
    prints = copies.prints_of(dataset)
    for line in itertools.chain(*copies.lines(copies.queries_in_database(dataset, prints))):
        note(f"{dataset.name}: {line}")
    for added in lists.distractors:
        distractors.check_copies(added, dataset, prints)


def joined(
    method_name: str,
    loaded: engine.Loaded,
    lists: Lists,
    options: Options,
    chosen: Sequence[Stage] | None = None,
) -> Plan:
    """Return the plan of a loaded method on the lists of a run; refuse what does not fit."""
    dataset, added, options = lists.dataset, lists.distractors, with_codes(options)
    local = loaded if options.local is None else other_method(options.local, options)
    chain = chain_of(options, _stages(options, loaded, local) if chosen is None else chosen)
    chain = replace(chain, stages=needs.on_evaluated(chain.stages, dataset))
    needed = needs.resolve(chain.stages, _lists(dataset, added), loaded, options)
    if options.compression == compress.CODES:
        needed = [*needed, needs.of_codes(loaded, _lists(dataset, added))]
    facts = {extra.need: extra.facts for extra in needed}
    rows = sum(len(extra.database) for extra in added)
    chain = chain.fit_to(dataset, rows, loaded.info.dim, facts)
    stage_costs.check(chain, force=options.force)
    searched = facts[CODES].dim if CODES in facts else chain.dim(loaded.info.dim)
    made = card.make(
        dataset,
        loaded.rule,
        unit_norm=True,
        precision=engine.precision(loaded),
        distractors=[(extra.name, len(extra.database)) for extra in added],
        stages=chain.entries(),
        **searched_as(options, searched, len(dataset.database) + rows),
    )
    if added:
        made["distractors"] |= distractors.on_card(added)
    return Plan(dataset, added, loaded, made, options, method_name, chain, needed, local)


def _stages(options: Options, loaded: engine.Loaded, local: engine.Loaded) -> list[Stage]:
    """Return the stages of a run in order; geometric verification is the method's."""
    texts = options.stages
    if options.rerank is not None:
        if any(stages.split(text)[0] == stages.VERIFICATION for text in texts):
            raise BenchError("--rerank is short for --stage rerank at the end; give one of them.")
        texts = (*texts, f"{stages.VERIFICATION}:{options.rerank}")
    return [
        _verification(text, options, loaded, local)
        if stages.split(text)[0] == stages.VERIFICATION
        else stages.parse(text)
        for text in texts
    ]


def _verification(
    text: str, options: Options, loaded: engine.Loaded, local: engine.Loaded
) -> Stage:
    """Return the stage of `rerank[:RULE]`, with the local features of a method, `local`."""
    _, rule, rest = stages.split(text)
    candidates = rule or "deployable"
    if rest or candidates not in verification.RULES:
        raise BenchError(f"--stage {text!r}: write rerank:RULE; RULE is one of "
                         f"{', '.join(verification.RULES)}.")  # fmt: skip
    local_rule = methods.local_of(local.method, local.info)
    by = None if local is loaded else needs.stated(local)
    stage = verification.stage_of(candidates, local_rule)
    return verification.Verification(stage, local_rule, options.ransac, options.local_precision, by)


def _lists(dataset: Dataset, added: Sequence[Dataset]) -> list[ListOf]:
    """Return the lists of a run: database, distractors, and the queries last."""
    lists: list[ListOf] = [("database", dataset.folder, dataset.database)]
    lists += [(f"distractors {extra.name}", extra.folder, extra.database) for extra in added]
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
        prepare(images.folder, images.database, f"describe {what}")
        for what, images in planned.database_lists()
    ]
    shown = datasets.shown_queries(dataset)
    return [*out, prepare(dataset.folder, shown, "describe queries", database=out[0])]


def room_needed(planned: Plan, all_jobs: Sequence[extract.Job]) -> str:
    """Return how much is going to be written and how much may be; refuse what does not fit."""
    dataset, options = planned.dataset, planned.options
    wanted = [job.need(4 * job.work.store.dim) for job in all_jobs]
    labelled = sum(len(t.positive) + len(t.ignored) for p in dataset.protocols for t in p.truth)
    depth = min(options.shortlist, len(dataset.database))
    wanted.append(room.record(options.results, len(dataset.queries), labelled, depth))
    room.check_room(wanted)
    free = room.size(room.free_bytes(cache_root()))
    total = room.size(sum(need.bytes for need in wanted))
    return f"{total}; {free} are free for {cache_root()}"
