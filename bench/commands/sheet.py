"""The command `sheet`: show queries of a record with the first images of their lists."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.commands.parser import Command
from bench.commands.shared import results_folder
from bench.errors import BenchError
from bench.option import group, option
from bench.sheets.options import Options


@dataclass(frozen=True)
class Arguments:
    """Which records are shown, and where the sheet goes."""

    record: tuple[Path, ...] = option(
        (),
        "path of a record's .json (default: the rows of --dataset in the report)",
        positional=True,
        many="any",
    )
    options: Options = group(Options)
    output: Path | None = option(None, "an .html, .png or .pdf", metavar="FILE")
    results: Path = results_folder()


def show(args: Arguments) -> int:
    """Write the sheet of records, or that of the report; print its path."""
    from bench.sheets import sheet

    dataset, output = args.options.dataset, args.output
    if not args.record:
        if dataset is None or output is not None:
            raise BenchError(
                "give a record and --output, or, for the sheet of the report, --dataset alone."
            )
        output, notes = sheet.for_report(args.results, dataset)
    elif output is None:
        raise BenchError("--output is missing; give the file of the sheet, .html, .png or .pdf.")
    else:
        notes = sheet.make(args.record, output, args.options)
    for note in notes:
        print(note, file=sys.stderr)
    print(output)
    return 0


COMMAND = Command(Arguments, show)
