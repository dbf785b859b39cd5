"""The values of a record query by query, also of metrics that it lacks: from its ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.records import blocks as of_blocks
from bench.records import record as records
from bench.records import replay
from bench.records.rows import Run, Score
from bench.scoring import scores
from bench.scoring.metrics import counted, metric
from bench.system import reading
from bench.types import Protocol

RECALL = "recall@"
# Of every ground truth: the block of every query, and which queries a protocol asks (None: all).
Groups = dict[str, tuple[NDArray[np.int64], Mapping[str, Sequence[bool] | None]]]


@dataclass(frozen=True, eq=False)
class PerQuery:
    """A score per query, float64, NaN where a query is left out of the mean, and its block."""

    values: NDArray[np.float64]
    groups: NDArray[np.int64]


def per_query(
    results: Path, run: Run, protocol: str, metric_id: str, known: Groups
) -> PerQuery | None:
    """Return the values of a run under one protocol; None where its arrays cannot be read.

    `known` keeps what every ground truth has, so that of many records only the first is read with
    its arrays: `rows.load` has checked them all. Landmarks on places, of an older record, are no
    blocks: all queries are one.
    """
    path, key = results / run.file, _truth(run.card)
    try:
        record = reading.json_file(path)
        entry = record["scores"][protocol].get(metric_id)
        if entry is None or key not in known:
            record = {**record, "card": run.card}
            arrays = records.read_arrays(path, record)
            stated = records.protocols_of(arrays, dict(run.card))
            if key not in known:
                blocks = of_blocks.of_record(record, arrays, stated).of_query
                blocks = 0 * blocks if of_blocks.landmarks_on_places(record) else blocks
                known[key] = (
                    blocks,
                    {stated_protocol.name: stated_protocol.asked for stated_protocol in stated},
                )
        if entry is None:
            values = _recomputed(arrays, record, stated, [metric_id])[protocol][metric_id].per_query
        else:
            values = np.array(entry["per_query"], dtype=np.float64)
        groups, asked = known[key]
        empty = run.card["protocols"][protocol]["empty"]
    except (BenchError, LookupError, OSError, TypeError, ValueError):
        return None
    return PerQuery(counted(values, empty, asked[protocol]), groups)


def completed(results: Path, runs: Sequence[Run]) -> list[Run]:
    """Return the runs of one data set with its headline, and with every metric of its table.

    The headline of a data set is that of most of its runs; a metric that a record lacks is
    computed from its ranks. Where these cannot be read the score stays empty.
    """
    counts = Counter(run.headline for run in runs)
    if len(counts) < 2 and not _lacking(runs, _wanted(runs, next(iter(counts), ""))):
        return list(runs)
    headline = min(counts, key=lambda name: (-counts[name], name))
    wanted = _wanted(runs, headline)
    lacking = set(_lacking(runs, wanted))
    out = []
    for run in runs:
        made = replace(run, headline_id=headline)
        out.append(_with(results, made, wanted) if run in lacking else made)
    return out


def _wanted(runs: Sequence[Run], headline: str) -> list[str]:
    if not headline.startswith(RECALL):
        return [headline]
    every = {m for run in runs for m in run.card["metrics"] if m.startswith(RECALL)}
    return sorted({headline, *every})


def _lacking(runs: Sequence[Run], wanted: Sequence[str]) -> list[Run]:
    return [
        run
        for run in runs
        if any(table and metric_id not in table for table in run.scores.values()
               for metric_id in wanted)
    ]  # fmt: skip


def _with(results: Path, run: Run, wanted: Sequence[str]) -> Run:
    path = results / run.file
    try:
        record = records.read(path)
        arrays = records.read_arrays(path, record)
        stated = records.protocols_of(arrays, record["card"])
        made = _recomputed(arrays, record, stated, wanted)
    except (BenchError, LookupError, TypeError, ValueError):
        return run
    added: dict[str, dict[str, Score]] = {}
    for protocol, table in run.scores.items():
        added[protocol] = dict(table)
        for metric_id, score in made.get(protocol, {}).items():
            mean = None if np.isnan(score.mean) else score.mean
            added[protocol].setdefault(metric_id, Score(mean, score.interval))
    return replace(run, scores=added)


def _recomputed(
    arrays: records.Arrays,
    record: Mapping[str, Any],
    stated: Sequence[Protocol],
    wanted: Sequence[str],
) -> scores.Scores:
    """Return scores by other metrics; KeyError for a metric that this version does not know."""
    for metric_id in wanted:
        metric(metric_id)
    card = record["card"]
    ranks = replay.scored_ranks(arrays, card, stated)
    asked = [replace(protocol, metrics=tuple(wanted)) for protocol in stated]
    blocks = of_blocks.of_record(record, arrays, stated)
    made = scores.tables(ranks, asked, card.get("missing", {}).get("queries", ()))
    return scores.with_intervals(made, asked, blocks, record["seed"])


def _truth(card: Mapping[str, Any]) -> str:
    truths = [f"{name} {entry['truth_sha256']}" for name, entry in card["protocols"].items()]
    return "|".join([str(card["dataset"]["database"]), *truths])
