"""The exact search against faiss's flat index at the shapes of the field, at size.

Both get the same files; compared is processor time, with the rows added to the index on its side,
and with reading, checking, exact ranks of the labelled rows and the list on ours. A shape is
skipped where the disk or the memory is too small for it. `nox -s perf -- -k shapes`; one shape:
`-k "shapes and Pitts30k"`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from bench.pipeline.brought import read
from bench.rerank import suppression
from bench.search import areas, exact
from bench.search.areas import Job
from bench.store.matrix import blocks
from bench.system import machine
from bench.types import Areas, Rows

LISTED, STEP = 100, 16_384
AT_MOST, AT_MOST_SHORT, AT_MOST_PRODUCT = 1.5, 2.5, 1.4  # short: rows of 512 numbers
ASIDE_BYTES = 2 << 30  # this process, the queries, and lists


@dataclass(frozen=True)
class Shape:
    """Rows, their dimension, queries, labelled rows of a query; `cities` are searched apart.

    Of each `group` of neighbouring rows a list keeps the first, and is as much longer for it.
    Where `product`, reading and multiplying is the reference: an index would not fit as well.
    """

    rows: int
    dim: int
    queries: int
    labels: int
    cities: int = 1
    group: int = 1
    product: bool = False

    @property
    def bytes(self) -> int:
        """Return the bytes of the rows."""
        return 4 * self.dim * self.rows

    def lacking(self) -> str | None:
        """Return what this machine has too little of; None where the shape fits."""
        disk, memory = self.bytes + (1 << 30), (0 if self.product else self.bytes) + ASIDE_BYTES
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < disk:
            return f"needs {disk / 1e9:.1f} GB of disk, and {free / 1e9:.1f} are free"
        left = machine.available_bytes()
        if left is not None and left < memory:
            return f"needs {memory / 1e9:.1f} GB of memory, and {left / 1e9:.1f} are free"
        return None


SHAPES = {
    "Pitts30k": Shape(10_000, 4_096, 6_816, 5),
    "Nordland, long rows": Shape(27_592, 8_448, 2_760, 3),
    "Nordland": Shape(27_592, 512, 27_592, 3),
    "GLDv2": Shape(761_757, 512, 1_129, 5),
    "SF-XL": Shape(2_800_000, 512, 1_000, 30),
    "ROxford+R1M": Shape(1_005_994, 2_048, 70, 98, product=True),
    "MSLS by cities": Shape(18_871, 4_096, 11_084, 10, cities=2),
    "Tokyo 24/7, suppressed": Shape(75_984, 4_096, 315, 118, group=12),
}


@dataclass(frozen=True)
class Case:
    """A shape on disk."""

    shape: Shape
    rows: Path
    queries: np.ndarray
    labelled: list[Rows]
    jobs: list[Job]


def unit(draw: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Return random unit rows, float32."""
    rows = draw.standard_normal((count, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


@pytest.fixture(params=SHAPES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Write the rows of a shape, and remove them afterwards."""
    shape = SHAPES[request.param]
    if (lacking := shape.lacking()) is not None:
        pytest.skip(f"{request.param} {lacking}")
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="retrieval-bench-") as folder:
        path = Path(folder) / "rows.npy"
        kind = (shape.rows, shape.dim)
        written = np.lib.format.open_memmap(path, "w+", np.float32, kind)
        for low in range(0, shape.rows, STEP):
            written[low : low + STEP] = unit(draw, min(STEP, shape.rows - low), shape.dim)
        written.flush()
        del written
        queries = unit(draw, shape.queries, shape.dim)
        city = np.sort(draw.integers(0, shape.cities, shape.rows))
        of = draw.integers(0, shape.cities, shape.queries)
        spans = [np.searchsorted(city, [at, at + 1]) for at in range(shape.cities)]
        labelled = [
            np.sort(draw.choice(np.arange(*spans[at]), shape.labels, replace=False)) for at in of
        ]
        apart = Areas(city, of) if shape.cities > 1 else None
        jobs = areas.jobs(apart, [read(path, "database")], labelled)
        yield Case(shape, path, queries, labelled, jobs)


def depth_of(shape: Shape) -> int:
    """Return how long the list is."""
    return LISTED * shape.group


def ours(case: Case) -> exact.Found:
    """Search exactly; where rows are suppressed, ranks after it."""
    depth, queries = depth_of(case.shape), case.queries.astype(np.float64)
    done = [
        (job, exact.search(job.parts, queries[job.queries], job.labelled, depth))
        for job in case.jobs
    ]
    found = areas.join(done, len(queries)) if len(done) > 1 else done[0][1]
    if case.shape.group > 1:
        groups = np.arange(case.shape.rows) // case.shape.group
        suppression.follow(found.ranks, found.shortlist, groups)
    return found


def flat(case: Case) -> list[np.ndarray]:
    """Search with faiss's flat index, one for each city; return the lists of each."""
    rows, listed = np.load(case.rows, mmap_mode="r"), []
    for job in case.jobs:
        index = faiss.IndexFlatIP(case.shape.dim)
        low, high = int(job.number[0]), int(job.number[-1]) + 1
        for at in range(low, high, STEP):
            index.add(np.ascontiguousarray(rows[at : min(at + STEP, high)]))
        queries = np.ascontiguousarray(case.queries[job.queries])
        listed.append(low + index.search(queries, depth_of(case.shape))[1])
    return listed


def multiplied(case: Case) -> None:
    """Read all rows and multiply them with the queries."""
    for _, rows in blocks(case.jobs[0].parts, STEP):
        case.queries @ rows.T


def on_processors(work: Callable[[], Any]) -> float:
    """Return the seconds that the threads of this process are on processors."""
    start = time.process_time()
    work()
    return time.process_time() - start


def test_shapes_of_the_field(case: Case, request: pytest.FixtureRequest, benchmark: Any) -> None:
    shape, name = case.shape, request.node.callspec.params["case"]
    found = benchmark.pedantic(lambda: ours(case), rounds=1)
    if not shape.product:
        same = [
            found.shortlist.row[job.queries, :LISTED] == rows[:, :LISTED]
            for job, rows in zip(case.jobs, flat(case), strict=True)
        ]
        assert np.mean(np.concatenate(same)) > 0.999, "but for ties of float32"
    reference = multiplied if shape.product else flat
    rounds = 3 if shape.bytes < 1 << 30 else 2
    pairs = [
        (on_processors(lambda: reference(case)), on_processors(lambda: ours(case)))
        for _ in range(rounds)
    ]
    ratio = min(mine for _, mine in pairs) / min(theirs for theirs, _ in pairs)
    most = AT_MOST_SHORT if shape.dim <= 512 else AT_MOST
    most = AT_MOST_PRODUCT if shape.product else most
    size = f"{shape.rows:,} rows of {shape.dim:,}, {shape.queries:,} queries"
    of = "reading and multiplying the same rows" if shape.product else "faiss IndexFlatIP, add"
    benchmark.extra_info["figure"] = f"processor time of the exact search, {name}: {size}"
    benchmark.extra_info["reference"] = of if shape.product else f"{of} and search"
    benchmark.extra_info["times_the_reference"] = round(ratio, 2)
    benchmark.extra_info["at_most"] = most
    assert ratio <= most
