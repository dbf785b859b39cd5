"""What a piece of the database adds to a search: one pass over its rows, block by block.

See `bench.search` for the idea. A piece is counted without a look at any other, by whoever has its
rows, and everything that depends on the machine that multiplies, as how far its fast scores may be
trusted, is measured there. So what pieces add up to does not depend on how the rows are cut.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.counting import Candidates, Gaps, Seen, Truth, look_at
from bench.descriptors import Matrix, check_all, check_block, read, take
from bench.types import Rows

SAFETY = 6.0
LEAST_ERROR = 2.0**-23
SAMPLE_ROWS = 1024
LEAST_BLOCK = 256

Float64 = NDArray[np.float64]
Product = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Asked:
    """A block of queries, and all that a piece of the database must know of them.

    queries  (n_queries, dim) float64
    labels   per query the rows to rank, int64, sorted, unique; rows of the whole database
    scores   per query their float64 scores
    depth    length of the list
    rows     rows of a block; `threads` of them are looked at side by side
    bins     the most that a table of a query may have
    device   where the fast product is made
    """

    queries: Float64
    labels: Sequence[Rows]
    scores: Sequence[Float64]
    depth: int
    rows: int
    threads: int
    bins: int
    device: str


@dataclass(frozen=True)
class Added:
    """What a piece adds to one query.

    hist    rows that fall into each gap between labelled scores, int64 (n_labels + 1,)
    beaten  rows of the same score that stand before each labelled row, int64 (n_labels,)
    tied    rows of the same score as each labelled row, itself not counted, int64 (n_labels,)
    row, score  the best of the piece, int64 rows of the whole database and float64 scores
    """

    hist: Rows
    beaten: Rows
    tied: Rows
    row: Rows
    score: Float64


@dataclass(frozen=True)
class Counted:
    """What a piece adds to all queries, laid end to end; `norms` are the least and the largest."""

    rows: int
    norms: tuple[float, float]
    added: Added
    lengths: Rows

    def each(self, asked: Asked) -> Iterator[Added]:
        """Yield what it adds to each query."""
        sizes = np.array([len(labels) for labels in asked.labels], dtype=np.int64)
        labels, gaps, lists = (np.cumsum(one)[:-1] for one in (sizes, sizes + 1, self.lengths))
        whole = self.added
        cuts = (
            np.split(whole.hist, gaps),
            np.split(whole.beaten, labels),
            np.split(whole.tied, labels),
            np.split(whole.row, lists),
            np.split(whole.score, lists),
        )
        for one in zip(*cuts, strict=True):
            yield Added(*one)


def count(
    parts: list[Matrix],
    asked: Asked,
    low: int,
    high: int,
    first: int = 0,
    lasts: Float64 | None = None,
    advance: Callable[[int], None] = lambda rows: None,
) -> Counted:
    """Return what the rows low:high of the parts add.

    first  the row of the whole database that row 0 of the parts is
    lasts  per query a score that the last of its list surely has; nothing below it is listed

    Threads only look; what they saw is added up here, so nothing is shared while it changes.
    Raises BenchError for a row that holds NaN or infinity or is all zeros.
    """
    queries = asked.queries
    product = _product_on(asked.device, queries.astype(np.float32))
    labelled = [labels - first for labels in asked.labels]
    error, largest = _fast_error(parts, product, queries, labelled, low, high)
    truths = [Truth(*pair) for pair in zip(labelled, asked.scores, strict=True)]
    norms = np.sqrt((queries * queries).sum(axis=1))

    def trusted(largest: float) -> tuple[float, Float64, list[Gaps | None]]:
        near = error * largest * norms
        tables = [t.table(float(n), asked.bins) for t, n in zip(truths, near, strict=True)]
        return largest, near, tables

    state = trusted(largest)
    shorts = [Candidates(asked.depth) for _ in queries]
    if lasts is not None:
        for short, last, near in zip(shorts, lasts, state[1], strict=True):
            short.begin_at(float(last), float(near))
    held = threading.local()

    def look(start: int) -> tuple[tuple[float, float], list[Seen] | None]:
        if not hasattr(held, "scratch"):
            size = asked.rows * parts[0].shape[1] * max(part.dtype().itemsize for part in parts)
            held.scratch = np.empty(size, dtype=np.uint8)
        stored = read(parts, start, min(start + asked.rows, high), held.scratch)
        largest, near, tables = state
        block, norms = check_block(parts, start, stored)
        if norms[1] > largest:
            return norms, None
        fast = product(block)
        seen = [
            look_at(
                start,
                fast[i],
                stored,
                queries[i],
                truths[i].labels,
                tables[i],
                shorts[i],
                float(near[i]),
            )
            for i in range(len(queries))
        ]
        return norms, seen

    span = (np.inf, 0.0)
    with ThreadPoolExecutor(asked.threads) as pool, threadpool_limits(1, "blas"):
        starts = range(low, high, asked.rows)
        for start, ((least, most), seen) in _in_order(pool, asked.threads, look, starts):
            span = min(span[0], least), max(span[1], most)
            if most > state[0]:
                state = trusted(most * 1.01)
                for i, short in enumerate(shorts):
                    short.doubt(float(state[1][i]))
            if seen is None:
                _, seen = look(start)
            assert seen is not None
            for i, one in enumerate(seen):
                truths[i].add(one)
                shorts[i].add(one, float(state[1][i]), parts, queries[i])
            advance(min(asked.rows, high - start))
    lists = [short.result(parts, query) for short, query in zip(shorts, queries, strict=True)]
    return Counted(
        high - low,
        span,
        Added(
            np.concatenate([truth.hist for truth in truths]),
            np.concatenate([truth.beaten for truth in truths]),
            np.concatenate([truth.tied for truth in truths]),
            np.concatenate([row for row, _ in lists]) + first,
            np.concatenate([score for _, score in lists]),
        ),
        np.array([len(row) for row, _ in lists], dtype=np.int64),
    )


def _product_on(device: str, fast_queries: NDArray[np.float32]) -> Product:
    """Return the function that multiplies rows (m, dim) float32: scores (n_queries, m) float32.

    A GPU gets the queries once, and each block as it comes; float32 there is float32, not TF32.
    """
    if device == "cpu":
        return lambda rows: fast_queries @ rows.T
    import torch

    there, matmul = torch.from_numpy(fast_queries).to(device), torch.backends.cuda.matmul
    pinned = device.startswith("cuda")

    def product(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        staged = torch.empty(rows.shape, dtype=torch.float32, pin_memory=pinned)
        staged.numpy()[...] = rows
        before, matmul.allow_tf32 = matmul.allow_tf32, False
        try:
            with torch.inference_mode():
                out: NDArray[np.float32] = (there @ staged.to(device).T).cpu().numpy()
        finally:
            matmul.allow_tf32 = before
        return out

    return product


def _in_order(
    pool: ThreadPoolExecutor, ahead: int, look: Callable[[int], Any], starts: Iterable[int]
) -> Iterator[tuple[int, Any]]:
    """Run `look` on the blocks, a few ahead of the one whose result is given back."""
    waiting: deque[tuple[int, Future[Any]]] = deque()
    for start in starts:
        waiting.append((start, pool.submit(look, start)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def _fast_error(
    parts: list[Matrix],
    product: Product,
    queries: Float64,
    labelled: Sequence[Rows],
    low: int,
    high: int,
) -> tuple[float, float]:
    """Measure by how much a fast score may differ from its float64 score, per unit of norms.

    Returns that, with the safety factor, and the largest norm among the rows looked at, which lie
    in low:high. If one of them is no descriptor, the first such row of the parts is refused.
    """
    spread = np.linspace(low, high - 1, min(high - low, SAMPLE_ROWS)).astype(np.int64)
    known = np.unique(np.concatenate([spread, *labelled]))
    known = known[(known >= low) & (known < high)]
    worst, largest = LEAST_ERROR * max(1.0, np.sqrt(parts[0].shape[1]) / 64), 0.0
    query_norms = np.sqrt((queries * queries).sum(axis=1))
    for at in range(0, len(known), 512):
        rows = take(parts, known[at : at + 512])
        with np.errstate(over="ignore"):
            single = rows.astype(np.float32)
        squares = np.einsum("ij,ij->i", single, single)
        if not np.all(np.isfinite(squares) & (squares > 0)):
            check_all(parts)
        norms = np.sqrt((rows * rows).sum(axis=1))
        largest = max(largest, float(norms.max()) * 1.01)
        off = np.abs(product(single) - queries @ rows.T) / np.outer(query_norms, norms)
        worst = max(worst, float(off.max()))
    return SAFETY * worst, largest
