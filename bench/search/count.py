"""Counting how many rows beat each labelled row.

See `bench.search.exact` for the idea. Around every labelled score is a band: a fast score above
it is surely better than the labelled row, a fast score below it surely worse, and a row inside it
is scored in float64. Everything here works on the queries of a tile at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.types import Rows

MOST_COMPARED = 32  # bands of a query that are counted one after another; more are sorted
SORTED = 1 << 18  # keys sorted at a time
LOOKED_AT = 1 << 17  # fast scores looked at at a time, for rows in bands

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Entries = tuple[Rows, Rows, Rows]


def best_of_each(query: Rows, row: Rows, score: Float64, depth: int) -> Rows:
    """Return where the first `depth` of each query stand, query by query, best first: ties by row.

    query, row, score  (n,), in any order
    """
    order = np.lexsort((row, -score, query))
    query = query[order]
    return order[np.arange(len(order)) - np.searchsorted(query, query) < depth]


def smallest(sizes: Rows, keys: Float64, most: int | None = None) -> Rows:
    """Return where the `most` smallest keys of each group stand, ascending; ties as they come.

    sizes  (n_groups,) keys of each group; groups are laid end to end
    keys   (n,) float64
    """
    starts, out = np.cumsum(sizes) - sizes, [np.empty(0, dtype=np.int64)]
    step = max(1, SORTED // max(1, int(sizes.max(initial=0))))
    for low in range(0, len(sizes), step):
        some, first = sizes[low : low + step], starts[low : low + step]
        real = np.arange(int(some.max(initial=0))) < some[:, None]
        wide = np.full(real.shape, np.nan)  # sorted behind all numbers
        wide[real] = keys[first[0] : first[0] + int(some.sum())]
        order = np.argsort(wide, axis=1, kind="stable")[:, :most]
        out.append((first[:, None] + order)[order < some[:, None]])
    return np.concatenate(out)


def by_number(numbers: Rows, total: int) -> Rows:
    """Return the stable order of numbers from 0 to `total`, by their halves of 16 bits."""
    if total >= 1 << 32:
        return np.argsort(numbers, kind="stable")
    order = np.argsort(numbers.astype(np.uint16), kind="stable")  # numpy counts those
    if total > 1 << 16:
        order = order[np.argsort((numbers[order] >> 16).astype(np.uint16), kind="stable")]
    return order


@dataclass(frozen=True)
class Labels:
    """The labelled rows of some queries, in the order query, score ascending, row descending.

    query  (n,) int64, the number of the query
    row    (n,) int64, the row of the whole database
    score  (n,) float64
    total  rows of the whole database
    """

    query: Rows
    row: Rows
    score: Float64
    total: int


@dataclass(frozen=True)
class Ladder:
    """Labels, with what makes them quick to search.

    scaled    (n,) float64, scores as the fast product has them
    key       (n,) complex128, query and score: numpy orders them by one, then the other
    tie       (n,) int64, ascending: where the first label of that score stands, then row descending
    by_row    (n,) int64, the order by row; `rows` are the rows in that order
    """

    labels: Labels
    scaled: Float64
    key: NDArray[np.complex128]
    tie: Rows
    by_row: Rows
    rows: Rows


def ladder(labels: Labels, exponents: NDArray[np.integer]) -> Ladder:
    """Prepare labels; the fast product of query i is its true one times 2 ** -exponents[i]."""
    key = np.empty(len(labels.query), dtype=np.complex128)
    key.real, key.imag = labels.query, labels.score
    first, _ = _equal(labels)
    by_row = by_number(labels.row, labels.total)
    return Ladder(
        labels,
        np.ldexp(labels.score, -exponents[labels.query]),
        key,
        first * labels.total + (labels.total - 1 - labels.row),
        by_row,
        labels.row[by_row],
    )


@dataclass(frozen=True)
class Bands:
    """The bands around the labelled scores; those that overlap are one. One entry a band.

    first, size  the labels inside it
    query        whose band it is
    low, high    float32 fast scores, both inside
    known        how many fast scores of the block are inside if none needs float64: the labelled
                 row itself, where it is in the block; -1 where the labels are several
    of           (n_labels,) the band of each label
    """

    first: Rows
    size: Rows
    query: Rows
    low: Float32
    high: Float32
    known: Rows
    of: Rows


def bands(known: Ladder, near: float, low_row: int, high_row: int) -> Bands:
    """Return the bands for a block that holds the rows low_row:high_row of the whole database.

    near  by how much a fast score may differ from the true one
    """
    query, few = known.labels.query, np.float32(np.inf)
    low = np.nextafter((known.scaled - near).astype(np.float32), -few)
    high = np.nextafter((known.scaled + near).astype(np.float32), few)
    new = np.ones(len(query), dtype=bool)
    new[1:] = (query[1:] != query[:-1]) | (low[1:] > high[:-1])
    first, of = np.flatnonzero(new), np.cumsum(new) - 1
    size = np.diff(first, append=len(query))
    inside = slice(*np.searchsorted(known.rows, [low_row, high_row]))
    own = np.bincount(of[known.by_row[inside]], minlength=len(first))
    last = first + size - 1
    return Bands(
        first, size, query[first], low[first], high[last], np.where(size == 1, own, -1), of
    )


@dataclass(frozen=True)
class Grid:
    """The bands of the queries of a tile side by side: arrays (n_queries, most bands of a query).

    Where a query has fewer the last ones are empty and are above every score.
    """

    low: Float32
    high: Float32
    known: Rows
    band: Rows


def grid(all_bands: Bands, low_query: int, high_query: int) -> Grid | None:
    """Set out the bands of the queries low_query:high_query; None if they have none."""
    begin, end = np.searchsorted(all_bands.query, [low_query, high_query])
    if begin == end:
        return None
    query = all_bands.query[begin:end]
    row = query - low_query
    starts = np.searchsorted(query, np.arange(low_query, high_query))
    column = np.arange(end - begin) - starts[row]
    shape = high_query - low_query, int(column.max()) + 1
    above = np.finfo(np.float32).max
    out = Grid(
        np.full(shape, above), np.full(shape, above), np.zeros(shape, int), np.full(shape, -1)
    )
    for array, values in (
        (out.low, all_bands.low),
        (out.high, all_bands.high),
        (out.known, all_bands.known),
        (out.band, np.arange(len(all_bands.query))),
    ):
        array[row, column] = values[begin:end]
    return out


def in_bands(fast: Float32, tile: Grid, above: Rows) -> Iterator[Entries]:
    """Count, and yield what must be scored in float64 as (query of the tile, column, band).

    fast   (n_queries, m) float32
    above  (n_bands,) int64: the fast scores above each band are added

    Several arrays of entries come one after another, each of a bounded size.
    """
    width, most = fast.shape[1], tile.low.shape[1]
    look = _compared if most <= MOST_COMPARED else _sorted
    rows = max(1, LOOKED_AT // (width + 2 * most))
    for low in range(0, len(fast), rows):
        part = slice(low, low + rows)
        some = Grid(tile.low[part], tile.high[part], tile.known[part], tile.band[part])
        query, column, band = look(fast[part], some, above)
        if len(query):
            yield low + query, column, band


def _compared(fast: Float32, tile: Grid, above: Rows) -> Entries:
    """Do so by comparing all scores with one band of each query after another."""
    (n, width), real = fast.shape, tile.band >= 0
    masks = np.zeros((2, n, -(-width // 64) * 64), dtype=bool)  # whole words of 64 bits, packed
    counts = np.empty((2, *tile.band.shape), dtype=np.int64)
    for k in range(tile.band.shape[1]):
        np.greater(fast, tile.high[:, k, None], out=masks[0, :, :width])
        np.greater_equal(fast, tile.low[:, k, None], out=masks[1, :, :width])
        bits = np.bitwise_count(np.packbits(masks, axis=2).view(np.uint64))
        np.add.reduce(bits, axis=2, dtype=np.int64, out=counts[:, :, k])
    above[tile.band[real]] += counts[0][real]
    inside = counts[1] - counts[0]
    query, number = np.nonzero(real & (inside > 0) & (inside != tile.known))
    found: list[Entries] = [(np.empty(0, dtype=np.int64),) * 3]
    for at in range(0, len(query), n):
        some, which = query[at : at + n], number[at : at + n]
        scores, low = fast[some], tile.low[some, which]
        within = (scores >= low[:, None]) & (scores <= tile.high[some, which][:, None])
        pair, column = np.nonzero(within)
        found.append((some[pair], column, tile.band[some, which][pair]))
    query, column, band = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return query, column, band


def _sorted(fast: Float32, tile: Grid, above: Rows) -> Entries:
    """Do so by sorting the scores of each query together with the ends of its bands.

    A key is a score as an ordered integer and, below it, what it is: 0 the lower end of a band,
    1 and more a column, and the upper end behind all of them.
    """
    (n, width), most = fast.shape, tile.low.shape[1]
    end = np.int64(1) << 31
    keys = np.empty((n, width + 2 * most), dtype=np.int64)
    keys[:, :width] = _ordered(fast) | np.arange(1, width + 1)
    keys[:, width : width + most] = _ordered(tile.low)
    keys[:, width + most :] = _ordered(tile.high) | end
    keys.sort(axis=1)
    kind = np.asarray(keys & 0xFFFFFFFF, dtype=np.int64)
    ends = np.flatnonzero((kind == 0) | (kind == end)).reshape(n, 2 * most)
    at = ends - (np.arange(n) * keys.shape[1])[:, None]
    at -= np.arange(2 * most)  # scores that stand before the end
    # Empty bands at the end are equal, so that their ends stand together: lower, then upper ones.
    lower, upper = at[:, 0::2], at[:, 1::2]
    real = tile.band >= 0
    above[tile.band[real]] += width - upper[real]
    inside = np.where(real, upper - lower, 0)
    inside[inside == tile.known] = 0
    query, number = np.nonzero(inside)
    sizes = inside[query, number]
    entry = np.repeat(np.arange(len(sizes)), sizes)
    start = ends[query, 2 * number] + 1
    place = start[entry] + np.arange(len(entry)) - (np.cumsum(sizes) - sizes)[entry]
    return query[entry], kind.ravel()[place] - 1, tile.band[query, number][entry]


def _ordered(numbers: Float32) -> Rows:
    """Return float32 numbers as integers of the same order, in the upper half of int64."""
    bits = numbers.view(np.int32)
    out = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    out <<= 32
    return out


class Tally:
    """How many rows beat each label, and how many others have its score."""

    def __init__(self, known: Ladder) -> None:
        """Start with none."""
        self.known = known
        size = len(known.labels.query) + 1
        self.above = np.zeros(size - 1, dtype=np.int64)
        self.beaten = np.zeros(size, dtype=np.int64)
        self.tied = np.zeros(size, dtype=np.int64)

    def add_exact(self, inside: Bands, band: Rows, query: Rows, row: Rows, score: Float64) -> None:
        """Add rows that are in bands, by their float64 scores: which labels there they beat."""
        known, labels = self.known, self.known.labels
        key = np.empty(len(score), dtype=np.complex128)
        key.real, key.imag = query, score
        left = np.searchsorted(known.key, key, side="left")
        right = np.searchsorted(known.key, key, side="right")
        same = np.flatnonzero(right > left)
        tie = left[same] * labels.total + (labels.total - 1 - row[same])
        beats = left.copy()
        beats[same] = np.searchsorted(known.tie, tie)
        own = known.tie[np.minimum(beats[same], len(known.tie) - 1)] == tie
        first = inside.first[band]
        end = first + inside.size[band]
        np.add.at(self.beaten, first, 1)
        np.subtract.at(self.beaten, np.clip(beats, first, end), 1)
        others = same[~own & (left[same] >= first[same]) & (left[same] < end[same])]
        np.add.at(self.tied, left[others], 1)
        np.subtract.at(self.tied, right[others], 1)

    def add_fast(self, inside: Bands, above: Rows) -> None:
        """Add the rows (n_bands,) that are above each band."""
        self.above += above[inside.of]

    def add(self, other: Tally) -> None:
        """Add what another block showed."""
        self.above += other.above
        self.beaten += other.beaten
        self.tied += other.tied

    def result(self) -> tuple[Rows, Rows]:
        """Return how many rows beat each label, and how many unlabelled ones have its score."""
        return self.above + np.cumsum(self.beaten)[:-1], np.cumsum(self.tied)[:-1]


def labelled_ties(labels: Labels) -> Rows:
    """Return how many other labelled rows of its query have the score of each label."""
    _, sizes = _equal(labels)
    return sizes - 1


def _equal(labels: Labels) -> tuple[Rows, Rows]:
    """Return for each label where those of its query and score begin, and how many they are."""
    query, score = labels.query, labels.score
    new = np.ones(len(query), dtype=bool)
    new[1:] = (query[1:] != query[:-1]) | (score[1:] != score[:-1])
    first, of = np.flatnonzero(new), np.cumsum(new) - 1
    return first[of], np.diff(first, append=len(query))[of]
