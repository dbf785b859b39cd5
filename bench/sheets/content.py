"""What a sheet shows: queries of a record, the first images of their lists, and what these are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench import datasets
from bench.errors import BenchError, unknown
from bench.records import lists, record, replay
from bench.rerank import verification
from bench.rerank.suppression import places_kept
from bench.scoring.metrics import junk_removed
from bench.types import (
    NO_ROW,
    NOT_RETRIEVED,
    Dataset,
    Image,
    LabelledRanks,
    Protocol,
    Rows,
    Shortlist,
)

Kind = Literal["positive", "ignored", "negative", "unlabelled"]


@dataclass(frozen=True)
class Tile:
    """One image of a list: `place` counts from 1, `image` is None: a distractor.

    `inliers` is None where the image was no candidate of re-ranking.
    """

    row: int
    place: int
    score: float
    kind: Kind
    inliers: int | None
    image: Image | None


@dataclass(frozen=True)
class Line:
    """The list of one query in one record.

    `value` is the headline metric of the query, a fraction or NaN; `places` are those of its
    positives, counted from 1 once ignored images are taken out, ascending; `missed` counts those
    that have none, because an index did not find them or suppression took them out.
    """

    run: str
    value: float
    places: tuple[int, ...]
    tiles: tuple[Tile, ...]
    missed: int = 0


@dataclass(frozen=True)
class Entry:
    """One query with its list, or with those of two records one above the other."""

    query: int
    image: Image
    lines: tuple[Line, ...]


@dataclass(frozen=True, eq=False)
class OpenRecord:
    """A record with all that a sheet needs of it, under one protocol.

    `rows` and `row_scores` have the list of every query that is scored: after re-ranking and
    suppression, without images or queries that have no descriptor. `inliers` gives per query those
    of each row that was a candidate.
    """

    path: Path
    document: Mapping[str, Any]
    protocol: Protocol
    ranks: LabelledRanks
    rows: Sequence[Rows]
    row_scores: Sequence[NDArray[np.float64]]
    inliers: Sequence[Mapping[int, int]]
    values: NDArray[np.float64]

    @property
    def name(self) -> str:
        """Return method.variant."""
        return f"{self.document['method']['name']}.{self.document['method']['variant']}"

    @property
    def labelled(self) -> bool:
        """Tell whether any query has a positive under the protocol."""
        return any(len(truth.positive) for truth in self.protocol.truth)

    @property
    def run_id(self) -> str:
        """Return the id of the run."""
        return str(self.document["run_id"])


def open_record(path: Path, protocol: str | None) -> OpenRecord:
    """Return the record at `path` under a protocol: the one named, else medium, else the first."""
    document = record.read(path)
    card = document["card"]
    arrays = record.read_arrays(path, document)
    try:
        stated = record.protocols_of(arrays, card)
        names = [each.name for each in stated]
        if protocol is not None and protocol not in names:
            raise unknown("protocol", protocol, names)
        chosen = protocol or ("medium" if "medium" in names else names[0])
        at = names.index(chosen)
        ranks = replay.scored_ranks(arrays, card, stated)[at]
        made = replay.rankings(arrays, card, stated)
        last, before = made[-1], made[0].shortlist[0]
        listed = last.shortlist[last.of[at]]
        found = arrays.get("shortlist_inliers")
        inliers: list[dict[int, int]] = [{} for _ in before.row]
        if found is not None and "rerank" in card:
            inliers = [_verified(*pair) for pair in zip(before.row, found, strict=True)]
        headline = document["scores"][chosen][card["metrics"][0]]
        values = np.array(headline["per_query"], dtype=np.float64)
        lists = _scored(listed, arrays.get("database_group"), card.get("missing"))
        if not len(values) == len(listed.row) == len(stated[at].truth):
            raise ValueError("lists, labels and scores have different numbers of queries")
    except (LookupError, ValueError, TypeError) as error:
        raise BenchError(
            f"the arrays of {path.name} do not fit its record: {type(error).__name__}: {error}."
        ) from error
    rows, scores = zip(*lists, strict=True)
    return OpenRecord(path, document, stated[at], ranks, rows, scores, inliers, values)


def _scored(
    listed: Shortlist, groups: Rows | None, missing: Mapping[str, Any] | None
) -> list[tuple[Rows, NDArray[np.float64]]]:
    """Return rows and scores of every query's list, without what only fills it."""
    gone = {"database": [], "queries": []} if missing is None else missing
    out = []
    for query, (rows, scores) in enumerate(zip(listed.row, listed.score, strict=True)):
        places = np.arange(len(rows)) if groups is None else places_kept(rows, groups)
        there = (rows != NO_ROW) & ~np.isin(rows, gone["database"]) & (query not in gone["queries"])
        places = places[there[places]]
        out.append((rows[places], scores[places]))
    return out


def _verified(row: Rows, inliers: Rows) -> dict[int, int]:
    kept = inliers != verification.NOT_VERIFIED
    return dict(zip(row[kept].tolist(), inliers[kept].tolist(), strict=True))


def dataset_of(opened: OpenRecord, named: str | None) -> Dataset:
    """Return the data set of a record as it is here; its lists and labels must be the record's.

    `named` is its name or path where the user gives one (`bench.records.lists`).
    """
    card, where = opened.document["card"], opened.path.name
    dataset = lists.dataset_of(card, named, where)
    if named is None:
        lists.check_revision(card, dataset, dataset.name, where)
    return with_images(dataset)


def with_images(dataset: Dataset) -> Dataset:
    """Return a data set with the places of its images; refuse one that has none here."""
    dataset, _ = datasets.placed(dataset)
    files = [dataset.folder / image.path for image in (*dataset.queries, *dataset.database)]
    if not any(file.is_file() for file in files):
        raise BenchError(
            f"a sheet shows images, but {dataset.folder} contains none of the images of "
            f"{dataset.name}; put them there, or set RETRIEVAL_BENCH_DATA."
        )
    return dataset


def comparable(first: OpenRecord, other: OpenRecord) -> None:
    """Refuse two records whose queries, database or labels are not the same."""
    cards_of = [opened.document["card"] for opened in (first, other)]
    for key in ("dataset", "protocols", "distractors", "limit", "metrics"):
        if cards_of[0][key] != cards_of[1][key]:
            raise BenchError(
                f"{first.path.name} and {other.path.name} cannot be shown side by side: their "
                f"cards differ in {key}."
            )


def worst(opened: OpenRecord, count: int) -> list[int]:
    """Return the queries with the least values, the worst first; those without one are left out."""
    order = np.argsort(opened.values, kind="stable")  # NaN comes last
    return [int(query) for query in order if not np.isnan(opened.values[query])][:count]


def spread(total: int, count: int) -> list[int]:
    """Return `count` of `total` queries, at equal distances over the list; all where fewer are.

    >>> spread(10, 4)
    [0, 2, 5, 7]
    """
    return [at * total // min(count, total) for at in range(min(count, total))]


def extremes(first: OpenRecord, other: OpenRecord, count: int) -> tuple[list[int], list[int]]:
    """Return the queries where `first` gains most over `other`, and those where it loses most."""
    gain = first.values - other.values
    order = [int(query) for query in np.argsort(-gain, kind="stable")]
    wins = [query for query in order if gain[query] > 0][:count]
    losses = [query for query in reversed(order) if gain[query] < 0][:count]
    return wins, losses


def entry(dataset: Dataset, query: int, opened: Sequence[OpenRecord], top: int) -> Entry:
    """Return one query with the first `top` images of its list in every record."""
    lines = tuple(_line(dataset, query, each, top) for each in opened)
    return Entry(query, dataset.queries[query], lines)


def _line(dataset: Dataset, query: int, opened: OpenRecord, top: int) -> Line:
    truth = opened.protocol.truth[query]
    kinds: dict[int, Kind] = dict.fromkeys(truth.positive.tolist(), "positive")
    kinds |= dict.fromkeys(truth.ignored.tolist(), "ignored")
    listed, other = opened.rows[query], np.ones(len(opened.rows[query]), dtype=bool)
    if not opened.labelled:  # an image that is ignored is the query itself
        other = ~np.isin(listed, truth.ignored)
    rows = listed[other][:top].tolist()
    scores = opened.row_scores[query][other][:top].tolist()
    tiles = tuple(
        Tile(
            row,
            place,
            score,
            kinds.get(row, "negative" if opened.labelled else "unlabelled"),
            opened.inliers[query].get(row),
            dataset.database[row] if row < len(dataset.database) else None,
        )
        for place, (row, score) in enumerate(zip(rows, scores, strict=True), start=1)
    )
    part = opened.ranks.of_query(query)
    row, rank = opened.ranks.row[part], opened.ranks.rank[part]
    positive, ignored = (rank[np.isin(row, of)] for of in (truth.positive, truth.ignored))
    found = positive[positive < NOT_RETRIEVED]  # the rank of what a suppressed list lacks as well
    places = tuple(int(place) + 1 for place in junk_removed(found, ignored))
    value, missed = float(opened.values[query]), len(positive) - len(found)
    return Line(opened.name, value, places, tiles, missed)
