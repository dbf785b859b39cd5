"""From ranks of labelled images to scores: every metric, every protocol, one value per query."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.scoring.intervals import Blocks, landmarks, of_mean
from bench.scoring.metrics import counted, mean_over_queries, metric
from bench.types import NOT_RETRIEVED, LabelledRanks, Protocol, Rows


@dataclass(frozen=True)
class Score:
    """One metric under one protocol: fractions 0..1; NaN or None where undefined."""

    mean: float
    interval: tuple[float, float] | None
    per_query: NDArray[np.float64]


Scores = dict[str, dict[str, Score]]
Tables = dict[str, dict[str, NDArray[np.float64]]]


def labelled_rows(protocols: Sequence[Protocol]) -> list[Rows]:
    """Return per query the rows that any protocol labels: int64, sorted, unique."""
    truths = list(zip(*(protocol.truth for protocol in protocols), strict=True))
    each = [rows for some in truths for truth in some for rows in (truth.positive, truth.ignored)]
    query, row = _flat(each, 2 * len(protocols))
    beyond = 1 + int(row.max(initial=0))
    key = np.unique(query * beyond + row)
    return _split(key // beyond, key % beyond, len(truths))


def positive_ranks(ranks: LabelledRanks, protocol: Protocol) -> list[Rows]:
    """Return per query the zero-based places of its positives once ignored images are removed.

    Positives that an approximate search did not retrieve have no place.
    """
    n = len(protocol.truth)
    query, place = _places(ranks, [truth.positive for truth in protocol.truth])
    of, ignored = _places(ranks, [truth.ignored for truth in protocol.truth])
    order = np.lexsort((place, query))
    query, place = query[order], place[order]
    values = np.unique(np.concatenate([place, ignored]))
    start, removed = (
        query * len(values),
        np.sort(of * len(values) + np.searchsorted(values, ignored)),
    )
    key = start + np.searchsorted(values, place)
    before = np.searchsorted(removed, key) - np.searchsorted(removed, start)
    return _split(query, place - before, n)


def score(
    ranks: LabelledRanks | Sequence[LabelledRanks],
    protocols: Sequence[Protocol],
    n_rows: int,
    seed: int = 0,
    unanswered: Collection[int] = (),
    blocks: Blocks | None = None,
) -> Scores:
    """Score exact ranks under every protocol: {protocol: {metric id: Score}}.

    `ranks` are those of all protocols, or one for each where re-ranking made them differ.
    `n_rows` is the number of database rows, distractors left out; intervals are over `blocks`,
    landmarks where there are none, which are drawn with `seed`. Queries `unanswered`, which have
    no descriptor, count as 0.
    """
    blocks = landmarks(protocols, n_rows) if blocks is None else blocks
    return with_intervals(tables(ranks, protocols, unanswered), protocols, blocks, seed)


def tables(
    ranks: LabelledRanks | Sequence[LabelledRanks],
    protocols: Sequence[Protocol],
    unanswered: Collection[int] = (),
) -> Tables:
    """Return a value per query, NaN without positives: {protocol: {metric id: values}}."""
    each = [ranks] * len(protocols) if isinstance(ranks, LabelledRanks) else ranks
    return {
        protocol.name: per_query(of_protocol, protocol, unanswered)
        for protocol, of_protocol in zip(protocols, each, strict=True)
    }


def with_intervals(
    made: Tables, protocols: Sequence[Protocol], blocks: Blocks, seed: int
) -> Scores:
    """Return scores of values per query, with intervals over blocks."""
    return {
        protocol.name: {
            metric_id: Score(
                mean(values, protocol),
                of_mean(counted(values, protocol.empty, protocol.asked), blocks, seed),
                values,
            )
            for metric_id, values in made[protocol.name].items()
        }
        for protocol in protocols
    }


def headline(made: Tables, protocols: Sequence[Protocol]) -> NDArray[np.float64]:
    """Return the values of the headline metric under the first protocol, NaN where left out."""
    first = protocols[0]
    return counted(made[first.name][first.metrics[0]], first.empty, first.asked)


def per_query(
    ranks: LabelledRanks, protocol: Protocol, unanswered: Collection[int] = ()
) -> dict[str, NDArray[np.float64]]:
    """Return per metric of a protocol a value per query: fractions 0..1, NaN without positives."""
    places = positive_ranks(ranks, protocol)
    counts = [len(truth.positive) for truth in protocol.truth]
    out = {}
    for metric_id in protocol.metrics:
        function = metric(metric_id).score
        values = np.array([function(p, n) for p, n in zip(places, counts, strict=True)])
        values[list(unanswered)] *= 0.0  # what is not a number stays so
        out[metric_id] = values
    return out


def mean(values: NDArray[np.float64], protocol: Protocol) -> float:
    """Return the mean of a value per query over those that the protocol asks, NaN over none."""
    return mean_over_queries(values[asked(protocol)], protocol.empty)


def asked(protocol: Protocol) -> NDArray[np.bool_]:
    """Return which queries the protocol asks (n_queries,)."""
    if protocol.asked is None:
        return np.ones(len(protocol.truth), dtype=np.bool_)
    return np.array(protocol.asked, dtype=np.bool_)


def skipped(protocol: Protocol) -> int:
    """Return how many of the queries that this protocol asks have no positive."""
    pairs = zip(protocol.truth, asked(protocol), strict=True)
    return sum(bool(is_asked) and len(truth.positive) == 0 for truth, is_asked in pairs)


def _places(ranks: LabelledRanks, wanted: Sequence[Rows]) -> tuple[Rows, Rows]:
    """Return the places of the rows wanted of each query, and whose they are; those that have one.

    Raises BenchError where the ranks lack one of them.
    """
    query, row = _flat(wanted)
    least = min(ranks.row.min(initial=0), row.min(initial=0))
    beyond = 1 + int(max(ranks.row.max(initial=0), row.max(initial=0))) - int(least)
    of = np.repeat(np.arange(len(ranks.offsets) - 1), np.diff(ranks.offsets))
    known, key = of * beyond + (ranks.row - least), query * beyond + (row - least)
    at = np.searchsorted(known, key)
    there = at < len(known)
    there[there] = known[at[there]] == key[there]
    if not there.all():
        lacking = query[np.argmin(there)]
        raise BenchError(
            f"the ranks of query {lacking} lack a labelled image; rank all images that the "
            "ground truth labels."
        )
    place = ranks.rank[at]
    kept = place != NOT_RETRIEVED
    return query[kept], place[kept]


def _flat(each: Sequence[Rows], arrays: int = 1) -> tuple[Rows, Rows]:
    """Return the numbers of queries, of which each has so many arrays, and all rows end to end."""
    query = np.arange(len(each)) // arrays
    sizes = np.fromiter(map(len, each), dtype=np.int64, count=len(each))
    row = np.concatenate([*each, np.empty(0, dtype=np.int64)]).astype(np.int64)
    return np.repeat(query, sizes), row


def _split(query: Rows, numbers: Rows, n: int) -> list[Rows]:
    """Return the numbers of each of n queries; `query` ascends."""
    ends = np.searchsorted(query, np.arange(n), side="right").tolist()
    return [numbers[low:high] for low, high in zip([0, *ends], ends, strict=False)]


def ties_of(ranks: LabelledRanks) -> dict[str, int]:
    """Return how many labelled images share their score, and the size of the largest group."""
    return {
        "labelled": int(np.count_nonzero(ranks.tied)),
        "largest_group": 1 + int(ranks.tied.max(initial=0)),
    }
