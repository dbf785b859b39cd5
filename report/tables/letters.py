"""Letters of significance for the columns of a table: `compare` of all rows of a heading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError
from bench.records import compare, ranking
from bench.records.rows import Run
from bench.report.tables import paper
from bench.report.tables.paper import Wanted


def marked(results: Path, by_dataset: Mapping[str, Sequence[Run]], wanted: Wanted) -> Wanted:
    """Return the request with the letters of every column, among rows of one heading."""
    made: dict[tuple[str, str, str], dict[Run, str]] = {}
    for column, runs in paper.compared(by_dataset, wanted):
        if len(runs) < 2:
            continue
        try:
            entries = compare.load([results / run.file for run in runs])
            pairs = compare.compare(entries, column.protocol, column.metric)
        except BenchError as error:
            raise BenchError(
                f"{column.dataset}, {column.protocol}: these rows cannot be compared: {error}"
            ) from error
        letters = ranking.letters_of(pairs)
        of = made.setdefault((column.dataset, column.protocol, column.metric), {})
        of |= {run: letters[e.name] for run, e in zip(runs, entries, strict=True)}
    return replace(wanted, letters=made)
