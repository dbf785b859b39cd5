"""Search on a cluster: pieces of the database are counted by the workers, and added up here.

Every piece is a task of Ray, which hands it to a core that is free and, where a worker or a node
dies, to another. A worker reads a file itself where it sees the same one (path, size and date of
change); otherwise rows are sent to it through Ray's object store, a few pieces at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.search import exact
from bench.search.block import Asked, Counted, count
from bench.store.matrix import Decode, Matrix, check_all, count_rows
from bench.system.notes import note

PIECE_BYTES = 128 << 20  # as float32; what a piece costs besides is that of some thousand rows
LEAST_ROWS = 1024
PIECES_PER_CORE = 4  # at least, so that cores of different speed end together
FAILURES = 10  # to start a worker, in a search
SHARE_OF_STORE = 4  # rows on their way take one part in so many of this host's object store

Float64 = NDArray[np.float64]
Mark = tuple[Path, int, int]


@dataclass(frozen=True)
class Piece:
    """The rows low:high of some parts; row 0 of these is the row `first` of the database.

    What decodes a part is left out: `decode` numbers it. `files` are marks of the parts' files.
    """

    parts: list[Matrix]
    decode: list[int | None]
    low: int
    high: int
    first: int
    files: tuple[Mark, ...]


def over(ray: Any, work: Callable[..., Counted | str | None] | None = None) -> exact.HandOut:
    """Return what hands a search out to the cluster that the module `ray` is connected to.

    `work` is what a worker does with a piece, if not `_count`.
    """

    def hand_out(
        parts: list[Matrix],
        asked: Asked,
        lasts: Callable[[], Float64],
        advance: Callable[[int], None],
    ) -> Iterator[Counted]:
        decodes = list({id(part.decode): part.decode for part in parts if part.decode}.values())
        shared = ray.put((asked, decodes))
        task = ray.remote(num_cpus=1, max_retries=-1, scheduling_strategy="SPREAD")(work or _count)
        rows = piece_rows(parts, _cores(ray), _store_bytes(ray) // (2 * SHARE_OF_STORE))
        starts = deque(range(0, count_rows(parts), rows))
        waiting: dict[Any, tuple[int, Piece]] = {}
        carry, failures = False, 0
        try:
            while starts or waiting:
                while starts and len(waiting) < _room(ray, parts, rows, carry=carry):
                    low = starts.popleft()
                    high = min(low + rows, count_rows(parts))
                    piece = cut(parts, low, high, decodes, carry=carry)
                    waiting[task.remote(shared, piece, lasts())] = low, piece
                ready, _ = ray.wait(list(waiting), num_returns=1)
                low, piece = waiting.pop(ready[0])
                try:
                    found = ray.get(ready[0])
                except ray.exceptions.RaySystemError:  # no worker could be started for it
                    failures += 1
                    if failures > FAILURES:
                        raise
                    starts.appendleft(low)
                    continue
                _refuse(found, parts)
                if found is None:  # this and all that follow are sent
                    starts.appendleft(low)
                    if not carry:
                        carry = True
                        note(
                            f"some workers cannot read {piece.files[0][0]}: rows are sent to them."
                        )
                    continue
                yield found
                advance(found.rows)
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or ["no reason given"]
            raise BenchError(
                f"the search failed on the cluster ({type(error).__name__}: "
                f"{lines[-1].strip()}); descriptors are kept: run the same command again, or use "
                "--engine local."
            ) from error
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)

    return hand_out


def _refuse(found: Counted | str | None, parts: Sequence[Matrix]) -> None:
    """Raise the error that a worker found in its piece, if it is one."""
    if isinstance(found, str):
        check_all(parts)  # names the first bad row of the database
        raise BenchError(found)


def piece_rows(parts: Sequence[Matrix], cores: int, most_bytes: int = PIECE_BYTES) -> int:
    """Return how many rows a piece has: 128 MiB, less where that would leave cores idle."""
    most = min(PIECE_BYTES, most_bytes) // (4 * parts[0].shape[1])
    return max(1, min(most, max(LEAST_ROWS, -(-count_rows(parts) // (PIECES_PER_CORE * cores)))))


def cut(
    parts: Sequence[Matrix],
    low: int,
    high: int,
    decodes: Sequence[Decode] = (),
    *,
    carry: bool = False,
) -> Piece:
    """Return the rows low:high of the parts: those in memory, or all if `carry`, with the rows."""
    numbers = {id(decode): number for number, decode in enumerate(decodes)}
    chosen: list[Matrix] = []
    which: list[int | None] = []
    files: list[Mark] = []
    skip = start = 0
    for part in parts:
        first, end = max(low - start, 0), min(high - start, part.shape[0])
        start += part.shape[0]
        if first >= end:
            continue
        which.append(numbers.get(id(part.decode)))
        bare = replace(part, decode=None, ids=None)
        if part.path is not None and not carry:
            skip = first if not chosen else skip
            state = part.path.stat()
            files.append((part.path, state.st_size, state.st_mtime_ns))
        else:
            rows = np.asarray(part.stored()[first:end])
            shape = end - first, part.shape[1]
            bare = replace(bare, shape=shape, array=rows, path=None)
        chosen.append(bare)
    return Piece(chosen, which, skip, skip + high - low, low - skip, tuple(files))


def _count(
    shared: tuple[Asked, list[Decode]], piece: Piece, lasts: Float64
) -> Counted | str | None:
    """Count a piece on a worker; None where it has not its files, a sentence for a bad row."""
    asked, decodes = shared
    pairs = zip(piece.parts, piece.decode, strict=True)
    parts = [part if at is None else replace(part, decode=decodes[at]) for part, at in pairs]
    try:
        for path, size, changed_ns in piece.files:
            state = path.stat()
            if (state.st_size, state.st_mtime_ns) != (size, changed_ns):
                return None
        return count(parts, asked, piece.low, piece.high, piece.first, lasts)
    except OSError:
        return None
    except BenchError as error:
        return str(error)


def _cores(ray: Any) -> int:
    """Return how many cores the cluster has at this moment."""
    return max(1, int(ray.cluster_resources().get("CPU", 0)))


def _room(ray: Any, parts: Sequence[Matrix], rows: int, *, carry: bool) -> int:
    """Return how many pieces may be on their way at once."""
    most = 2 * _cores(ray)
    if not carry and all(part.path is not None for part in parts):
        return most
    piece_bytes = rows * max(part.row_bytes() for part in parts)
    return max(1, min(most, _store_bytes(ray) // SHARE_OF_STORE // piece_bytes))


def _store_bytes(ray: Any) -> int:
    """Return the size of this host's object store."""
    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    return int(node["Resources"].get("object_store_memory", PIECE_BYTES))
