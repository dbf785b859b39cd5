"""The command `report`: rebuild the report, or make one table as a paper prints it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.commands.parser import Command
from bench.commands.shared import results_folder
from bench.errors import BenchError
from bench.option import option, required
from bench.root import ROOT

Form = Literal["latex", "markdown", "csv"]


@dataclass(frozen=True)
class Arguments:
    """Which records, and what is built of them."""

    results: Path = results_folder()
    easy: bool = option(False, "also show the easy protocol in the main tables")
    html: bool = option(False, "also write the leaderboard page, index.html")
    published: Path | None = option(
        None,
            "file of published numbers (default: published.toml of the results, or of the "
            "checkout)",
        metavar="FILE",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TableArguments:
    """What a table holds, and its form."""

    dataset: tuple[str, ...] = required(
        "data sets, from left to right; NAME+r1m is NAME with the one million distractors",
        metavar="NAME", many="list",
    )  # fmt: skip
    distractors: bool = option(False, "also show every data set with the one million distractors")
    method: tuple[str, ...] = option(
        (), "METHOD or METHOD.VARIANT (default: all ranked methods)", metavar="NAME", many="list"
    )
    columns: tuple[str, ...] = option(
        (), "columns besides the scores: dim, ms, bytes, parameters, backbone, trained-on, system; "
        "none (default: dim)", metavar="NAME", many="list",
    )  # fmt: skip
    published: bool = option(False, "add published rows of these methods, with citations")
    digits: int = option(1, "decimals of a score", metavar="N")
    no_intervals: bool = option(False, "leave out the 95 % intervals")
    significance: bool = option(
        False, "mark rows of a column that do not differ significantly with a common letter"
    )
    easy: bool = option(False, "also show the easy protocol")
    form: Form = option("latex", "format of the table", flag="format")
    bib: Path | None = option(
        None, "also write a .bib file with the sources of published rows", metavar="FILE"
    )
    results: Path = results_folder()


def published_rows(results: Path) -> Path | None:
    """Return the published rows of a folder of results, or else those of the checkout."""
    own, ours = results / "published.toml", ROOT / "results" / "published.toml"
    return own if own.is_file() or not ours.is_file() else ours


def report(args: Arguments) -> int:
    """Build the report; print the paths of all files."""
    from bench.report.build import build

    source = args.published or published_rows(args.results)
    for path in build(args.results, easy=args.easy, html=args.html, source=source):
        print(path)
    return 0


def table(args: TableArguments) -> int:
    """Print one table, and write the file of its sources where it is asked for."""
    from bench.report.build import load
    from bench.report.tables import letters, paper, paper_formats

    names = list(args.dataset)
    if args.distractors:
        names = [name for column in names for name in (column, f"{column}+r1m")]
    columns = () if args.columns == ("none",) else args.columns or ("dim",)
    content = load(args.results, source=published_rows(args.results))
    wanted = paper.Wanted(
        tuple(dict.fromkeys(names)), args.method, columns, args.published, args.digits,
        not args.no_intervals, args.easy,
    )  # fmt: skip
    if args.significance:
        wanted = letters.marked(args.results, content.by_dataset, wanted)
    made = paper.make(content.by_dataset, content.published, wanted)
    if args.bib is not None:
        if not args.published:
            raise BenchError("--bib needs published rows; add --published.")
        args.bib.write_text(paper_formats.as_bib(made), encoding="utf-8")
    forms = {
        "latex": paper_formats.as_latex,
        "markdown": paper_formats.as_markdown,
        "csv": paper_formats.as_csv,
    }
    print(forms[args.form](made), end="")
    return 0


COMMAND = Command(Arguments, report)
ACTIONS = {
    "table": Command(TableArguments, table, "Print one table: LaTeX, Markdown or CSV."),
}
