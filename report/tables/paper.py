"""Tables as papers print them: methods × data sets, measured and published rows, several formats.

The field's two tables are one form: columns are data sets and their protocols or Recall@k, rows are
methods. A line stands for a method under one protocol and system, on all data sets asked for; what
tells lines of one name apart stands after it. Published rows come after a rule, with a citation,
and never share a line with a measured one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError, unknown
from bench.records import classes, groups
from bench.records.rows import Run, in_order
from bench.records.words import metric_label
from bench.report.tables.main import SHORT, columns_of, one_machine, printed
from bench.report.tables.measured_vs_published import metric_id
from bench.report.tables.numbers import NONE, memory_and_disk, ms
from bench.report.tables.published import PublishedRow

EXTRA = {
    "dim": lambda run: f"{run.dim:,}",
    "ms": lambda run: ms(None if run.cost.row_ms is None else run.cost.row_ms.p50),
    "bytes": lambda run: memory_and_disk(run.cost.image_bytes, run.cost.disk_bytes),
    "parameters": lambda run: NONE if run.cost.parameters is None
    else f"{run.cost.parameters / 1e6:.1f}",
    "backbone": lambda run: run.backbone,
    "trained-on": lambda run: run.training_set,
    "system": groups.system_words,
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A score: data set, protocol and metric id, and its heading below that of the data set."""

    dataset: str
    protocol: str
    metric: str
    head: str


@dataclass(frozen=True)
class Cell:
    """A score as printed, its interval, its place (1, 2 or 0) and whether it is told from best."""

    shown: str = NONE
    interval: tuple[float, float] | None = None
    place: int = 0
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """A row: its name, the columns asked for besides, its cells; `cite` for published rows."""

    name: str
    extra: tuple[str, ...]
    cells: tuple[Cell, ...]
    cite: str | None = None


@dataclass(frozen=True)
class Paper:
    """A table: groups of lines under a heading each, those of published rows last."""

    columns: tuple[Column, ...]
    extra: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Line, ...]], ...]
    digits: int
    intervals: bool
    notes: tuple[str, ...] = ()
    sources: Mapping[str, PublishedRow] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What a table is to hold: data sets, methods (all where empty), columns besides, digits."""

    datasets: Sequence[str]
    methods: Sequence[str] = ()
    extra: Sequence[str] = ("dim",)
    published: bool = False
    digits: int = 1
    intervals: bool = True
    easy: bool = False
    letters: Mapping[tuple[str, str, str], Mapping[Run, str]] = field(default_factory=dict)


def make(
    by_dataset: Mapping[str, Sequence[Run]], rows: Sequence[PublishedRow], wanted: Wanted
) -> Paper:
    """Return the table of the runs and published rows; BenchError for a name that has neither."""
    listed = [row for row in rows if row.printable and row.part == "main"]
    _check(by_dataset, listed, wanted)
    chosen = {
        name: [run for run in one_machine(by_dataset.get(name, ())) if _asked(run, wanted.methods)]
        for name in wanted.datasets
    }
    columns = tuple(c for name in wanted.datasets for c in _columns(name, chosen[name], listed,
                                                                     wanted))  # fmt: skip
    made = _measured(chosen, columns, wanted)
    sources: dict[str, PublishedRow] = {}
    if wanted.published:
        lines = _published(listed, columns, wanted, sources)
        made += [("published", tuple(lines))] if lines else []
    notes = _notes(made, wanted)
    return Paper(columns, tuple(wanted.extra), tuple(made), wanted.digits, wanted.intervals,
                 tuple(notes), sources)  # fmt: skip


def compared(
    by_dataset: Mapping[str, Sequence[Run]], wanted: Wanted
) -> list[tuple[Column, list[Run]]]:
    """Return, per column and heading, the runs that stand in it: those that may be compared."""
    out = []
    for name in wanted.datasets:
        runs = [run for run in one_machine(by_dataset.get(name, ())) if _asked(run, wanted.methods)]
        by_heading: dict[str, dict[str, Run]] = {}
        for run in _one_protocol(runs):
            lines = by_heading.setdefault(_heading(run), {})
            lines.setdefault(f"{run.method}.{run.variant}{run.marked}", run)
        for column in _columns(name, runs, (), wanted):
            out += [(column, list(lines.values())) for lines in by_heading.values()]
    return out


def _check(
    by_dataset: Mapping[str, Sequence[Run]], rows: Sequence[PublishedRow], wanted: Wanted
) -> None:
    printed_sets = {key[0] for row in rows for key in row.values}
    for name in wanted.datasets:
        if name not in by_dataset and not (wanted.published and name in printed_sets):
            raise unknown("data set with results", name, sorted({*by_dataset, *printed_sets}))
    for name in wanted.extra:
        if name not in EXTRA:
            raise unknown("column of a table", name, sorted(EXTRA))
    known = {run.method for runs in by_dataset.values() for run in runs}
    known |= {f"{run.method}.{run.variant}" for runs in by_dataset.values() for run in runs}
    known |= {row.method for row in rows} if wanted.published else set()
    for name in wanted.methods:
        if name not in known:
            raise unknown("method with results", name, sorted(known))
    if not 0 <= wanted.digits <= 4:
        raise BenchError(f"--digits is {wanted.digits}; use 0 to 4.")


def _asked(run: Run, methods: Sequence[str]) -> bool:
    if not methods:
        return groups.is_ranked(run)
    return run.method in methods or f"{run.method}.{run.variant}" in methods


def _columns(
    name: str, runs: Sequence[Run], rows: Sequence[PublishedRow], wanted: Wanted
) -> list[Column]:
    """Return the columns of a data set: those of the records, or else of the published rows."""
    if runs:
        found = [(c.protocol, c.id) for c in columns_of(runs, easy=wanted.easy)]
    else:
        printed_keys = {key[1:] for row in rows for key in row.values if key[0] == name}
        names = in_order(protocol for protocol, _ in printed_keys)
        found = [(p, m) for p in names for m in _metrics(printed_keys, p)]
        if {"medium", "hard"} <= {p for p, _ in found} and not wanted.easy:
            found = [pair for pair in found if pair[0] != "easy"]
    if any(metric.startswith("recall@") for _, metric in found):
        found = [pair for pair in found if _depth(pair[1]) in (1, 5, 10)]
    several = len({protocol for protocol, _ in found}) > 1
    out = []
    for protocol, metric in found:
        label = metric_label(metric)
        short = SHORT.get(protocol, protocol)
        if several or protocol in SHORT:
            label = short if label == "mAP" else f"{short} {label}"
        out.append(Column(name, protocol, metric, label))
    return out


def _metrics(keys: set[tuple[str, str]], protocol: str) -> list[str]:
    there = [metric for name, metric in keys if name == protocol]
    if "map" in there:
        return [metric_id("map")]
    return sorted((metric_id(m) for m in there if m.startswith("recall@")), key=_depth)


def _depth(metric: str) -> int:
    found = re.match(r"recall@([0-9]+)", metric)
    return int(found.group(1)) if found else 0


def _measured(
    chosen: Mapping[str, Sequence[Run]], columns: Sequence[Column], wanted: Wanted
) -> list[tuple[str, tuple[Line, ...]]]:
    """Return the measured lines: a group per query crop and system, the best first."""
    together: dict[str, dict[str, dict[str, Run]]] = {}
    for name, runs in chosen.items():
        for run in _one_protocol(runs):
            lines = together.setdefault(_heading(run), {})
            lines.setdefault(f"{run.method}.{run.variant}{run.marked}", {}).setdefault(name, run)
    out = []
    for heading, lines in together.items():
        placed = {column: _places(column, lines, wanted.digits) for column in columns}
        made = [
            Line(
                name,
                tuple(EXTRA[key](next(iter(runs.values()))) for key in wanted.extra),
                tuple(_cell(runs.get(c.dataset), c, placed[c], wanted) for c in columns),
            )
            for name, runs in lines.items()
        ]
        first = {name: _first_mean(runs, columns) for name, runs in lines.items()}
        made.sort(key=lambda line: (-first[line.name], line.name))
        out.append((heading, tuple(made)))
    return out


def _one_protocol(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of one data set, of each heading those of the protocol that most have."""
    out: dict[str, list[Run]] = {}
    for group in groups.groups(runs, lambda _: None):
        for chain in group.chains:
            heading = _heading(chain.runs[0])
            if len(chain.runs) > len(out.get(heading, ())):
                newest = sorted(chain.runs, key=lambda run: (run.created, run.run_id), reverse=True)
                out[heading] = newest
    return [run for chosen in out.values() for run in chosen]


def _heading(run: Run) -> str:
    """Return what parts the lines of a table: the query crop, what uses labels, the system."""
    crop = {"box": "query box", "whole": "whole query", "no-boxes": "whole image"}
    words = [crop.get(run.card["crop_rule"], str(run.card["crop_rule"]))]
    if run.partial:
        words.append("partial")
    if classes.uses(run.card):
        words.append(run.reranking_words)
    system = groups.system_words(run)
    return ", ".join([*words, *([system] if system != "plain" else [])])


def _places(column: Column, lines: Mapping[str, Mapping[str, Run]], digits: int) -> dict[Run, int]:
    """Return the places among the lines of one heading that have the same protocol and system."""
    by_key: dict[tuple[Any, ...], dict[Run, float | None]] = {}
    for runs in lines.values():
        if column.dataset in runs:
            run = runs[column.dataset]
            key = (groups.key_of(run), run.chain_key)
            by_key.setdefault(key, {})[run] = run.score(column.protocol, column.metric).mean
    out: dict[Run, int] = {}
    for means in by_key.values():
        out |= groups.places(means, digits)
    return out


def _cell(run: Run | None, column: Column, placed: Mapping[Run, int], wanted: Wanted) -> Cell:
    if run is None:
        return Cell()
    score = run.score(column.protocol, column.metric)
    marks = wanted.letters.get((column.dataset, column.protocol, column.metric), {})
    interval = score.interval if wanted.intervals else None
    return Cell(printed(score.mean, wanted.digits), interval, placed.get(run, 0),
                marks.get(run, ""))  # fmt: skip


def _first_mean(runs: Mapping[str, Run], columns: Sequence[Column]) -> float:
    for column in columns:
        run = runs.get(column.dataset)
        mean = None if run is None else run.score(column.protocol, column.metric).mean
        if mean is not None:
            return mean
    return -1.0


def _published(
    rows: Sequence[PublishedRow],
    columns: Sequence[Column],
    wanted: Wanted,
    sources: dict[str, PublishedRow],
) -> list[Line]:
    """Return a line per published row that has one of the columns, digits as printed."""
    out = []
    for row in rows:
        if wanted.methods and row.method not in {name.split(".")[0] for name in wanted.methods}:
            continue
        by_id = {(d, p, metric_id(m)): digits for (d, p, m), digits in row.values.items()}
        cells = [Cell(by_id.get((c.dataset, c.protocol, c.metric), NONE)) for c in columns]
        if all(cell.shown == NONE for cell in cells):
            continue
        key = cite_key(row)
        sources.setdefault(key, row)
        about = {"dim": NONE if row.dim is None else f"{row.dim:,}", "backbone": row.backbone,
                 "trained-on": row.training_set, "system": row.reranking}  # fmt: skip
        extra = tuple(about.get(name, NONE) for name in wanted.extra)
        crop = {"box": "box", "whole": "whole"}.get(row.crop, "crop not stated")
        words = "; ".join([row.variant, crop, *row.marks])
        out.append(Line(f"{row.method} ({words})", extra, tuple(cells), key))
    return out


def cite_key(row: PublishedRow) -> str:
    """Return the key of a source in the .bib file: letters and digits of its words."""
    words = re.findall(r"[A-Za-z0-9]+", row.source.text)
    return "pub:" + "-".join(words).lower()[:60].rstrip("-")


def _notes(made: Sequence[tuple[str, tuple[Line, ...]]], wanted: Wanted) -> list[str]:
    measured = [line for heading, lines in made if heading != "published" for line in lines]
    out = []
    if any(cell.place for line in measured for cell in line.cells):
        out.append("Bold: best of a heading")
    if wanted.intervals and any(cell.interval for line in measured for cell in line.cells):
        out.append("small: 95 % interval")
    if wanted.letters:
        out.append(
            "rows that share a letter in a column do not differ significantly at 0.05 (paired "
            "permutation test, Holm)"
        )
    if any(heading == "published" for heading, _ in made):
        out.append("published rows have the digits of their source; they were not measured here")
    return out
