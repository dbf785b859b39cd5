"""Costs that were measured earlier, kept in the cache with the day of the measurement.

Those of describing are kept under the store of the database (method, pixels, settings, images),
those of searching under the stores that are searched; both under the machine, the versions of the
libraries and the code. `--measure latency` always measures, `--measure sample` what is not kept.
Figures of a busy machine (`bench.measure.busy`) are not kept.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.describe import engine, warm
from bench.store import remembered
from bench.store.matrix import Matrix
from bench.system import machine
from bench.system.hashing import plain
from bench.system.memory import Peaks
from bench.types import Measure

KIND = "costs"
MOVING = ("processor_mhz", "device_mhz")  # of the machine, from one moment to the next


@dataclass(frozen=True)
class Measured:
    """What describing costs: `timing.latency`, parts of `memory`, and the peaks before them.

    Where it was measured `earlier` the latency has the day.
    """

    latency: dict[str, Any]
    memory: dict[str, Any]
    peaks: Peaks
    earlier: bool = False


def of_describing(
    loaded: engine.Loaded, store: str, how: Measure, fresh: Callable[[], Measured]
) -> Measured:
    """Return what describing costs: as measured earlier where that may be, else by `fresh`.

    `store` is the key of the descriptors of the database.
    """
    device, settings = loaded.device, plain(loaded.settings)
    about = {"of": "describing", "store": store, "settings": settings}
    peaks: list[Peaks] = []

    def content() -> dict[str, Any]:
        made = fresh()
        peaks.append(made.peaks)
        return {"latency": made.latency, "memory": made.memory, "peaks": made.peaks.total()}

    found = recalled(about, device, how, content, lambda made: made["latency"])
    if peaks:
        return Measured(found["latency"], found["memory"], peaks[0])
    latency = {**found["latency"], "measured": found["measured"]}
    return Measured(latency, found["memory"], Peaks(device, found["peaks"]), earlier=True)


def of_search(
    parts: Sequence[Matrix],
    queries: Sequence[Matrix],
    depth: int,
    memory_bytes: int,
    device: str | None,
    how: Measure,
    fresh: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Return what a query costs, likewise, and `measure`; rows that no store names are not kept."""
    keys = [part.key for part in (*parts, *queries)]
    if None in keys:
        return {"measure": how, **fresh()}
    about = {
        "of": "searching",
        "stores": [[part.key, *part.shape] for part in (*parts, *queries)],
        "depth": depth,
        "memory_bytes": memory_bytes,
    }
    return recalled(about, device, how, lambda: {"measure": how, **fresh()})


def recalled(
    about: Mapping[str, Any],
    device: str | None,
    how: Measure,
    fresh: Callable[[], dict[str, Any]],
    timed: Callable[[dict[str, Any]], Mapping[str, Any]] = lambda made: made,
) -> dict[str, Any]:
    """Return figures that were measured earlier, with the day, `measured`; else those of `fresh`.

    Figures of a busy machine are not stored, so the next run measures again; `timed` returns the
    part with the signs of load.
    """
    about = {**about, **_here(device)}
    fact = None if how == "latency" else remembered.read(KIND, about)
    if fact is not None:
        return {**fact.content, "measured": fact.date}
    made = fresh()
    if not timed(made).get("busy"):
        remembered.write(KIND, about, made)
    return made


def _here(device: str | None) -> Mapping[str, Any]:
    """Return the machine, the versions and the code, as far as they stay."""
    about = machine.describe(device)
    return {
        "machine": {key: value for key, value in about.items() if key not in MOVING},
        "libraries": machine.libraries(),
        "python": platform.python_version(),
        "code": warm.code(),
    }
