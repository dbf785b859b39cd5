"""Images without a descriptor, where `--allow-missing` lets a run go on without them.

A database image that could not be read or decoded is never retrieved: it stands at the end of
every list, behind all images that have a descriptor, in the order of the rows (of those that the
query searches, where it has an area); an index does not hold it, and so does not find it. A query
that could not be decoded finds nothing: it counts as 0 in every mean. No row is shifted. The score
kept for such a pair, -(2 + row), is below any product of unit vectors and is different for every
row; so what holds of ranks holds of these as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.store.matrix import Matrix, from_array
from bench.types import (
    NO_ROW,
    NOT_RETRIEVED,
    Areas,
    Dataset,
    GroundTruth,
    Image,
    LabelledRanks,
    Protocol,
    Rows,
    Shortlist,
)

RULE = "last"  # a missing database image is behind all others; a missing query counts as 0


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
            raise BenchError(
                f"none of the {what} of {dataset.name} has a descriptor; a search needs at least "
                "one."
            )


def on_card(card: Mapping[str, Any], missing: Missing) -> dict[str, Any]:
    """Return the card with what is missing, which moves scores; as it was where nothing is."""
    if not missing:
        return dict(card)
    rows = {"database": sorted(missing.database), "queries": sorted(missing.queries)}
    return {**card, "missing": {"rule": RULE, **rows}}


def listed(
    missing: Missing, database: Sequence[Image], queries: Sequence[Image]
) -> list[dict[str, str]]:
    """Return the entries of a record for every missing image: list, file and reason."""
    return [
        {"list": name, "file": images[row].file, "reason": reasons[row]}
        for name, images, reasons in (
            ("database", database, missing.database),
            ("queries", queries, missing.queries),
        )
        for row in sorted(reasons)
    ]


def without(parts: Sequence[Matrix], rows: Collection[int]) -> list[Matrix]:
    """Return the parts without the rows (of the parts laid end to end); order is kept.

    What is left is not what a store calls by its key, and goes without one.
    """
    kept, start = [], 0
    for part in parts:
        inside = [row - start for row in rows if start <= row < start + part.shape[0]]
        start += part.shape[0]
        if not inside:
            kept.append(replace(part, key=None) if rows else part)
        elif len(inside) < part.shape[0]:
            kept.append(from_array(np.delete(np.asarray(part.open()), inside, axis=0), part.label))
    return kept


def labels_without(labelled: Sequence[Rows], missing: Missing, n_rows: int) -> list[Rows]:
    """Return the labelled rows that have a descriptor, of the queries that have one.

    Rows are counted in `without`, queries in what is left of them.
    """
    if not missing:
        return list(labelled)
    place = np.cumsum(_there(missing.database, n_rows)) - 1
    return [
        place[rows[~np.isin(rows, list(missing.database))]]
        for query, rows in enumerate(labelled)
        if query not in missing.queries
    ]


def numbers_without(rows: Collection[int], count: int) -> Rows:
    """Return which of the first `count` numbers are not among `rows`, ascending."""
    return np.flatnonzero(_there(rows, count)).astype(np.int64)


def protocols_without(
    protocols: Sequence[Protocol], missing: Missing, n_rows: int
) -> tuple[Protocol, ...]:
    """Return the protocols of the rows and queries that have a descriptor, numbered as these."""
    if not missing:
        return tuple(protocols)
    there, asked = _there(missing.database, n_rows), range(len(protocols[0].truth))
    place, kept = np.cumsum(there) - 1, [i for i in asked if i not in missing.queries]

    def of(truth: GroundTruth) -> GroundTruth:
        lists = (truth.positive, truth.ignored)
        return GroundTruth(*(place[rows[there[rows]]] for rows in lists))

    return tuple(
        replace(
            protocol,
            truth=tuple(of(protocol.truth[i]) for i in kept),
            asked=None if protocol.asked is None else tuple(protocol.asked[i] for i in kept),
        )
        for protocol in protocols
    )


def areas_without(areas: Areas | None, missing: Missing) -> Areas | None:
    """Return the areas of the database rows and of the queries that have a descriptor."""
    if areas is None or not missing:
        return areas
    rows = _there(missing.database, len(areas.database))
    return Areas(areas.database[rows], areas.queries[_there(missing.queries, len(areas.queries))])


def restore(
    ranks: LabelledRanks,
    shortlist: Shortlist,
    labelled: Sequence[Rows],
    missing: Missing,
    n_rows: int,
    depth: int,
    areas: Areas | None = None,
) -> tuple[LabelledRanks, Shortlist]:
    """Return ranks and shortlist of all queries and rows from those of a search without some.

    `labelled` are the rows to rank of every query, as they were before `labels_without`; `areas`
    those of the data set.
    """
    if not missing:
        return ranks, shortlist
    there = _there(missing.database, n_rows)
    row_of = np.append(np.flatnonzero(there), NO_ROW)  # the last is also that of NO_ROW, -1
    seen_by = _seen(areas, len(labelled), n_rows)
    depth = min(depth, max(map(len, seen_by)))
    row = np.full((len(labelled), depth), NO_ROW, dtype=np.int64)
    score = np.full((len(labelled), depth), np.finfo(np.float64).min)
    entries, searched = [], 0
    for query, (rows, seen) in enumerate(zip(labelled, seen_by, strict=True)):
        if query in missing.queries:  # all rows, in their order
            listed, scores = seen, below(seen)
            rank, found, tied = np.searchsorted(seen, rows), below(rows), np.zeros_like(rows)
        else:
            part, inside, absent = ranks.of_query(searched), there[rows], seen[~there[seen]]
            rank = len(seen) - len(absent) + np.searchsorted(absent, rows)
            found, tied = below(rows), np.zeros_like(rows)
            rank[inside], found[inside] = ranks.rank[part], ranks.score[part]
            tied[inside] = ranks.tied[part]
            filled = shortlist.row[searched] != NO_ROW
            listed = np.append(row_of[shortlist.row[searched][filled]], absent)
            scores = np.append(shortlist.score[searched][filled], below(absent))
            searched += 1
        length = min(depth, len(listed))
        row[query, :length], score[query, :length] = listed[:length], scores[:length]
        entries.append((rows, rank, found, tied))
    return _joined(entries), Shortlist(row, score)


def restore_retrieved(
    ranks: LabelledRanks,
    shortlist: Shortlist,
    labelled: Sequence[Rows],
    missing: Missing,
    n_rows: int,
) -> tuple[LabelledRanks, Shortlist]:
    """Return what `restore` does from the lists of an index, which cannot find what is missing.

    A missing image is not retrieved, and the list of a missing query is empty.
    """
    if not missing:
        return ranks, shortlist
    there = _there(missing.database, n_rows)
    row_of = np.append(np.flatnonzero(there), NO_ROW)
    depth = shortlist.row.shape[1]
    row = np.full((len(labelled), depth), NO_ROW, dtype=np.int64)
    score = np.full((len(labelled), depth), np.finfo(np.float64).min)
    asked = _there(missing.queries, len(labelled))
    row[asked], score[asked] = row_of[shortlist.row], shortlist.score
    entries, searched = [], 0
    for rows, is_asked in zip(labelled, asked, strict=True):
        rank, found = np.full_like(rows, NOT_RETRIEVED), np.full(len(rows), -np.inf)
        tied = np.zeros_like(rows)
        if is_asked:
            part, inside = ranks.of_query(searched), there[rows]
            rank[inside], found[inside] = ranks.rank[part], ranks.score[part]
            tied[inside] = ranks.tied[part]
            searched += 1
        entries.append((rows, rank, found, tied))
    return _joined(entries), Shortlist(row, score)


def _joined(entries: Sequence[tuple[Rows, Rows, NDArray[np.float64], Rows]]) -> LabelledRanks:
    """Return rows, ranks, scores and ties of each query as one."""
    row, rank, score, tied = (np.concatenate([entry[i] for entry in entries]) for i in range(4))
    offsets = np.cumsum([0, *(len(entry[0]) for entry in entries)], dtype=np.int64)
    return LabelledRanks(offsets, row, rank, score, tied)


def _seen(areas: Areas | None, n_queries: int, n_rows: int) -> list[Rows]:
    """Return per query the rows that it searches, ascending; distractors are in every area."""
    if areas is None:
        return [np.arange(n_rows)] * n_queries
    added = np.arange(len(areas.database), n_rows)
    of_area = {
        area: np.append(np.flatnonzero(areas.database == area), added)
        for area in np.unique(areas.queries).tolist()
    }
    return [of_area[area] for area in areas.queries.tolist()]


def below(rows: Rows) -> NDArray[np.float64]:
    """Return the scores kept for pairs without a descriptor, by database row."""
    return -2.0 - rows.astype(np.float64)


def faults(card: Mapping[str, Any], stated: Sequence[Any], ranks: LabelledRanks) -> list[str]:
    """Return contradictions between a record's missing images and its card or its ranks."""
    entry = card.get("missing")
    if entry is None:
        return []
    database, queries = entry["database"], entry["queries"]
    if entry["rule"] != RULE:
        return [
            f"the record treats missing images by {entry['rule']!r}, but this version by {RULE!r}"
        ]
    if [entry["list"] for entry in stated] != ["database"] * len(database) + ["queries"] * len(
        queries
    ):
        return ["the record lacks the missing images of its card"]
    for query in range(len(ranks.offsets) - 1):
        part = ranks.of_query(query)
        rows, score = ranks.row[part], ranks.score[part]
        absent = np.ones(len(rows), bool) if query in queries else np.isin(rows, database)
        if card["search"] == "exact":
            wrong = (score == below(rows)) != absent
        else:
            wrong = absent & (ranks.rank[part] != NOT_RETRIEVED)
        if np.any(wrong):
            return [f"the ranks of query {query} contradict the missing images of the card"]
    return []


def _there(missing: Collection[int], count: int) -> NDArray[np.bool_]:
    """Return which of the first `count` rows are not missing."""
    there = np.ones(count, dtype=np.bool_)
    there[[row for row in missing if row < count]] = False
    return there
