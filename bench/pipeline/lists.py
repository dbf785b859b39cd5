"""Rows of descriptors as the pipeline hands them on: of a database and of queries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.stage import Float64
from bench.store import matrix
from bench.store.matrix import Matrix, check_block, count_rows
from bench.types import Protocol, Rows


@dataclass(frozen=True)
class Lists:
    """Rows of a database and of queries, without missing images.

    `pairs` (n, 2) are numbers of matching rows: of a query and a database row, or, without
    queries, of two database rows. `about` is what a record keeps of another method.
    """

    database: Sequence[Matrix]
    queries: Sequence[Matrix] = ()
    pairs: Rows | None = None
    about: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Table:
    """The `bench.stage.Table` of rows on disk or in memory."""

    parts: Sequence[Matrix]

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and the dimension."""
        return count_rows(self.parts), self.parts[0].shape[1]

    def take(self, numbers: Rows) -> Float64:
        """Return rows by number."""
        return matrix.take(self.parts, numbers)

    def blocks(self, rows: int = 4096) -> Iterator[tuple[int, Float64]]:
        """Yield the number of a first row, and that row and those behind it; refuse bad ones."""
        for low, stored in matrix.blocks(self.parts, rows):
            check_block(self.parts, low, stored)
            yield low, np.asarray(stored, dtype=np.float64)


def pairs_of(protocols: Sequence[Protocol]) -> Rows:
    """Return (query, first positive row) of every query of the headline protocol with any."""
    truth = protocols[0].truth if protocols else ()
    pairs = [(query, int(t.positive[0])) for query, t in enumerate(truth) if len(t.positive)]
    if not pairs:
        raise BenchError(
            "no pairs of matching images exist to learn from; use a data set whose queries have "
            "positives."
        )
    return np.array(pairs, dtype=np.int64)
