"""Queries that are images of the database: their descriptors are rows of it, copied.

Where every query is a whole image of the database, an image is described once. Whether that is so
follows from the two lists alone, never from what the cache happens to hold, and the key of the
queries' store says `rows_of`: the key of the database's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.store import shards
from bench.store.matrix import take
from bench.types import Image, Rows

Print = str | None


@dataclass(frozen=True, eq=False)
class Copied:
    """Where the rows of a store are copied from: a store, and a row of it for each of them."""

    store: shards.Store
    rows: Rows


def rows_of(
    queries: Sequence[Image],
    prints: Sequence[Print],
    database: Sequence[Image],
    database_prints: Sequence[Print],
) -> Rows | None:
    """Return the database row of each query, int64; None unless all are whole images of it.

    `prints` are the sha256 of the files, by which images are the same. A file that cannot be read
    is itself alone. Of several equal rows it is the first.
    """
    row: dict[tuple[str, str], int] = {}
    for number, (image, digest) in enumerate(zip(database, database_prints, strict=True)):
        if image.box is None:
            row.setdefault(_content(image, digest), number)
    asked = zip(queries, prints, strict=True)
    found = [None if q.box is not None else row.get(_content(q, digest)) for q, digest in asked]
    rows = [number for number in found if number is not None]
    return np.array(rows, dtype=np.int64) if len(rows) == len(found) else None


def _content(image: Image, digest: Print) -> tuple[str, str]:
    return ("file", image.path) if digest is None else ("sha256", digest)


def copy(kept: shards.Store, copied: Copied, todo: Collection[int]) -> list[str]:
    """Copy the rows of a store; return a sentence per image without a descriptor.

    Shards that are not `todo` exist and are compared: their sources may have changed since.
    """
    parts, gone = shards.matrices(copied.store, "database"), shards.absent_rows(copied.store)
    faults: list[str] = []
    for shard in kept.shards():
        rows = copied.rows[slice(*kept.span(shard))]
        fresh = take(parts, rows).astype(np.float32)
        absent = {at: gone[row] for at, row in enumerate(rows.tolist()) if row in gone}
        faults += absent.values()
        if shard in todo or not _is(kept, shard, fresh, absent):
            kept.path(shard).with_suffix(".json").unlink(missing_ok=True)
            for free in shards.claim(kept, [shard], partial=True):
                shards.write(kept, free, fresh, absent)
    return faults


def _is(kept: shards.Store, shard: int, rows: NDArray[np.float32], absent: dict[int, str]) -> bool:
    manifest = shards.manifest(kept, shard)
    if manifest is None or manifest["missing"] != absent:
        return False
    return np.array_equal(np.load(kept.path(shard), allow_pickle=False), rows)
