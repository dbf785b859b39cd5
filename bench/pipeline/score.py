"""From a walk to a record: scores, costs, what was done; the same for a run and for `evaluate`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.measure import costs, timing
from bench.measure.earlier import Measured
from bench.pipeline import query_cost
from bench.pipeline.chain import Chain
from bench.pipeline.options import Options
from bench.pipeline.walk import Inputs, Walked
from bench.records import record, replay
from bench.records.blocks import ARRAY
from bench.scoring import card, intervals
from bench.scoring.blocks import blocks_of
from bench.scoring.scores import headline, tables, ties_of, with_intervals
from bench.search import compress, faiss_index, missing
from bench.store import matrix
from bench.system import machine
from bench.system.hashing import plain
from bench.types import Dataset, Image, MethodInfo

SEED = 0
BROUGHT = "not stated: descriptors were brought"


@dataclass(frozen=True)
class Taken:
    """What was done before the walk, as a record keeps it.

    `phases_s` are seconds by phase; `timing` has the other entries of the record's section;
    `measured` is what describing costs, where that was measured; `device` is None where nothing
    ran on one; `searched` are the images of the rows; `nodes` gives the machines of a cluster;
    `query` is what a query takes until it is searched, `busy` are signs of other work in the walk.
    """

    phases_s: Mapping[str, float] = field(default_factory=dict)
    timing: Mapping[str, Any] = field(default_factory=lambda: {"latency": None})
    measured: Measured | None = None
    device: str | None = None
    searched: Sequence[Image] = ()
    nodes: Callable[[], list[dict[str, Any]]] | None = None
    query: query_cost.Query | None = None
    busy: Sequence[str] = ()


@dataclass(frozen=True)
class Scored:
    """What `bench.records.record.write` makes a record of."""

    content: dict[str, Any]
    arrays: record.Arrays

    def write(self, results: Path) -> Path:
        """Write the record below a folder of results; return its path."""
        return record.write(results, self.content, self.arrays)


def scored(
    walked: Walked,
    inputs: Inputs,
    stated: card.Card,
    info: MethodInfo,
    options: Options,
    chain: Chain,
    taken: Taken,
) -> Scored:
    """Score what a walk found, and measure the search; return what a record is written from."""
    ground, start = inputs.ground, time.perf_counter()
    dataset, absent = ground.dataset, ground.absent
    made = tables(walked.ranks, dataset.protocols, absent.queries)
    blocks = blocks_of(dataset, headline(made, dataset.protocols))
    scores = with_intervals(made, dataset.protocols, blocks, SEED)
    phases = {**taken.phases_s, **walked.phases_s, "score": time.perf_counter() - start}
    content: dict[str, Any] = {
        "run_id": record.new_run_id(),
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "command": options.command,
        "card": missing.on_card(stated | counted(walked, absent, options), absent),
        "method": plain(info),
        "scores": record.scores_to_json(scores),
        "intervals": intervals.stated(blocks),
        "ties": ties_of(walked.first.before.ranks[0]),
        "timing": {"phases_s": {k: round(s, 4) for k, s in phases.items()}, **taken.timing},
        "memory": {"peak_resident_bytes": 0, "peak_device_bytes": None},
        "bytes_per_image": walked.first.space.parts[0].row_bytes(),
        "partial": any((dataset.limit is not None, dataset.absent, dataset.unlike, absent)),
        "machine": machine.describe(taken.device)
        | ({} if taken.nodes is None else {"nodes": taken.nodes()}),
        "libraries": machine.libraries(),
        "source": machine.source(),
        "seed": SEED,
    }
    if absent:
        searched = taken.searched or dataset.database
        content["missing"] = missing.listed(absent, searched, dataset.queries)
    content |= _of_stages(walked, inputs, chain)
    if walked.first.retrieved is not None:
        content["approximate"] = _loss(walked, dataset, options, absent)
    costs.add(
        content,
        walked.first.space.parts,
        walked.first.space.searched.queries,
        options.shortlist,
        options.memory_budget_mib << 20,
        taken.device,
        options.measure,
        taken.measured,
        walked.first.retrieved,
        chain.index,
    )
    if taken.query is not None:
        content["memory"]["networks"] = list(taken.query.networks)
        content["timing"]["query"] = query_cost.whole(
            taken.query, content["timing"]["search"], chain, walked, taken.busy
        )
    arrays = {**arrays_of(walked, dataset, chain), ARRAY: blocks.of_query}
    return Scored(content, arrays)


def searched_as(options: Options, dim: int, n_rows: int, name: str = "float32") -> card.Card:
    """Return the entries of a card for compression and search; refuse options that do not fit.

    `n_rows` counts database and distractors; `name` is the type of uncompressed rows.
    """
    choice, index = compress.parse(options.compression), faiss_index.parse(options.search)
    return {
        "compression": compress.code(choice, dim, n_rows, name),
        "search": faiss_index.code(index, dim, n_rows),
    }


def check_search(dataset: Dataset, options: Options) -> None:
    """Refuse an index for a data set that is searched area by area."""
    if dataset.areas is not None and faiss_index.parse(options.search) is not None:
        raise BenchError(
            f"{dataset.name} is searched area by area, which an index of the whole database "
            "cannot do; use --search exact."
        )


def counted(walked: Walked, absent: missing.Missing, options: Options) -> card.Card:
    """Return what changes on a card where a compression or an index has fewer rows to fit."""
    if not absent:
        return {}
    dim, left = walked.first.space.parts[0].shape[1], matrix.count_rows(walked.first.space.parts)
    return searched_as(options, dim, left)


def _of_stages(walked: Walked, inputs: Inputs, chain: Chain) -> dict[str, Any]:
    """Return the entries of a record for its stages: of re-ranking alone, or of each of a chain."""
    methods = [
        [inputs.supplied[need].about for need in stage.needs() if need.role == "second"]
        for stage in chain.rows
    ]
    about = [{"method": plain(of[0])} if of and of[0] else {} for of in methods]
    about += [dict(step.about) for step in walked.steps]
    for entry, step in zip(about[len(chain.rows) :], walked.steps, strict=True):
        if step.ms_per_query:
            entry["ms_per_query"] = timing.summarise(timing.in_blocks(step.ms_per_query))
    if replay.alone(chain.stages):
        return {"rerank": about[0]}
    named = zip(chain.stages, about, strict=True)
    return {"stages": [{"stage": stage.name, **rest} for stage, rest in named]} if about else {}


def _loss(
    walked: Walked, dataset: Dataset, options: Options, absent: missing.Missing
) -> dict[str, Any]:
    """Return the entries of a record for an approximate search: what it lost and took."""
    assert walked.first.retrieved is not None
    assert walked.first.exact is not None
    seconds = walked.first.retrieved.seconds | {"exact_search": walked.phases_s["search"]}
    index = faiss_index.parse(options.search)
    assert index is not None
    return {
        "index": index.name,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "index_bytes": walked.first.retrieved.index_bytes,
        **faiss_index.loss(
            dataset.protocols,
            len(dataset.database),
            walked.first.before.ranks[0],
            walked.first.before.shortlist[0],
            walked.first.exact.ranks[0].rank,
            walked.first.exact.shortlist[0].row,
            absent.queries,
        ),
    }


def arrays_of(walked: Walked, dataset: Dataset, chain: Chain) -> record.Arrays:
    """Return the arrays of the record: of the search, of every stage, of an exact search beside."""
    arrays = record.arrays_of(
        walked.first.before.ranks[0], walked.first.before.shortlist[0], dataset
    )
    names = [protocol.name for protocol in dataset.protocols]
    if replay.alone(chain.stages):
        arrays["shortlist_inliers"] = walked.steps[0].arrays["inliers"][0]
    else:
        before, steps = walked.first.before, zip(chain.lists, walked.steps, strict=True)
        for place, (stage, step) in enumerate(steps, start=len(chain.rows)):
            arrays |= replay.arrays_of(place, step, before, names, stage.searches_again)
            before = step.ranking
    first = walked.first
    if first.exact is not None:
        arrays["exact_rank"] = first.exact.ranks[0].rank
        arrays["exact_shortlist_row"] = first.exact.shortlist[0].row
    return arrays
