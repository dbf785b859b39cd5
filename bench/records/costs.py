"""The costs of a record, without figures that older records lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.records.text import clean

PHASES = ("decode", "preprocess", "network", "second network", "search", "local features",
          "stages", "re-rank")  # fmt: skip
NETWORK = ("preprocess", "network")  # together: describe
FIRST = "costs by the first definitions"


@dataclass(frozen=True)
class Timed:
    """Milliseconds: p50, p95, and the interval of p50, None where it was not measured."""

    p50: float
    p95: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Cost:
    """Times, memory and size of one run; `machine` describes the machine of the timings.

    `phases` has those of `PHASES` that were measured; describe is preprocess and network. `query`
    is the record's own sum. Times of a busy machine are left out, and `busy` has the signs of other
    work. `search_at` has the p50 of searches at stated sizes; `weights` and `activations` are
    bytes, on the device where there is one, of all networks that a query needs. Bytes are whole
    numbers, as in the record, but for `image_bytes`: what the search needs of an image of the
    database, its row or its part of an approximate index, and of these `disk_bytes`: what is read
    from disk for the images of a list alone, full rows behind codes and local features.
    """

    machine: str
    phases: Mapping[str, Timed] = field(default_factory=dict)
    describe: Timed | None = None
    images_per_s: float | None = None
    batch: int | None = None
    flops: int | None = None
    parameters: int | None = None
    resident_bytes: int | None = None
    batch_1_bytes: int | None = None
    device_bytes: int | None = None
    device_reserved_bytes: int | None = None
    index_bytes: int | None = None
    local_bytes: int | None = None
    image_bytes: float = 0.0
    disk_bytes: float = 0.0
    query: Timed | None = None
    busy: tuple[str, ...] = ()
    search_at: Mapping[int, float] = field(default_factory=dict)
    weights: int | None = None
    activations: int | None = None

    @property
    def query_ms(self) -> Timed | None:
        """Return what a query takes from its file to its list: the phases added, if all are known.

        The p50 of a sum is about the sum of the p50s; the intervals are added, which is cautious.
        """
        if self.query is not None or self.busy:
            return self.query
        needed = [self.phases.get(phase) for phase in ("decode", "search")]
        if self.describe is None or None in needed:
            return None
        inside = ("preprocess", "network")
        others = [timed for phase, timed in self.phases.items() if phase not in inside]
        return _added([self.describe, *others])

    @property
    def row_ms(self) -> Timed | None:
        """Return the time of a query for tables beside other rows; None by the first definitions.

        Those left stages and local features out, so such a time would look short.
        """
        return None if FIRST in self.machine else self.query_ms


def _added(parts: list[Timed]) -> Timed:
    ends = [part.interval or (part.p50, part.p50) for part in parts]
    return Timed(
        sum(part.p50 for part in parts),
        sum(part.p95 for part in parts),
        (sum(low for low, _ in ends), sum(high for _, high in ends)),
    )


def of_record(record: Mapping[str, Any]) -> Cost:
    """Return the costs of a record that `bench.records.record.read` has passed."""
    timing, memory, machine = record["timing"], record["memory"], record["machine"]
    latency, searched, asked = (
        timing["latency"] or {},
        timing.get("search", {}),
        timing.get("query"),
    )
    signs = {*latency.get("busy", ()), *searched.get("busy", ()), *((asked or {}).get("busy", ()))}
    usable = {} if latency.get("busy") else latency
    batched = usable.get("throughput") or {}
    timed = {phase: usable.get(f"{phase}_ms") for phase in ("decode", *NETWORK)}
    timed["search"] = None if searched.get("busy") else searched.get("ms_per_query")
    timed["re-rank"] = record.get("rerank", {}).get("ms_per_query")
    phases = {phase: _timed(entry) for phase, entry in timed.items() if entry is not None}
    if asked is not None:
        phases = {**phases, **_of_query(asked)} if not asked["busy"] else phases
    single = memory.get("batch_1") or {}
    described = usable.get("describe_ms")
    weights, activations = _networks(memory.get("networks") or ())
    whole = asked and not asked["busy"] and asked["ms"]
    return Cost(
        machine=_machine(machine, latency, timing),
        phases={phase: phases[phase] for phase in PHASES if phase in phases},
        describe=None if described is None else _timed(described),
        images_per_s=batched.get("images_per_s"),
        batch=batched.get("batch"),
        flops=latency.get("flops_per_image"),
        parameters=memory.get("parameters"),
        resident_bytes=memory["peak_resident_bytes"],
        batch_1_bytes=_first(single.get("device_allocated_bytes"), single.get("resident_bytes")),
        device_bytes=memory["peak_device_bytes"],
        device_reserved_bytes=memory.get("peak_device_reserved_bytes"),
        index_bytes=memory.get("index_bytes"),
        local_bytes=memory.get("local_features_bytes"),
        image_bytes=_memory_bytes(record) + _disk_bytes(record),
        disk_bytes=_disk_bytes(record),
        query=_timed(whole) if whole else None,
        busy=tuple(sorted(signs)),
        search_at={
            timing["rows"]: timing["ms_per_query"]["p50"]
            for timing in searched.get("at", ())
            if timing["ms_per_query"] is not None and not timing.get("busy")
        },
        weights=weights,
        activations=activations,
    )


def _of_query(asked: Mapping[str, Any]) -> dict[str, Timed]:
    """Return the phases of a query, but for those of the run's own method, from its parts."""
    found: dict[str, list[Timed]] = {}
    for part in asked["parts"]:
        phase = part["part"]
        if phase == "describe":
            phase = "second network" if "of" in part else ""
        elif phase in ("stage", "encode"):
            phase = "re-rank" if part.get("of") == "rerank" else "stages"
        if phase and part["ms"] is not None:
            found.setdefault(phase, []).append(_timed(part["ms"]))
    return {phase: _added(parts) for phase, parts in found.items()}


def _networks(networks: Sequence[Mapping[str, Any]]) -> tuple[int | None, int | None]:
    """Return the bytes of weights of all networks, and of the activations of the largest."""
    memory = [network["device"] or network["resident"] for network in networks]
    if not memory or None in memory:
        return None, None
    weights = sum(network["weights_bytes"] for network in memory)
    return weights, max(network["activations_bytes"] for network in memory)


def _memory_bytes(record: Mapping[str, Any]) -> float:
    memory = record["memory"]
    row: float = record["bytes_per_image"]
    if "approximate" in record and memory.get("index_bytes") and memory.get("index_rows"):
        row = memory["index_bytes"] / memory["index_rows"]
    return row


def _disk_bytes(record: Mapping[str, Any]) -> float:
    stages: Sequence[Mapping[str, Any]] = (record.get("rerank", {}), *record.get("stages", ()))
    return float(sum(stage.get("bytes_per_image") or 0 for stage in stages))


def _machine(
    machine: Mapping[str, Any], latency: Mapping[str, Any], timing: Mapping[str, Any]
) -> str:
    """Return device, processor, cores, threads and precision; records without it are float32.

    Timings are comparable only where all of these are the same, and their definitions.
    """
    device, processor = (str(machine.get(key, "not known")) for key in ("device_name", "processor"))
    words = [device] if device == processor else [device, f"processor {processor}"]
    if "cores" in machine:
        words.append(f"{machine['cores']} cores")
    threads = latency.get("threads", machine.get("threads"))
    if threads is not None:
        words.append(f"{threads} {'thread' if threads == 1 else 'threads'}")
    words.append(str(latency.get("precision", "float32")))
    if machine.get("tf32") and machine.get("device") != "cpu":  # torch allows it there as well
        words.append("TF32")
    if "definitions" not in timing and (latency or "search" in timing):
        words.append(FIRST)
    return clean(", ".join(words))


def _timed(entry: Mapping[str, Any]) -> Timed:
    interval = entry.get("p50_interval")
    return Timed(entry["p50"], entry["p95"], None if interval is None else tuple(interval))


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
