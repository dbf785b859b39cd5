"""What a piece of the database adds to a search: one pass over its rows, block by block.

See `bench.search.exact` for the idea. A piece is counted without a look at any other, by whoever
has its rows, and everything that depends on the machine that multiplies, as how far its fast scores
may be trusted, is measured there. So what pieces add up to does not depend on how the rows are cut.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.search.count import (
    LOOKED_AT,
    Bands,
    Labels,
    Ladder,
    Tally,
    bands,
    grid,
    in_bands,
    ladder,
)
from bench.search.listing import Lists, below, hopeful, settle
from bench.search.pairs import pair_scores, scores_of
from bench.store.matrix import Matrix, check_all, check_block, read, take
from bench.types import Rows

SAFETY = 6.0
LEAST_ERROR = 2.0**-23
SAMPLE_ROWS, SAMPLE_QUERIES, FEW_ROWS = 1024, 64, 16
LEAST_BLOCK = 256
MANY_PAIRS = 2  # times the rows of a block

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Product = Callable[[Float32], Float32]


@dataclass(frozen=True)
class Asked:
    """A group of queries, and all that a piece of the database must know of them.

    queries  (n_queries, dim) float64
    labels   the rows to rank and their scores; rows of the whole database
    depth    length of the list
    rows     rows of a block; `threads` of them are looked at side by side
    tile     queries that are multiplied with a block at a time
    device   where the fast product is made
    """

    queries: Float64
    labels: Labels
    depth: int
    rows: int
    tile: int
    threads: int
    device: str


@dataclass(frozen=True)
class Added:
    """What a piece adds.

    above   rows that beat each labelled row, int64 (n_labels,)
    tied    unlabelled rows of the same score as each labelled row, int64 (n_labels,)
    query, row, score  the best of the piece for every query, best first, laid end to end; int64
            rows of the whole database and float64 scores
    """

    above: Rows
    tied: Rows
    query: Rows
    row: Rows
    score: Float64


@dataclass(frozen=True)
class Counted:
    """What a piece of so many rows adds; `norms` are the least and the largest of its rows."""

    rows: int
    norms: tuple[float, float]
    added: Added


@dataclass(frozen=True)
class _Scaled:
    """Queries times a power of two that brings their norms to 0.5 ... 1, for the fast product.

    queries    (n, dim) float32
    exponents  (n,) int64: a true score is the scaled one times 2 ** exponent
    error      by how much a score with a row of norm 1 may be off by the rounding to float32
    """

    queries: Float32
    exponents: NDArray[np.int64]
    error: float


@dataclass(frozen=True)
class _Seen:
    """What a block shows: counts, and rows that may be in the lists; `near` as in `bands`."""

    near: float
    tally: Tally
    query: Rows
    row: Rows
    value: Float32


def count(
    parts: list[Matrix],
    asked: Asked,
    low: int,
    high: int,
    first: int = 0,
    lasts: Float64 | None = None,
    advance: Callable[[int], None] = lambda _rows: None,
) -> Counted:
    """Return what the rows low:high of the parts add.

    first  the row of the whole database that row 0 of the parts is
    lasts  per query a score that the last of its list surely has; nothing below it is listed

    Threads only look; what they saw is added up here, so nothing is shared while it changes.
    Raises BenchError for a row that holds NaN or infinity or is all zeros.
    """
    scaled = _scale(asked.queries)
    tiles = [slice(at, at + asked.tile) for at in range(0, len(asked.queries), asked.tile)]
    products = [_product_on(asked.device, scaled.queries[tile]) for tile in tiles]
    known = ladder(asked.labels, scaled.exponents)

    def score(query: Rows, row: Rows) -> Float64:
        return scores_of(parts, row - first, asked.queries, query, asked.rows, asked.threads)

    lists = Lists(len(asked.queries), asked.depth, score, scaled.exponents)
    if lasts is not None:
        lists.last = np.ldexp(lasts, -scaled.exponents)
    buffers = threading.local()

    def look(start: int) -> tuple[tuple[float, float], _Seen]:
        if not hasattr(buffers, "scratch"):
            size = asked.rows * parts[0].shape[1] * max(part.dtype().itemsize for part in parts)
            buffers.scratch = np.empty(size, dtype=np.uint8)
        stored = read(parts, start, min(start + asked.rows, high), buffers.scratch)
        block, norms = check_block(parts, start, stored)
        near = 1.01 * norms[1] * (error + (stored.dtype.itemsize > 4) * LEAST_ERROR)
        rows = block if stored.dtype.itemsize <= 4 else stored
        view = _Block(asked, scaled, known, rows, first + start, near)
        seen = [
            view.look(tile, product(block), below(lists.last[tile] - near))
            for tile, product in zip(tiles, products, strict=True)
        ]
        query, row, value = (np.concatenate(arrays) for arrays in zip(*seen, strict=True))
        return norms, _Seen(near, view.tally(), query, row, value)

    span, tally = (np.inf, 0.0), Tally(known)
    with ThreadPoolExecutor(asked.threads) as pool, threadpool_limits(1, "blas"):
        measured = _fast_error(parts, products, scaled, asked, (low, high, first), pool)
        error = scaled.error + measured
        starts = range(low, high, asked.rows)
        for start, ((least, most), seen) in _in_order(pool, asked.threads, look, starts):
            span = min(span[0], least), max(span[1], most)
            tally.add(seen.tally)
            lists.add(seen.query, seen.row, seen.value, seen.near)
            advance(min(asked.rows, high - start))
    query, row, true = lists.result()
    if lasts is not None:
        kept = true >= lasts[query]
        query, row, true = query[kept], row[kept], true[kept]
    return Counted(high - low, span, Added(*tally.result(), query, row, true))


class _Block:
    """A block of rows (m, dim), looked at by one tile of queries after another.

    `start` is its first row in the whole database.
    """

    def __init__(
        self,
        asked: Asked,
        scaled: _Scaled,
        known: Ladder,
        rows: NDArray[Any],
        start: int,
        near: float,
    ) -> None:
        """Set the bands around the labelled scores."""
        self.asked, self.scaled, self.rows, self.start, self.near = asked, scaled, rows, start, near
        self.bands: Bands = bands(known, near, start, start + len(rows))
        self.above = np.zeros(len(self.bands.first), dtype=np.int64)
        self.counted = Tally(known)

    def look(self, tile: slice, fast: Float32, floor: Float32) -> tuple[Rows, Rows, Float32]:
        """Count the fast scores (n, m) of a tile, and return what may be in its lists."""
        tiled = grid(self.bands, tile.start, tile.start + len(fast))
        if tiled is not None:
            for query, column, band in in_bands(fast, tiled, self.above):
                query = query + tile.start
                score = self.score(query, column)
                self.counted.add_exact(self.bands, band, query, self.start + column, score)
        listed = []
        step = max(1, LOOKED_AT // 2 // fast.shape[1])
        for low in range(0, len(fast), step):
            part = slice(low, low + step)
            query, column, value = hopeful(fast[part], floor[part], self.asked.depth, self.near)
            query += tile.start + low
            powers = self.scaled.exponents
            listed.append(settle(query, column, value, self.asked.depth, self.score, powers))
        query, column, value = (np.concatenate(arrays) for arrays in zip(*listed, strict=True))
        return query, self.start + column, value

    def score(self, query: Rows, column: Rows) -> Float64:
        """Return float64 scores of rows of the block with queries, pair by pair.

        Where there are many pairs, because scores tie, rows that are equal are scored once.
        """
        if len(column) > MANY_PAIRS * len(self.rows):
            which, of = self.distinct
            if 2 * len(which) < len(self.rows):
                pairs, back = np.unique(query * len(which) + of[column], return_inverse=True)
                query, column = np.divmod(pairs, len(which))
                some = pair_scores(self.rows, which[column], self.asked.queries, query)
                return np.asarray(some[back])
        return pair_scores(self.rows, column, self.asked.queries, query)

    @cached_property
    def distinct(self) -> tuple[Rows, Rows]:
        """Return the first of each kind of equal rows, and for every row the number of its kind."""
        rows = np.ascontiguousarray(self.rows)
        kinds = rows.view(np.dtype((np.void, rows.strides[0]))).ravel()
        _, which, of = np.unique(kinds, return_index=True, return_inverse=True)
        return which, of

    def tally(self) -> Tally:
        """Return what all tiles have counted."""
        self.counted.add_fast(self.bands, self.above)
        return self.counted


def _scale(queries: Float64) -> _Scaled:
    """Return the queries for the fast product."""
    n, dim = queries.shape
    single, exponents, error = np.empty((n, dim), np.float32), np.empty(n, np.int64), 0.0
    step = max(1, (1 << 16) // dim)
    for low in range(0, n, step):
        part = slice(low, low + step)
        largest = np.maximum(queries[part].max(axis=1), -queries[part].min(axis=1))
        rough = np.clip(np.frexp(largest)[1], -900, 1000)  # else the factor is subnormal
        exact = queries[part] * np.ldexp(1.0, -rough)[:, None]
        fine = np.frexp(np.sqrt(np.einsum("ij,ij->i", exact, exact)))[1]
        fine = np.maximum(fine, -1000 - rough)
        exact *= np.ldexp(1.0, -fine)[:, None]
        single[part], exponents[part] = exact, rough + fine
        exact -= single[part]
        error = max(error, float(np.einsum("ij,ij->i", exact, exact).max()) ** 0.5)
    return _Scaled(single, exponents, error)


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
    products: list[Product],
    scaled: _Scaled,
    asked: Asked,
    piece: tuple[int, int, int],
    pool: ThreadPoolExecutor,
) -> float:
    """Measure by how much a fast score may differ from the true one, for a row of norm 1.

    Compared are a few queries with some rows of low:high, spread over them and over the labelled
    ones, and all queries with a few. The first row that is not a descriptor is refused. `piece` is
    low, high, and the number of row 0 in the whole database.
    """
    low, high, first = piece
    labelled = asked.labels.row - first
    named = np.zeros(high - low, dtype=bool)
    named[labelled[(labelled >= low) & (labelled < high)] - low] = True
    labelled = low + np.flatnonzero(named)
    known = np.linspace(low, high - 1, min(high - low, SAMPLE_ROWS)).astype(np.int64)
    some = np.linspace(0, len(labelled) - 1, min(len(labelled), SAMPLE_ROWS // 4)).astype(np.int64)
    known = np.concatenate([known, labelled[some]])
    few = np.unique(np.linspace(0, len(scaled.queries) - 1, SAMPLE_QUERIES).astype(np.int64))
    alone = _product_on(asked.device, scaled.queries[few])
    powers = np.ldexp(1.0, -scaled.exponents)
    compared = [
        (alone, asked.queries[few], powers[few], known[at : at + 512])
        for at in range(0, len(known), 512)
    ]
    if len(few) < len(scaled.queries):
        spread = known[:: max(1, len(known) // FEW_ROWS)][:FEW_ROWS]
        for i, product in enumerate(products):
            tile = slice(i * asked.tile, (i + 1) * asked.tile)
            compared.append((product, asked.queries[tile], powers[tile], spread))
    least = LEAST_ERROR * max(1.0, float(np.sqrt(parts[0].shape[1])) / 64)
    return SAFETY * max(least, *pool.map(lambda pair: _off(parts, *pair), compared))


def _off(
    parts: list[Matrix], product: Product, queries: Float64, powers: Float64, at: Rows
) -> float:
    """Return the largest difference between fast and true scores, per unit of the rows' norms.

    powers  (n_queries,), what a true score is multiplied with to be a fast one
    """
    rows = take(parts, at)
    with np.errstate(over="ignore"):
        single = rows.astype(np.float32)
    squares = np.einsum("ij,ij->i", single, single)
    if not np.all(np.isfinite(squares) & (squares > 0)):
        check_all(parts)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    off = np.abs(product(single) - (queries @ rows.T) * powers[:, None]) / norms
    return float(off.max())
