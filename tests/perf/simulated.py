"""A search over rows that are made as they are read, on a cluster or in this process.

`python simulated.py ADDRESS|local ROWS PIDS` prints JSON: seconds, pieces, what was sent, and, of
this process and the workers of the raylets PIDS, the time on processors, which other work on the
machine changes little, and the resident memory, sampled all the time.
A part is a block of random unit rows with the signs of some columns turned, other columns for each
part: rows of one norm, all different, for the price of one pass over the memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.cluster import connect
from bench.cluster import search as cluster
from bench.search import exact
from bench.store.matrix import Matrix

DIM, PER_PART, QUERIES, LABELLED, SHORTLIST = 512, 65_536, 70, 98, 100
PAGE = 4096


def rows_of(base: Path, number: int, codes: Any) -> Any:
    """Return the rows that codes (n, 1) name in part `number`; a run of them is fast."""
    signs = np.random.default_rng(number).integers(0, 2, DIM).astype(np.float32) * 2 - 1
    block = np.load(base, mmap_mode="r", allow_pickle=False)
    first, last = int(codes[0, 0]), int(codes[-1, 0])
    rows = slice(first, last + 1) if last - first + 1 == len(codes) else codes[:, 0]
    return block[rows] * signs


def parts_of(folder: Path, n_rows: int) -> list[Matrix]:
    """Return a database of so many rows; two small files hold all of it."""
    draw = np.random.default_rng(0)
    block = draw.standard_normal((PER_PART, DIM), dtype=np.float32)
    block /= np.linalg.norm(block, axis=1, keepdims=True)
    np.save(folder / "block.npy", block)
    np.save(folder / "codes.npy", np.arange(PER_PART, dtype=np.uint16)[:, None])
    parts = []
    for number, low in enumerate(range(0, n_rows, PER_PART)):
        shape = min(PER_PART, n_rows - low), DIM
        decode = partial(rows_of, folder / "block.npy", number)
        parts.append(Matrix(f"part {number}", shape, path=folder / "codes.npy", decode=decode))
    return parts


def asked() -> tuple[Any, list[Any]]:
    """Return queries and labels in the manner of Revisited Oxford."""
    draw = np.random.default_rng(1)
    queries = draw.standard_normal((QUERIES, DIM))
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return queries, [np.sort(draw.choice(4993, LABELLED, replace=False)) for _ in range(QUERIES)]


class Watch(threading.Thread):
    """Resident bytes of this process, and the most of a worker, every quarter of a second."""

    def __init__(self, raylets: list[int]) -> None:
        """Look at the processes that these have started."""
        super().__init__(daemon=True)
        self.raylets, self.end = set(raylets), threading.Event()
        self.here: list[int] = []
        self.there: list[int] = []

    def run(self) -> None:
        """Sample until told to end."""
        while not self.end.wait(0.25):
            self.here.append(resident(Path("/proc/self")))
            sizes = [resident(process) for process in workers(self.raylets)]
            self.there.append(max(sizes, default=0))


def workers(raylets: Collection[int]) -> list[Path]:
    """Return the folders in /proc of the workers of raylets."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            line = parent in raylets and (stat.parent / "cmdline").read_bytes()
            if line and line.startswith((b"ray::_count", b"ray::IDLE")):
                found.append(stat.parent)
    return found


def resident(process: Path) -> int:
    """Return the bytes of memory that a process has; 0 where it has ended."""
    try:
        return int((process / "statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def core_seconds(raylets: Collection[int]) -> float:
    """Return the seconds that this process and the workers have been on processors."""
    total = time.process_time()
    for process in workers(raylets):
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def on_the_wire() -> int:
    """Return the bytes that the loopback interface has carried: of Ray alone, if it is alone."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


def main(address: str, n_rows: int, raylets: list[int]) -> None:
    """Search once, and print what it took."""
    queries, labels = asked()
    with (
        tempfile.TemporaryDirectory() as place,
        connect.engine(
            "local" if address == "local" else "ray", None if address == "local" else address
        ) as ray,
    ):
        parts = parts_of(Path(place), n_rows)
        hand_out = exact.here if ray is None else cluster.over(ray)
        sent: list[int] = []

        def find(some: list[Matrix], advance: Callable[[int], None]) -> exact.Found:
            return exact.search(
                some, queries, labels, SHORTLIST, advance=advance, threads=1, hand_out=watched
            )

        def watched(*arguments: Any) -> Iterator[Any]:
            for counted in hand_out(*arguments):
                if ray is not None:
                    sent.append(len(ray.cloudpickle.dumps(counted)))
                yield counted

        find(parts[:4], lambda rows: None)  # workers start, and load what they need
        sent.clear()
        watch, times = Watch(raylets), list[float]()
        watch.start()
        busy, before, start = core_seconds(raylets), on_the_wire(), time.perf_counter()
        found = find(parts, lambda rows: times.append(time.perf_counter()))
        seconds = time.perf_counter() - start
        wire, busy = on_the_wire() - before, core_seconds(raylets) - busy
        watch.end.set()
        watch.join()
        print(
            json.dumps(
                {
                    "rows": n_rows,
                    "seconds": seconds,
                    "core_seconds": busy,
                    "pieces": len(times),
                    "answer_bytes": sent,
                    "loopback_bytes": wire,
                    "driver_bytes": watch.here,
                    "worker_bytes": watch.there,
                    "ranks": int(found.ranks.rank.sum()),
                    "best": found.shortlist.row[:, 0].tolist(),
                }
            )
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), [int(pid) for pid in sys.argv[3:]])
