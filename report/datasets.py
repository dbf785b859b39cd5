"""The pages of the data sets: measured rows, and separate pages for published rows.

Links are those of the index, results/report.md; `build.below` turns them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.records import rows
from bench.records.rows import Run
from bench.records.text import escape, folded, relative_target
from bench.report.figures import figures
from bench.report.figures.kept import Job, Picture
from bench.report.tables import (
    cost,
    export,
    latex,
    literature,
    main,
    markdown,
    measured_vs_published,
    protocols,
)
from bench.report.tables.main import Board
from bench.report.tables.published import PublishedRow

BACK = "[All data sets](report.md)"
LEGEND = """\
Source of each number: {tags}. "copied": the source repeats numbers of others. "depends on the
batch": a descriptor depends on the other images of its batch, so the number depends on their order.
"""


@dataclass(frozen=True)
class About:
    """What the page of a data set is made from; `shown` are the runs of all data sets."""

    results: Path
    dataset: str
    chosen: Sequence[Run]
    shown: Sequence[Run]
    published: Sequence[PublishedRow]
    easy: bool
    studied: bool


def jobs(results: Path, dataset: str, chosen: Sequence[Run], shown: Sequence[Run]) -> list[Job]:
    """Return what is to be drawn for the page of a data set."""
    of_costs = [job for _, _, job in cost.jobs(chosen, dataset)]
    return [*figures.jobs(results, chosen, shown, dataset), *of_costs]


def page(about: About) -> tuple[list[str], dict[str, bytes]]:
    """Return the blocks of the page of a data set, and the files that belong to it."""
    name, chosen = about.dataset, about.chosen
    drawn = figures.of_dataset(about.results, chosen, about.shown, name)
    board = main.board(chosen, name, easy=about.easy)
    beside = measured_vs_published.pairs(chosen, about.published, name)
    files = tables(board, beside)
    blocks = [f"# {escape(name)}\n", _links(about), _facts(chosen), markdown.table(board)]
    if beside:
        blocks += ["## Measured beside published\n", measured_vs_published.table(beside)]
    of_costs, charts = cost.section(chosen, name)
    files |= pictured([*drawn, *charts])
    if drawn:
        blocks += ["## Figures\n", *(block for picture in drawn for block in cost.shown(picture))]
    blocks += of_costs
    blocks.append("## Every score\n")
    for protocol in rows.protocols(chosen):
        title = f"{name}, {protocol}: every score"
        blocks.append(folded(title, protocols.protocol_table(chosen, protocol)))
    blocks += ["## Cards\n", protocols.cards_of(chosen)]
    return blocks, files


def _links(about: About) -> str:
    """Return the line that leads to the index, to published rows and to the tables as files."""
    name = about.dataset
    listed = [BACK]
    if name in literature.datasets(about.published):
        listed.append(f"[published rows]({_target(f'report/{name}.published.md')})")
    if about.studied:
        listed.append(f"[sensitivity]({_target(f'report/{name}.sensitivity.md')})")
    for kind, words in (("tex", "LaTeX"), ("csv", "CSV"), ("json", "JSON")):
        listed.append(f"[{words}]({_target(f'tables/{name}.{kind}')})")
    return " · ".join(listed) + "\n"


def _facts(chosen: Sequence[Run]) -> str:
    """Return in a line what the data set has: images, queries, protocols."""
    card = chosen[0].card
    about = card["dataset"]
    sizes = f"{about['database']:,} database images, {about['queries']:,} queries"
    if card["distractors"]["count"]:
        sizes += f", {card['distractors']['count']:,} distractors"
    names = ", ".join(rows.protocols(chosen))
    count = f"{len(chosen):,} measured {'row' if len(chosen) == 1 else 'rows'}"
    return f"{count}. {sizes}; protocols: {escape(names)}.\n"


def tables(board: Board, found: Sequence[measured_vs_published.Pair]) -> dict[str, bytes]:
    """Return the main table, and what is beside published, as files by their names."""
    made = {
        f"tables/{board.dataset}.tex": latex.table(board),
        f"tables/{board.dataset}.csv": export.as_csv(board),
        f"tables/{board.dataset}.json": export.as_json(board),
    }
    if found:
        made[f"tables/{board.dataset}.published.tex"] = measured_vs_published.as_latex(
            found, board.dataset
        )
        made[f"tables/{board.dataset}.published.json"] = export.dump(
            measured_vs_published.as_lines(found)
        )
    return {name: text.encode("utf-8") for name, text in made.items()}


def published_pages(
    published: Sequence[PublishedRow], measured: Mapping[str, Sequence[Run]]
) -> dict[str, list[str]]:
    """Return the pages of published rows, by the name of the file."""
    out = {}
    for name in literature.datasets(published):
        links = [BACK]
        if name in measured:
            links.append(f"[measured]({_target(f'report/{name}.md')})")
        above = [f"# {escape(name)}: published\n", " · ".join(links) + "\n"]
        above += [] if name in measured else ["No method was measured on it.\n"]
        runs = measured.get(name, [])
        out[f"report/{name}.published.md"] = [
            *above,
            literature.dataset_tables(published, name, runs),
            LEGEND.format(tags=literature.tag_legend(published)),
        ]
    return out


def pictured(drawn: Sequence[Picture]) -> dict[str, bytes]:
    """Return the files of pictures by their names, relative to the folder of results."""
    return {
        f"figures/{picture.stem}.{kind}": data
        for picture in drawn
        for kind, data in picture.files.items()
    }


def _target(path: str) -> str:
    return relative_target(PurePosixPath(path))
