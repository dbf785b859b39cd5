"""Images without a descriptor, where `--allow-missing` lets a run go on without them.

A database image that could not be read or decoded is never retrieved: it stands at the end of
every list, behind all images that have a descriptor, in the order of the rows. A query that could
not be decoded finds nothing: it counts as 0 in every mean. So missing images can only lower a
score, and no row is shifted. The score kept for such a pair, -(2 + row), lies below any product of
unit vectors and is different for every row; so what holds of ranks holds of these as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.descriptors import Matrix, from_array
from bench.errors import BenchError
from bench.types import Dataset, Image, LabelledRanks, Rows, Shortlist

RULE = "a missing database image is behind all others; a missing query counts as 0"


@dataclass(frozen=True)
class Missing:
    """Rows of the database and numbers of queries without a descriptor, and why."""

    database: Mapping[int, str] = field(default_factory=dict)
    queries: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many images are missing."""
        return len(self.database) + len(self.queries)


NOTHING = Missing()


def check(missing: Missing, dataset: Dataset) -> None:
    """Refuse to score where no database image, or no query, has a descriptor."""
    for what, rows, images in (
        ("database images", missing.database, dataset.database),
        ("queries", missing.queries, dataset.queries),
    ):
        if len(rows) == len(images):
            raise BenchError(f"none of the {what} of {dataset.name} has a descriptor.")


def on_card(card: Mapping[str, Any], missing: Missing) -> dict[str, Any]:
    """Return the card with what is missing, which moves scores; as it was where nothing is."""
    if not missing:
        return dict(card)
    rows = {"database": sorted(missing.database), "queries": sorted(missing.queries)}
    return {**card, "missing": {"rule": RULE, **rows}}


def listed(
    missing: Missing, database: Sequence[Image], queries: Sequence[Image]
) -> list[dict[str, str]]:
    """Return what a record says of every missing image: list, file and reason."""
    return [
        {"list": name, "file": images[row].file, "reason": reasons[row]}
        for name, images, reasons in (
            ("database", database, missing.database),
            ("queries", queries, missing.queries),
        )
        for row in sorted(reasons)
    ]


def without(parts: Sequence[Matrix], rows: Collection[int]) -> list[Matrix]:
    """Return the parts without the rows (of the parts laid end to end); order is kept."""
    kept, start = [], 0
    for part in parts:
        inside = [row - start for row in rows if start <= row < start + part.shape[0]]
        start += part.shape[0]
        if not inside:
            kept.append(part)
        elif len(inside) < part.shape[0]:
            kept.append(from_array(np.delete(np.asarray(part.open()), inside, axis=0), part.label))
    return kept


def labels_without(labelled: Sequence[Rows], missing: Missing, n_rows: int) -> list[Rows]:
    """Return the labelled rows that have a descriptor, of the queries that have one.

    Rows are counted in `without`, queries in what is left of them.
    """
    if not missing:
        return list(labelled)
    place = np.cumsum(_described(missing, n_rows)) - 1
    return [
        place[rows[~np.isin(rows, list(missing.database))]]
        for query, rows in enumerate(labelled)
        if query not in missing.queries
    ]


def restore(
    ranks: LabelledRanks,
    shortlist: Shortlist,
    labelled: Sequence[Rows],
    missing: Missing,
    n_rows: int,
    depth: int,
) -> tuple[LabelledRanks, Shortlist]:
    """Return ranks and shortlist of all queries and rows from those of a search without some.

    `labelled` are the rows to rank of every query, as they were before `labels_without`.
    """
    if not missing:
        return ranks, shortlist
    there = _described(missing, n_rows)
    row_of, absent = np.flatnonzero(there), np.flatnonzero(~there)
    depth = min(depth, n_rows)
    lists, entries, searched = [], [], 0
    for query, rows in enumerate(labelled):
        if query in missing.queries:  # all rows, in their order
            first = np.arange(depth)
            entries.append((rows, rows, below(rows), np.zeros_like(rows)))
            lists.append((first, below(first)))
            continue
        part = ranks.of_query(searched)
        inside = there[rows]
        rank = len(row_of) + np.searchsorted(absent, rows)
        score, tied = below(rows), np.zeros_like(rows)
        rank[inside], score[inside] = ranks.rank[part], ranks.score[part]
        tied[inside] = ranks.tied[part]
        entries.append((rows, rank, score, tied))
        first = np.concatenate([row_of[shortlist.row[searched]], absent])[:depth]
        scores = np.concatenate([shortlist.score[searched], below(absent)])[:depth]
        lists.append((first, scores))
        searched += 1
    row, rank, score, tied = (np.concatenate([one[i] for one in entries]) for i in range(4))
    offsets = np.cumsum([0, *map(len, labelled)], dtype=np.int64)
    all_ranks = LabelledRanks(offsets, row, rank, score, tied)
    whole = Shortlist(np.array([one[0] for one in lists]), np.array([one[1] for one in lists]))
    return all_ranks, whole


def below(rows: Rows) -> NDArray[np.float64]:
    """Return the scores kept for pairs without a descriptor, by database row."""
    return -2.0 - rows.astype(np.float64)


def faults(card: Mapping[str, Any], said: Sequence[Any], ranks: LabelledRanks) -> list[str]:
    """Return what of a record's missing images contradicts its card or its ranks."""
    entry = card.get("missing")
    if entry is None:
        return []
    database, queries = entry["database"], entry["queries"]
    if entry["rule"] != RULE:
        return [f"missing images are treated by {entry['rule']!r}, and scores here by {RULE!r}"]
    if [one["list"] for one in said] != ["database"] * len(database) + ["queries"] * len(queries):
        return ["the record does not name the missing images of its card"]
    for query in range(len(ranks.offsets) - 1):
        part = ranks.of_query(query)
        rows, score = ranks.row[part], ranks.score[part]
        absent = np.ones(len(rows), bool) if query in queries else np.isin(rows, database)
        if np.any((score == below(rows)) != absent):
            return [f"the ranks of query {query} contradict the missing images of the card"]
    return []


def _described(missing: Missing, n_rows: int) -> NDArray[np.bool_]:
    there = np.ones(n_rows, dtype=np.bool_)
    there[list(missing.database)] = False
    return there
