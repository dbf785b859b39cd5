"""What a record measured or states of its method: not in its ranks, so checked against itself.

A forged dimension, size or time cannot be recomputed from ranks. What follows from other fields is
compared with them; the rest `verify` says to be as stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bench.scoring.card import name_of
from bench.search import compress

AS_STATED = (
    "taken as stated, because ranks do not show them: command, method, pixels, dim, weights, "
    "times, memory, machine, commit"
)
ROUNDING_MS = 1e-3
RUN_BYTES = (4,)  # of a number of a run's descriptors: float32
BROUGHT_BYTES = (2, 4, 8)  # of one of descriptors that were brought


def faults(content: Mapping[str, Any]) -> list[str]:
    """Return in what the measured fields of a record contradict each other."""
    out = [
        *_sizes(content),
        *_search(content),
        *_times(content["timing"], "timing"),
        *_query(content["timing"]),
    ]
    weights = content["method"]["weights"]
    source = weights["source"]
    if weights["trained"] and re.match(r"(untrained|random initiali[sz]ation)\b", source):
        out.append(f"its weights are marked trained, but come from {source!r}")
    return out


def _sizes(content: Mapping[str, Any]) -> list[str]:
    """Compare bytes with the dimension, and with the number of rows."""
    card, dim, stored = content["card"], content["method"]["dim"], content["bytes_per_image"]
    code = name_of(card["compression"])
    choice = None if code.startswith("none") else compress.parse(code)
    if choice is None:
        items = BROUGHT_BYTES if card["preprocess"] is None else RUN_BYTES
        wanted = [dim * item for item in items]
    elif choice.name == compress.CODES:  # of as many bits as the method gives
        wanted = [card["compression"]["bytes"]]
    else:
        wanted = [compress.bytes_per_row(choice, dim)]
    out = []
    if not card["stages"] and card["search"] == "exact" and stored not in wanted:
        out.append(f"bytes_per_image is {stored}, but {dim} numbers as {code} take {wanted[0]}")
    memory = content.get("memory") or {}
    rows, size = memory.get("index_rows"), memory.get("index_bytes")
    if card["search"] == "exact" and None not in (rows, size) and size != round(rows * stored):
        out.append(f"index_bytes is {size}, which is not the size of {rows} rows of {stored} bytes")
    return out


def _search(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a timed search states otherwise than the card and the method."""
    card, search = content["card"], content["timing"].get("search") or {}
    rows, dim = search.get("rows"), search.get("dim")
    most = card["dataset"]["database"] + card["distractors"]["count"]
    if rows is not None and rows > most:
        yield f"the timed search is of {rows} rows, and the lists have {most}"
    own = content["method"]["dim"]
    if dim is not None and not card["stages"] and dim != own:
        yield f"the timed search is of {dim} numbers, and descriptors have {own}"


def _query(timing: Mapping[str, Any]) -> Iterator[str]:
    """Yield where the time of a query is not that of its parts, or a sign of other work is lost."""
    query = timing.get("query")
    if query is None:
        return
    times = [part["ms"] for part in query["parts"]]
    if query["ms"] is not None:
        if None in times:
            yield "the time of a query is stated, but the time of one of its parts is missing"
            return
        added = sum(ms["p50"] for ms in times)
        if abs(query["ms"]["p50"] - added) > ROUNDING_MS * (1 + len(times)):
            yield f"a query takes {query['ms']['p50']} ms, but its parts take {added:g} ms"
    latency, search = timing.get("latency") or {}, timing.get("search") or {}
    measured = {
        "decode": latency.get("decode_ms"),
        "describe": latency.get("describe_ms"),
        "search": search.get("ms_per_query"),
    }
    for part in query["parts"]:  # the first of each; a second network has others
        figure = measured.pop(part["part"], None)
        if None not in (figure, part["ms"]) and figure != part["ms"]:
            yield f"to {part['part']} takes another time in a query than alone"
    of_parts = [timing.get(name) or {} for name in ("latency", "search")]
    if lost := {sign for part in of_parts for sign in part.get("busy", ())} - set(query["busy"]):
        yield f"the machine was busy ({', '.join(sorted(lost))}), but the query does not state it"


def _times(value: Any, place: str) -> Iterator[str]:
    """Yield the times that cannot be: a median above its 95th percentile or off its interval."""
    if isinstance(value, Mapping):
        low, high = value.get("p50"), value.get("p95")
        # An open part of the record may hold anything.
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield f"{place} has a median of {low} above its 95th percentile of {high}"
        match value.get("p50_interval"), low:
            case [int() | float() as least, int() | float() as most], int() | float():
                if not least <= low <= most:
                    yield f"{place} has a median of {low}, not from {least} to {most}"
        for key, inner in value.items():
            for timing in inner if isinstance(inner, list) else [inner]:
                yield from _times(timing, f"{place}.{key}")
