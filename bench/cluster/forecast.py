"""Hours and cost of a run on a cluster, before it begins: what `--dry-run --cluster` prints."""

from __future__ import annotations

import argparse
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.system.progress import span

FORM = "nodes=N[,devices=N][,images_per_s=X][,price=X]"


@dataclass(frozen=True)
class Kind:
    """Machines of one kind: how many, and what each has.

    devices       workers of a machine, one per GPU, or per as many cores as describe together
    images_per_s  of one device; None: as on this machine
    price         of a machine for an hour, in any currency; None: not known
    """

    nodes: int
    devices: int = 1
    images_per_s: float | None = None
    price: float | None = None


def parse(text: str) -> Kind:
    """Return the machines that `--cluster` names; raises argparse's error for anything else."""
    values: dict[str, float] = {}
    for word in text.split(","):
        name, _, number = word.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        whole = name in ("nodes", "devices")
        most, least = (1e6, 1) if whole else (1e9, 0)
        fits = least <= value <= most and (value > 0 or name == "price")
        if name not in Kind.__annotations__ or name in values or not fits or value % 1 * whole:
            raise argparse.ArgumentTypeError(f"{word!r} in {text!r} is not a key of {FORM}")
        values[name] = value
    if "nodes" not in values:
        raise argparse.ArgumentTypeError(f"{text!r} lacks nodes=N; write {FORM}")
    made: Any = {name: int(x) if name in ("nodes", "devices") else x for name, x in values.items()}
    return Kind(**made)


def of_cluster(ray: Any, device: str, threads: int) -> list[Kind]:
    """Return the machines of the cluster that the module `ray` is connected to.

    They have a worker per GPU where `device` is one, else one per `threads` cores.
    """
    kinds: dict[int, int] = {}
    for node in ray.nodes():
        has = node["Resources"]
        cores = int(has.get("CPU", 0))
        count = int(has.get("GPU", 0)) if device != "cpu" else cores // max(1, min(threads, cores))
        if node["Alive"] and count:
            kinds[count] = kinds.get(count, 0) + 1
    return [Kind(nodes, devices) for devices, nodes in sorted(kinds.items())]


def makespan(shards: Sequence[int], rates: Sequence[float]) -> float:
    """Return the seconds until all shards are done, each handed to the device that is free first.

    shards  images of each, in the order in which they are handed out
    rates   images per second of every device, at least one
    """
    free = [(0.0, -rate) for rate in rates]  # of those free at once the fastest takes the next
    heapq.heapify(free)
    end = 0.0
    for images in shards:
        at, rate = heapq.heappop(free)
        done = at + images / -rate
        end = max(end, done)
        heapq.heappush(free, (done, rate))
    return end


def lines(kinds: Sequence[Kind], lists: Sequence[Sequence[int]], here: float | None) -> list[str]:
    """Return the lines on describing `lists`, the images of their shards, one after another.

    `here` are the images per second of this machine, where that could be measured.
    """
    known = [replace(kind, images_per_s=kind.images_per_s or here) for kind in kinds]
    out = []
    for kind in known:
        speed = (
            "unknown speed" if kind.images_per_s is None else f"{kind.images_per_s:,.4g} images/s"
        )
        assumed = "" if kind in kinds else ", as measured here"
        price = "" if kind.price is None else f", {kind.price:g} per node and hour"
        out.append(
            f"cluster: {_many(kind.nodes, 'node')} with {_many(kind.devices, 'device')} of "
            f"{speed} each{assumed}{price}"
        )
    rates = [k.images_per_s for k in known for _ in range(k.nodes * k.devices) if k.images_per_s]
    total = sum(map(sum, lists))
    if not rates or any(kind.images_per_s is None for kind in known):
        return [*out, "expected time on the cluster: not known; give images_per_s"]
    if not total:
        return [*out, "expected time on the cluster: none, as no image is left to describe"]
    seconds = sum(makespan(shards, rates) for shards in lists)
    out.append(
        f"expected time on the cluster: about {span(seconds)} ({seconds / 3600:.3g} hours) for "
        f"{total} images, {total / seconds:,.4g} images/s, without start and search"
    )
    ideal = total / sum(rates)
    if seconds > 1.25 * ideal:
        count = max(map(len, lists))
        out.append(
            f"the {_many(len(rates), 'device')} could take {span(ideal)} if all stayed busy; the "
            f"largest list has only {_many(count, 'shard')}"
        )
    if all(kind.price is not None for kind in known):
        hourly = sum(kind.nodes * (kind.price or 0) for kind in known)
        out.append(
            f"expected cost: about {seconds / 3600 * hourly:.2f} ({hourly:g} per hour for "
            f"{_many(sum(kind.nodes for kind in known), 'node')}, all rented until the end)"
        )
    return out


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
