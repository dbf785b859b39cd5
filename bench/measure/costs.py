"""The costs in a record: its sections `timing.search` and `memory`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.measure import busy, earlier, sizes, timing
from bench.measure.earlier import Measured
from bench.search import exact, faiss_index
from bench.search.faiss_index import Index, Retrieved
from bench.store.matrix import Matrix, count_rows, take
from bench.system.memory import peaks
from bench.system.progress import Progress
from bench.types import Measure

Rows = NDArray[np.float64]
Ask = Callable[[Rows], object]
DEFINITIONS = 2  # of costs; the first: before memory was that of a process for every method
QUERIES_ASKED = 9  # of which searches of stated sizes are timed


def add(  # noqa: PLR0913, PLR0917
    content: dict[str, Any],
    parts: Sequence[Matrix],
    queries: Sequence[Matrix],
    depth: int,
    memory_bytes: int,
    device: str | None,
    measure: Measure,
    measured: Measured | None = None,
    index: Retrieved | None = None,
    kind: Index | None = None,
) -> None:
    """Add the costs to the content of a record that has everything else.

    parts, queries  descriptors as they are searched: distractors are among the parts
    depth           length of the shortlist
    memory_bytes    what the search may take
    device          None where nothing ran on one
    measured        what describing costs, where that was measured
    index           what an approximate search of a `kind` found; None: the search is exact
    """
    rows, kept = count_rows(parts), content["memory"]
    if measure != "none":
        if index is None:
            timed = earlier.of_search(
                parts, queries, depth, memory_bytes, device, measure,
                lambda: searching(
                    _exact(parts, depth, memory_bytes, device), queries, timing.EFFORTS[measure]
                ),
            )  # fmt: skip
        else:
            times = timing.summarise(timing.in_blocks(index.query_ms))
            timed = {"queries": len(index.query_ms), "warm_up": 0, "ms_per_query": times}
        at = earlier.recalled(
            _about_sizes(parts[0], depth, memory_bytes, kind), device, measure,
            lambda: _at_sizes(parts[0], queries, (depth, memory_bytes, device), measure, kind),
        )  # fmt: skip
        content["timing"]["definitions"] = DEFINITIONS
        content["timing"]["search"] = {
            "measure": measure,
            "rows": rows,
            "dim": parts[0].shape[1],
            "shortlist": min(depth, rows),
            **timed,
            "at": at["at"],
        }
    total = peaks(device) if measured is None else measured.peaks.total()
    kept |= {
        "peak_resident_bytes": total["resident_bytes"],
        "peak_device_bytes": total["device_allocated_bytes"],
        "peak_device_reserved_bytes": total["device_reserved_bytes"],
        "index_rows": rows,
        "index_bytes": round(rows * content["bytes_per_image"]),
    }
    if index is not None:
        kept["index_bytes"] = index.index_bytes
    if "rerank" in content:
        kept["local_features_bytes"] = round(rows * content["rerank"]["bytes_per_image"])
    if measured is not None:
        kept |= measured.memory


def _exact(parts: Sequence[Matrix], depth: int, memory_bytes: int, device: str | None) -> Ask:
    """Return the function that searches one query, exactly, and ranks no labels."""

    def ask(query: Rows) -> object:
        nothing = np.empty(0, dtype=np.int64)
        return exact.search(parts, query, [nothing], depth, memory_bytes, device=device or "cpu")

    return ask


def _about_sizes(part: Matrix, depth: int, memory_bytes: int, kind: Index | None) -> dict[str, Any]:
    """Return what the times at stated sizes follow from: not from the rows of the data set."""
    return {
        "of": "search at sizes",
        "sizes": list(sizes.SIZES),
        "dim": part.shape[1],
        "row_bytes": part.row_bytes(),
        "type": str(part.stored().dtype),
        "decode": None if part.decode is None else type(part.decode).__qualname__,
        "index": None if kind is None else kind.name,
        "depth": depth,
        "memory_bytes": memory_bytes,
    }


def _at_sizes(
    part: Matrix,
    queries: Sequence[Matrix],
    how: tuple[int, int, str | None],
    measure: Measure,
    kind: Index | None,
) -> dict[str, Any]:
    """Return the times at stated sizes, and the signs of other work at any of them."""
    depth, memory_bytes, device = how
    count = count_rows(list(queries))
    numbers = np.linspace(0, count - 1, min(count, QUERIES_ASKED)).astype(np.int64)
    asked = [take(list(queries), np.array([number])) for number in numbers]

    def build(rows: list[Matrix]) -> Ask:
        if kind is None:
            return _exact(rows, depth, memory_bytes, device)
        built = faiss_index.build(kind, rows)
        return lambda query: faiss_index.ask(built, query)

    with Progress("measure search of drawn rows", None, brief=True):
        at = sizes.measure(part, asked, measure, build)
    signs = {sign for measured in at for sign in measured.get("busy", ())}
    return {"at": at, "busy": sorted(signs)}


def searching(ask: Ask, queries: Sequence[Matrix], effort: timing.Effort) -> dict[str, Any]:
    """Return what `ask` takes for one query at a time, after one that is warm-up.

    The queries are spread over the list; each is given as float64 (1, dim).
    """
    asked = count_rows(list(queries))

    def row(index: int) -> Rows:
        return take(list(queries), np.array([index]))

    start = time.perf_counter()
    ask(row(0))
    count = min(timing.affordable(time.perf_counter() - start, effort), asked)
    chosen = [row(int(i)) for i in np.linspace(0, asked - 1, count)]
    with Progress("measure search", None, "queries") as progress:

        def once(query: Rows) -> float:
            start = time.perf_counter()
            ask(query)
            ms = 1e3 * (time.perf_counter() - start)
            progress.advance()
            return ms

        watch = busy.watch()
        by_round = timing.in_rounds(effort, chosen, once)
        seen = watch.seen()
    times = timing.summarise(by_round, seen["waited_share"])
    return {
        "queries": count,
        "warm_up": 1,
        **seen,
        "busy": busy.signs(seen, times),
        "ms_per_query": times,
    }
