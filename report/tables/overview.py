"""The overview: methods × data sets, the mean rank with its interval, and what a query costs.

A table per headline metric and system, for only these are ranked together. The mean rank is over
the data sets that all methods have; otherwise the methods with scores on all of them are ranked. A
cell is the newest run of a method under the rules, and among those on the card, that most rows of
its data set have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.records import groups, ranking, values
from bench.records import text as text_of
from bench.records.ranking import MeanRank
from bench.records.rows import Run, protocols
from bench.records.text import escape, relative_target
from bench.records.words import metric_label
from bench.report.tables.main import SHORT, one_machine, printed
from bench.report.tables.markdown import small
from bench.report.tables.numbers import NONE, memory_and_disk, ms

WIDEST = 98  # characters of a table that GitHub shows without a sideways scroll
STEPS = 65535  # draws are whole numbers of so many steps, so that page and report tie alike
Drawn = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """A data set of an overview: its main protocol and headline metric."""

    dataset: str
    protocol: str
    metric: str


@dataclass(frozen=True, eq=False)
class Line:
    """A method: per data set its run and place (1, 2 or 0), None where it has none."""

    name: str
    runs: tuple[Run | None, ...]
    places: tuple[int, ...]
    drawn: tuple[Drawn | None, ...]
    rank: MeanRank | None

    @property
    def covered(self) -> int:
        """Return on how many of the data sets it was measured."""
        return sum(run is not None for run in self.runs)

    @property
    def query_ms(self) -> float | None:
        """Return the longest time of a query, p50, of its data sets."""
        return _largest(run.cost.row_ms and run.cost.row_ms.p50 for run in self.runs if run)

    @property
    def image_bytes(self) -> float | None:
        """Return the most bytes of an image of its data sets."""
        return _largest(run.cost.image_bytes for run in self.runs if run)

    @property
    def disk_bytes(self) -> float:
        """Return those of `image_bytes` that are on disk."""
        costs = [run.cost for run in self.runs if run and run.cost.image_bytes == self.image_bytes]
        return max((cost.disk_bytes for cost in costs), default=0.0)


@dataclass(frozen=True)
class Overview:
    """Methods with one headline and one system, the best mean rank first; `ranked` are its sets."""

    metric: str
    system: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    ranked: tuple[int, ...]


def overviews(results: Path, by_dataset: Mapping[str, Sequence[Run]]) -> list[Overview]:
    """Return the overviews of the runs, by metric and system; data sets keep their order."""
    known: values.Groups = {}
    cells: dict[tuple[str, str], dict[Column, dict[str, Run]]] = {}
    for dataset, runs in by_dataset.items():
        column = main_column(dataset, runs)
        if column is None:
            continue
        for chain in _usual_group(runs):
            chosen = _one_each(chain.runs, column)
            if chosen:
                key = (metric_label(column.metric), chain.words)
                cells.setdefault(key, {})[column] = chosen
    made = [_overview(results, *key, of, known) for key, of in cells.items()]
    return sorted(
        made,
        key=lambda board: (
            board.metric != "mAP",
            board.metric,
            board.system != "plain",
            board.system,
        ),
    )


def main_column(dataset: str, runs: Sequence[Run]) -> Column | None:
    """Return the main protocol (medium, or else the first) and the headline of a data set."""
    names = protocols(runs)
    if not names:
        return None
    return Column(dataset, "medium" if "medium" in names else names[0], runs[0].headline)


def _usual_group(runs: Sequence[Run]) -> Sequence[groups.Chain]:
    """Return the chains of the complete group that has most ranked runs; nothing without one."""
    found = [g for g in groups.groups(one_machine(runs), lambda _: None) if not g.partial]
    ranked = [sum(groups.is_ranked(run) for run in group.runs) for group in found]
    most = max(ranked, default=0)
    return found[ranked.index(most)].chains if most else ()


def _one_each(runs: Sequence[Run], column: Column) -> dict[str, Run]:
    """Return one ranked run with a score per name: on the card that most have, then the newest."""
    serious = [run for run in runs if groups.is_ranked(run)]
    counts = Counter(run.card_id for run in serious)
    chosen: dict[str, Run] = {}
    for run in sorted(serious, key=lambda run: (counts[run.card_id], run.created, run.run_id)):
        if run.score(column.protocol, column.metric).mean is not None:
            chosen[f"{run.method}.{run.variant}"] = run
    return chosen


def _overview(
    results: Path,
    metric: str,
    system: str,
    of: Mapping[Column, Mapping[str, Run]],
    known: values.Groups,
) -> Overview:
    columns = tuple(of)
    names = sorted({name for chosen in of.values() for name in chosen})
    runs = {name: [of[column].get(name) for column in columns] for name in names}
    drawn = {
        name: [None if run is None else _drawn(results, run, column, known)
               for run, column in zip(runs[name], columns, strict=True)]
        for name in names
    }  # fmt: skip
    places = _places(columns, runs)
    common = tuple(i for i in range(len(columns)) if all(runs[name][i] for name in names))
    among = names if common else [name for name in names if all(runs[name])]
    common = common or tuple(range(len(columns)))
    ranked = _ranks(among, columns, runs, drawn, common) if len(among) > 1 else {}
    lines = [
        Line(name, tuple(runs[name]), tuple(places[name]), tuple(drawn[name]), ranked.get(name))
        for name in names
    ]
    lines.sort(key=lambda line: _order(line, columns))
    return Overview(metric, system, columns, tuple(lines), common if ranked else ())


def _drawn(results: Path, run: Run, column: Column, known: values.Groups) -> Drawn | None:
    found = values.per_query(results, run, column.protocol, column.metric, known)
    drawn = None if found is None else ranking.draws(found.values, found.groups)
    return None if drawn is None else np.round(STEPS * drawn) / STEPS


def _places(
    columns: Sequence[Column], runs: Mapping[str, Sequence[Run | None]]
) -> dict[str, list[int]]:
    out: dict[str, list[int]] = {name: [] for name in runs}
    for i, column in enumerate(columns):
        means = {run: run.score(column.protocol, column.metric).mean
                 for of in runs.values() if (run := of[i])}  # fmt: skip
        placed = groups.places(means, 1)
        for name, of in runs.items():
            run = of[i]
            out[name].append(placed.get(run, 0) if run else 0)
    return out


def _ranks(
    names: Sequence[str],
    columns: Sequence[Column],
    runs: Mapping[str, Sequence[Run | None]],
    drawn: Mapping[str, Sequence[Drawn | None]],
    common: Sequence[int],
) -> dict[str, MeanRank]:
    scores = np.array([[mean_of(runs[name][i], columns[i]) for i in common] for name in names])
    each = [[drawn[name][i] for name in names] for i in common]
    stacked = [
        None if any(line is None for line in of) else np.array(of, dtype=np.float64) for of in each
    ]
    return dict(zip(names, ranking.mean_ranks(scores, stacked), strict=True))


def mean_of(run: Run | None, column: Column) -> float:
    """Return the score of a cell, NaN where it is empty."""
    mean = None if run is None else run.score(column.protocol, column.metric).mean
    return float("nan") if mean is None else mean


def _order(line: Line, columns: Sequence[Column]) -> tuple[object, ...]:
    """Best mean rank first; without one, most data sets first, then the best mean score."""
    if line.rank is not None:
        return (0, line.rank.mean, line.name)
    pairs = zip(line.runs, columns, strict=True)
    known = [mean for run, column in pairs if not np.isnan(mean := mean_of(run, column))]
    return (1, -len(known), -float(np.mean(known)), line.name)


def _largest(found: object) -> float | None:
    known = [value for value in found if value is not None]  # type: ignore[attr-defined]
    return max(known, default=None)


# --- Markdown -----------------------------------------------------------------------------------


def section(made: Sequence[Overview], page_of: Mapping[str, str]) -> str:
    """Return the tables of the overviews, each with a sentence on the ranking."""
    blocks = []
    for overview in made:
        plain = "" if overview.system == "plain" else f", {escape(overview.system)}"
        blocks.append(f"### {escape(overview.metric)}{plain}\n")
        blocks += _tables(overview, page_of)
        blocks.append(_words(overview))
    return "\n".join(blocks)


def _tables(overview: Overview, page_of: Mapping[str, str]) -> list[str]:
    """Return the overview in tables that fit the width: ranks and costs are in the first."""
    ranks = ["mean rank", "group"] if overview.ranked and len(overview.lines) > 1 else []
    about = ["method", *ranks, "sets", "query, ms", "bytes"]
    name = max(len(line.name) for line in overview.lines)
    room = WIDEST - name - (48 if len(about) > 4 else 27)
    heads = [_head(column, page_of) for column in overview.columns]
    blocks, at, first = [], 0, True
    while at < len(overview.columns):
        end, used = at, 0
        while end < len(overview.columns) and (
            end == at or used + _width(overview.columns[end]) <= room
        ):
            used += _width(overview.columns[end])
            end += 1
        shown = range(at, end)
        rows = [
            [
                escape(line.name),
                *(_about(line, overview) if first else []),
                *(_cell(line, overview, i) for i in shown),
            ]
            for line in overview.lines
        ]
        header = [*(about if first else ["method"]), *(heads[i] for i in shown)]
        blocks.append(text_of.table(header, rows, range(1, len(header))))
        room, at, first = WIDEST - name - 4, end, False
    return blocks


def _about(line: Line, overview: Overview) -> list[str]:
    cells = []
    if overview.ranked and len(overview.lines) > 1:
        cells = [NONE, NONE]
        if line.rank is not None:
            ends = line.rank.interval
            around = small(f"{ends[0]:.1f}–{ends[1]:.1f}") if ends else ""
            cells = [f"{line.rank.mean:.1f}{around}", line.rank.letters]
    return [
        *cells,
        str(line.covered),
        ms(line.query_ms),
        memory_and_disk(line.image_bytes, line.disk_bytes),
    ]


def _cell(line: Line, overview: Overview, i: int) -> str:
    run, column = line.runs[i], overview.columns[i]
    if run is None:
        return NONE
    shown = printed(run.score(column.protocol, column.metric).mean, 1)
    marks = {groups.BEST: f"**{shown}**", groups.SECOND: f"<ins>{shown}</ins>"}
    return marks.get(line.places[i], shown)


def _head(column: Column, page_of: Mapping[str, str]) -> str:
    name, plus, more = column.dataset.partition("+")
    words = text_of.link(name, page_of[column.dataset])
    below = [plus + more] if plus else []
    if column.protocol in SHORT:
        below.append(SHORT[column.protocol])
    return words + ("<br>" + escape(" ".join(below)) if below else "")


def _width(column: Column) -> int:
    return max(5, len(column.dataset.partition("+")[0])) + 3


def _words(overview: Overview) -> str:
    sets = [overview.columns[i].dataset for i in overview.ranked]
    marks = "**best** and <ins>second best</ins> of a data set."
    out = [f"{escape(overview.metric)}, %, of the headline protocol; {marks}"]
    if len(overview.lines) > 1 and sets:
        ranked = [line for line in overview.lines if line.rank is not None]
        if len(ranked) < len(overview.lines):
            over = (
                f"all {len(sets)} data sets, of the {len(ranked)} methods with scores on all of "
                "them"
            )
        elif len(sets) > 1:
            over = f"the {len(sets)} data sets on which all these methods have scores"
        else:
            over = "the only data set on which all these methods have scores"
        out.append(
            f"Mean rank over {over}, with its 95 % interval over landmarks or blocks; methods "
            "that share a letter do not differ significantly."
        )
    elif len(overview.lines) > 1:
        out.append("No two methods have scores on all data sets, so no mean rank is shown.")
    out.append(
        "Time of a query and bytes of an image, memory + disk: the largest over the data sets."
    )
    return "\n" + " ".join(out) + "\n"


def page_name(dataset: str) -> str:
    """Return where the page of a data set is, relative to the folder of results."""
    return f"report/{dataset}.md"


def target(dataset: str) -> str:
    """Return the link from the index to the page of a data set."""
    from pathlib import PurePosixPath

    return relative_target(PurePosixPath(page_name(dataset)))
