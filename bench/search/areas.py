"""Areas: each query is searched in its own part of the database, and ranks count there.

Mapillary's program does so city by city (Warburg et al., Mapillary Street-Level Sequences, CVPR
2020); the rows of an area are together in the database, so that it is a slice of each part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.scoring.card import areas_sha256
from bench.search.exact import Found
from bench.store.matrix import Matrix
from bench.types import NO_ROW, Areas, LabelledRanks, Rows, Shortlist


@dataclass(frozen=True)
class Job:
    """The search of one area: its rows, its queries, and what they label, numbered inside it.

    `number` has the row of the whole database for every row of the area, distractors at the end.
    """

    parts: list[Matrix]
    queries: Rows
    labelled: list[Rows]
    number: Rows


def jobs(areas: Areas | None, parts: Sequence[Matrix], labelled: Sequence[Rows]) -> list[Job]:
    """Return the searches to make; `parts` is the database, and then distractors for every area."""
    total = sum(part.shape[0] for part in parts)
    if areas is None:
        return [Job(list(parts), np.arange(len(labelled)), list(labelled), np.arange(total))]
    count, out = len(areas.database), []
    for area in np.unique(areas.queries):
        low, high = (int(x) for x in np.searchsorted(areas.database, [area, area + 1]))
        asked = np.flatnonzero(areas.queries == area)
        number = np.concatenate([np.arange(low, high), np.arange(count, total)])
        sliced = _slice(parts, low, high) + _slice(parts, count, total)
        if not sliced:  # none of its images has a descriptor
            continue
        out.append(Job(sliced, asked, [labelled[int(i)] - low for i in asked], number))
    return out


def join(searched: Sequence[tuple[Job, Found]], n_queries: int) -> Found:
    """Return what the searches found as one, in the order of queries and rows of the whole.

    A list of an area with fewer rows than others ends with `NO_ROW`.
    """
    depth = max((found.shortlist.row.shape[1] for _, found in searched), default=0)
    row = np.full((n_queries, depth), NO_ROW, dtype=np.int64)
    score = np.full((n_queries, depth), np.finfo(np.float64).min)
    counts = np.zeros(n_queries, dtype=np.int64)
    for job, found in searched:
        length = found.shortlist.row.shape[1]
        row[job.queries, :length] = job.number[found.shortlist.row]
        score[job.queries, :length] = found.shortlist.score
        counts[job.queries] = np.diff(found.ranks.offsets)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    ranks = LabelledRanks(
        offsets,
        *(np.zeros(offsets[-1], dtype=kind) for kind in (np.int64, np.int64, np.float64, np.int64)),
    )
    for job, found in searched:
        of = found.ranks
        to = np.repeat(offsets[job.queries] - of.offsets[:-1], np.diff(of.offsets))
        to += np.arange(len(of.row))
        ranks.row[to], ranks.score[to] = job.number[of.row], of.score
        ranks.rank[to], ranks.tied[to] = of.rank, of.tied
    least = min((found.norms[0] for _, found in searched), default=np.inf)
    most = max((found.norms[1] for _, found in searched), default=0.0)
    return Found(ranks, Shortlist(row, score), (least, most))


def faults(
    stated: Mapping[str, Any] | None,
    areas: tuple[Rows | None, Rows | None],
    counts: tuple[int, int],
    ranks: LabelledRanks,
    shortlist: Shortlist,
) -> list[str]:
    """Return contradictions between a record and the areas that its card states (None: no areas).

    `areas` are those stored of database rows and queries; `counts` are the card's of both.
    """
    database, queries = areas
    if stated is None:
        stored = database is not None or queries is not None
        return ["areas are stored, but the card names none"] if stored else []
    if database is None or queries is None:
        return ["the card names areas, but no areas are stored"]
    if (len(database), len(queries)) != counts:
        return ["the stored areas and the card's have different numbers of images"]
    if areas_sha256(database, queries) != stated["sha256"]:
        return ["the stored areas differ from the card's"]
    for query, area in enumerate(queries):
        seen = np.concatenate([ranks.row[ranks.of_query(query)], shortlist.row[query]])
        seen = seen[(seen != NO_ROW) & (seen < len(database))]
        if np.any(database[seen] != area):
            return [f"the list of query {query} has images outside its area"]
    return []


def _slice(parts: Sequence[Matrix], low: int, high: int) -> list[Matrix]:
    """Return the rows low:high of parts laid end to end, without copying."""
    out, start = [], 0
    for part in parts:
        a, b = max(low - start, 0), min(high - start, part.shape[0])
        if (a, b) == (0, part.shape[0]):
            out.append(part)
        elif a < b:
            rows, label = part.stored()[a:b], f"{part.label} from row {a}"
            shape = (b - a, part.shape[1])
            out.append(
                replace(part, label=label, shape=shape, array=rows, path=None, ids=None, key=None)
            )
        start += part.shape[0]
    return out
