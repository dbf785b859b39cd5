"""The index of the report, results/report.md: the overview, the data sets, how to read the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from bench.records import groups, text
from bench.records.rows import Run
from bench.records.text import code, escape, relative_target
from bench.records.words import metric_label
from bench.report.tables import cost, literature, overview
from bench.report.tables.main import one_machine, printed
from bench.report.tables.numbers import NONE

if TYPE_CHECKING:
    from bench.report.build import Content
    from bench.report.figures.kept import Picture
    from bench.report.tables.published import Conflict, PublishedRow

ELSEWHERE = "report/leaderboard.md"
GUIDE = """\
Which model, by how much, at what cost. Measured scores are percentages, and each belongs to a
protocol card, named by the first 8 digits of its id. Published numbers were not measured here, have
pages of their own, and never share a column with a measured one. The
[last section](#how-to-read-this-report) explains how to read this report.
"""
HOW_TO_READ = """\
## How to read this report

This report is built only from the records below `runs/`, `sensitivity/` and `ablation/` and from
`published.toml`. The main tables also exist as LaTeX, CSV and JSON below `tables/`;
[`README.md`](README.md) describes every column.

- Rows under one heading were scored under the same protocol; rows under different headings must not
  be compared. Within a heading, rows of one system (compression, index, precision, stages that use
  neither labels nor the evaluated images) are ranked together. The preprocessing of pixels is part
  of the method and may differ between rows.
- Best and second best are marked within a heading and a system that has at least two, or three,
  trained and complete runs. They are the largest numbers, not proven differences: `python -m bench
  compare A B` tests a difference.
- "untrained": the network has random weights. "chance": the descriptors are random vectors.
  "partial": only a part of the images was used. "transductive": a stage was fitted on the evaluated
  images. None of the first three is ranked.
- 95 % intervals are over landmarks: queries that share at least half of their positive images form
  one landmark. If queries are neighbours in space or along a route, intervals are over blocks of
  neighbours whose scores are correlated; with too few blocks, no interval is given.
- The time of a query is the sum of decode, describe, search and re-rank, each the p50 of one image
  at a time.
- Published rows have the digits printed in the source, and a list of the differences in protocol.
  They are compared with the measured rows of the same method, or with all measured rows of the data
  set if that method was not measured.
"""
NO_RUNS = "No runs have been recorded yet: only published rows exist.\n"
LEADERBOARD = """\
Values as listed on the board, which mixes papers, query crops and third-party baselines; each value
has its probable origin and a verdict.
"""
OTHER = {
    ELSEWHERE: "Published numbers: over the years, conflicts, costs, a third-party board",
    "report/ablation.md": "DOLG without its parts",
    "report/approximate.md": "Approximate search: what each index loses",
    "report/stages.md": "What stages add: whitening, expansion, diffusion, re-ranking, codes",
    "report/reproduce.md": "Published numbers, and whether they were reproduced",
    "report/gallery.md": "Gallery: all figures and sheets",
}


def blocks(
    content: Content,
    left_out: Sequence[tuple[PurePosixPath, str]],
    pages: Sequence[str],
    drawn: Sequence[Picture] = (),
) -> list[str]:
    """Return the blocks of the index; `pages` are the other files of the report."""
    out = ["# Report\n", GUIDE]
    if not content.shown:
        out.append(NO_RUNS)
    if not content.published:
        out.append("`published.toml` does not exist, so no published rows are shown.\n")
    page_of = {name: overview.target(name) for name in content.by_dataset}
    if content.overviews:
        out += ["## Overview\n", overview.section(content.overviews, page_of)]
        out += [block for picture in drawn for block in cost.shown(picture)]
    if content.shown:
        out += [_counts(content.shown, content.older), "## Data sets\n", _datasets(content)]
    unmeasured = [n for n in literature.datasets(content.published) if n not in page_of]
    if unmeasured:
        links = [text.link(name, _target(f"report/{name}.published.md")) for name in unmeasured]
        out.append(f"Data sets with published rows only: {', '.join(links)}.\n")
    further = [f"- {text.link(words, _target(page))}" for page, words in OTHER.items()
               if page in pages]  # fmt: skip
    studied = [page for page in pages if page.endswith(".sensitivity.md")]
    for page in studied:
        name = page.removeprefix("report/").removesuffix(".sensitivity.md")
        further.append(f"- {text.link(f'Sensitivity: {name}', _target(page))}")
    if further:
        out += ["## Further\n", "\n".join(further) + "\n"]
    return [*out, HOW_TO_READ, *_closing(content, left_out)]


def _datasets(content: Content) -> str:
    """Return a line per data set: how much was measured, the best plain row, its pages."""
    published = set(literature.datasets(content.published))
    heads = ["data set", "rows", "methods", "best", "headline, %", "published"]
    lines = []
    for name, runs in content.by_dataset.items():
        best = _best(name, runs)
        column = overview.main_column(name, runs)
        score = "" if best is None or column is None else (
            f"{printed(best.score(column.protocol, column.metric).mean, 1)} "
            f"({escape(metric_label(column.metric))} {escape(column.protocol)})"
        )  # fmt: skip
        lines.append([
            text.link(name, overview.target(name)),
            f"{len(runs):,}",
            f"{len({run.method for run in runs}):,}",
            NONE if best is None else escape(best.name),
            score or NONE,
            text.link("rows", _target(f"report/{name}.published.md")) if name in published
            else NONE,
        ])  # fmt: skip
    return text.table(heads, lines, (1, 2))


def _best(name: str, runs: Sequence[Run]) -> Run | None:
    """Return the best run of the first chain of the first group that has a ranked run."""
    column = overview.main_column(name, runs)
    if column is None:
        return None

    def mean(run: Run) -> float | None:
        return run.score(column.protocol, column.metric).mean

    for group in groups.groups(one_machine(runs), mean):
        for chain in group.chains:
            first = chain.runs[0]
            if groups.is_ranked(first) and mean(first) is not None:
                return first
    return None


def _counts(shown: Sequence[Run], older: int) -> str:
    counted = f"{len(shown):,} measured {'row' if len(shown) == 1 else 'rows'}"
    if older == 0:
        return f"{counted}; none replaces an older record.\n"
    which = "1 older record is" if older == 1 else f"{older:,} older records are"
    return (
        f"{counted}. Of each data set, card, method and machine only the newest record is "
        f"shown; {which} not.\n"
    )


def elsewhere(
    rows: Sequence[PublishedRow], conflicts: Sequence[Conflict], dated: Sequence[Picture] = ()
) -> list[str]:
    """Return the page of published figures besides scores, empty without any."""
    costs, listed = literature.costs(rows), literature.leaderboard(rows)
    differing = literature.conflicts(conflicts, rows)
    if not (costs or listed or differing or dated):
        return []
    out = [f"# {OTHER[ELSEWHERE]}\n", "[All data sets](report.md)\n"]
    if dated:
        out += ["## Over the years\n", *(b for picture in dated for b in cost.shown(picture))]
    if differing:
        out += ["## Numbers that disagree\n", differing]
    out += ["## Published latency and memory\n", costs] if costs else []
    out += ["## A third-party leaderboard\n", LEADERBOARD, listed] if listed else []
    return [*out, f"How each published number is known: {literature.tag_legend(rows)}.\n"]


def _closing(content: Content, left_out: Sequence[tuple[PurePosixPath, str]]) -> list[str]:
    out = []
    unconfirmed = sum(not row.printable for row in content.published)
    if unconfirmed:
        out.append(
            f"{unconfirmed} published rows are not yet confirmed ({code('mem')}) and are not "
            "printed.\n"
        )
    if left_out:
        out.append("## Not shown\n")
        out += [f"- not shown: {escape(file)} – {escape(reason)}" for file, reason in left_out]
        out.append("")
    return out


def _target(path: str) -> str:
    return relative_target(PurePosixPath(path))
