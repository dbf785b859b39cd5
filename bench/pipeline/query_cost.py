"""What a query of a run takes, from its file to its list: all networks, all stages, one at a time.

decode          file to pixels, once for every method that describes the query
describe        pixels to descriptor: the run's own method, and the second of a fusion
stage           a stage on descriptors: one row through it; on lists: one list through it
encode          the query's own code, where a compression codes queries, or the method gives codes
search          one query against the rows, to its list; codes are decoded in it
local features  pixels to the query's local features, where a stage verifies geometry; from its
                file, where another method makes them

A stage that does all queries together takes their time divided by their number. The p50 of the sum
is the sum of the p50s, which it is about; the ends of the intervals are added, which is cautious.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import methods
from bench.describe import engine, local_store
from bench.images import decode
from bench.measure import busy, earlier, timing
from bench.measure.earlier import Measured
from bench.pipeline.chain import Chain
from bench.pipeline.lists import Lists
from bench.pipeline.rows import RowChain
from bench.pipeline.space import How
from bench.pipeline.walk import Inputs, Walked
from bench.search import compress
from bench.store.matrix import count_rows, take
from bench.system.hashing import plain, sha256_json
from bench.types import Image, Measure

if TYPE_CHECKING:
    from bench.measure.alone import Local
    from bench.pipeline.plan import Plan

Part = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """Parts before the search in order, and signs of other work while they were measured.

    `networks` is what a record keeps of the memory of every method; `local` the last part of those
    that describe, where a stage needs it.
    """

    parts: Sequence[Part]
    busy: Sequence[str] = ()
    networks: Sequence[Mapping[str, Any]] = ()
    local: Sequence[Part] = field(default_factory=tuple)


@dataclass(frozen=True)
class Describer:
    """A method that describes a query: as it was named, loaded, and the key of its rows.

    `codes`: these are codes of the run's own method, from the same pixels and the same network.
    """

    name: str
    loaded: engine.Loaded
    store: str
    weights: str | None = None
    codes: bool = False

    def fresh(self, planned: Plan, usable: Sequence[Image], how: Measure) -> Measured:
        """Return what describing costs: as measured earlier where that may be."""

        def measured() -> Measured:
            from bench.measure import latency

            return latency.measure(self.loaded, planned.dataset.folder, usable, how)

        return earlier.of_describing(self.loaded, self.store, how, measured)

    def memory(self, planned: Plan, usable: Sequence[Image], how: Measure, local: Local) -> Any:
        """Return the memory of the method in a process of its own."""
        folder, loaded = planned.dataset.folder, self.loaded

        def measured() -> dict[str, Any]:
            from bench.measure import alone, latency

            image = latency.middle(folder, usable)
            return alone.measure(alone.asked(self.name, self.weights, loaded, folder, image,
                                             local=local)) or {}  # fmt: skip

        about = {"of": "memory", "store": self.store, "settings": plain(loaded.settings),
                 "local": local}  # fmt: skip
        kept = earlier.recalled(about, loaded.device, how, measured)
        info = loaded.info
        return {"method": f"{info.name}.{info.variant}",
                "resident": kept.get("resident"), "device": kept.get("device")}  # fmt: skip


def described(
    planned: Plan,
    describers: Sequence[Describer],
    usable: Sequence[Image],
    measured: Measured,
) -> Query:
    """Measure what describing a query takes with the run's method, the first, and all others.

    `measured` is what the first costs; `usable` are images that have a descriptor.
    """
    how, parts, signs, networks = planned.options.measure, list[Part](), list[str](), []
    local = planned.local if _verifies(planned.chain) else None
    for place, describer in enumerate(describers):
        cost = measured if place == 0 else describer.fresh(planned, usable, how)
        signs += cost.latency.get("busy", [])
        if describer.codes:
            parts.append({"part": "encode", "ms": cost.latency["describe_ms"]})
            continue
        of = {} if place == 0 else {"of": _name(describer.loaded)}
        parts += [
            {"part": phase, **of, "ms": cost.latency[f"{phase}_ms"]}
            for phase in ("decode", "describe")
        ]
        networks.append(
            describer.memory(planned, usable, how, "too" if local is describer.loaded else "none")
        )
    if local is None:
        return Query(parts, signs, networks)
    own = any(describer.loaded is local for describer in describers)
    store = sha256_json([describers[0].store, plain(local.info), plain(local.rule)])
    more, company = _local(planned, local, usable, store, decoded=own)
    if not own:
        other = Describer(str(planned.options.local), local, store)
        networks.append(other.memory(planned, usable, how, "only"))
    return Query(parts, [*signs, *company], networks, more)


def _verifies(chain: Chain) -> bool:
    return any(need.role == "local" for stage in chain.stages for need in stage.needs())


def _name(loaded: engine.Loaded) -> str:
    return f"{loaded.info.name}.{loaded.info.variant}"


def _local(
    planned: Plan, loaded: engine.Loaded, usable: Sequence[Image], store: str, *, decoded: bool
) -> tuple[list[Part], list[str]]:
    """Return the part of the local features of a query, and signs of other work.

    Unless its pixels are `decoded` for the descriptor already, decoding is a part of it.
    """
    folder, how = planned.dataset.folder, planned.options.measure
    rule = methods.local_of(loaded.method, loaded.info)

    def measured() -> dict[str, Any]:
        from bench.measure import latency

        work, effort = local_store.work_of(loaded, rule), timing.EFFORTS[how]
        images = latency.spread(folder, usable, effort.things)
        middle = images[len(images) // 2]

        def once(image: Image) -> float:
            start = time.perf_counter()
            pixels = decode.load(folder / image.path, image.box, loaded.rule)
            start = time.perf_counter() if decoded else start
            engine.on_batch(loaded, [pixels], work)
            return 1e3 * (time.perf_counter() - start)

        once(middle)
        count = timing.affordable(once(middle) / 1e3, effort)
        step = max(1, len(images) // count)
        watch = busy.watch()
        by_round = timing.in_rounds(effort, images[step // 2 :: step][:count], once)
        seen = watch.seen()
        times = timing.summarise(by_round, seen["waited_share"])
        return {"ms": times, "busy": busy.signs(seen, times)}

    about = {"of": "local features", "store": store, "settings": plain(loaded.settings),
             "rule": plain(rule), "decoded": decoded}  # fmt: skip
    kept = earlier.recalled(about, loaded.device, how, measured)
    of = {} if loaded is planned.loaded else {"of": _name(loaded)}
    return [{"part": "local features", **of, "ms": kept["ms"]}], list(kept["busy"])


def before_search(
    query: Query, lists: Lists, inputs: Inputs, chain: Chain, walked: Walked, how: How,
    measure: Measure,
) -> Query:  # fmt: skip
    """Return the query with what stages on descriptors and codes take of one."""
    rows = RowChain(chain.rows, inputs.supplied, how)
    parts, watch, effort = list(query.parts), busy.watch(), timing.EFFORTS[measure]
    places = [lists, *walked.rows]
    for place, stage in enumerate(chain.rows):
        work = rows.of_query(place, places[place], inputs.ground)
        if work is not None:
            count = count_rows(places[place].queries)
            parts.append({"part": "stage", "of": stage.name, "ms": _timed(work, count, effort)})
    whole, choice = places[-1], chain.compression
    if choice is None or choice.name == compress.CODES:
        code = None
    else:
        code = compress.query_coder(whole.database, choice)
    if code is not None:
        count = count_rows(whole.queries)
        vectors = [take(list(whole.queries), np.array([i])) for i in range(min(count, 27))]
        parts.append(
            {"part": "encode", "ms": _timed(lambda at: code(vectors[at]), len(vectors), effort)}
        )
    seen = watch.seen()
    return Query(parts, [*query.busy, *busy.signs(seen)], query.networks, query.local)


def _timed(work: Callable[[int], object], count: int, effort: timing.Effort) -> dict[str, Any]:
    """Return what `work` takes for queries of `count`, one at a time."""

    def once(query: int) -> float:
        start = time.perf_counter()
        work(query)
        return 1e3 * (time.perf_counter() - start)

    first = once(0) and once(0)
    chosen = min(timing.affordable(first / 1e3, effort), count)
    numbers = [int(i) for i in np.linspace(0, count - 1, chosen)]
    return timing.summarise(timing.in_rounds(effort, numbers, once))


def whole(
    query: Query, search: Mapping[str, Any], chain: Chain, walked: Walked, company: Sequence[str]
) -> dict[str, Any]:
    """Return what a record keeps of the time of a query: its parts, their sum, signs of other work.

    `search` is the record's own section of the search; `company` are signs while stages worked.
    """
    parts = [*query.parts, {"part": "search", "ms": search["ms_per_query"]}, *query.local]
    for stage, step in zip(chain.lists, walked.steps, strict=True):
        ms = None
        if step.ms_per_query:
            ms = timing.summarise(timing.in_blocks(step.ms_per_query))
        parts.append({"part": "stage", "of": stage.name, "ms": ms})
    signs = {*query.busy, *search.get("busy", ()), *(company if chain.lists else ())}
    return {"parts": parts, "ms": added([part["ms"] for part in parts]),
            "busy": [name for name in busy.MOST if name in signs]}  # fmt: skip


def added(times: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Return the sum of times; None where one is not known.

    >>> added([{"p50": 1.0, "p95": 2.0, "p50_interval": [0.5, 2.0]}, {"p50": 3.0, "p95": 3.5}])
    {'p50': 4.0, 'p95': 5.5, 'p50_interval': [3.5, 5.0]}
    """
    known = [part for part in times if part is not None]
    if len(known) < len(times) or not known:
        return None
    ends = [part.get("p50_interval") or (part["p50"], part["p50"]) for part in known]
    return {
        "p50": round(sum(part["p50"] for part in known), 3),
        "p95": round(sum(part["p95"] for part in known), 3),
        "p50_interval": [round(sum(end[side] for end in ends), 3) for side in (0, 1)],
    }
