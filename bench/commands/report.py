"""The command `report`: rebuild report.md and its figures from the records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.commands.parser import Command
from bench.commands.shared import results_folder
from bench.option import option


@dataclass(frozen=True)
class Arguments:
    """Which records, and what is built of them."""

    results: Path = results_folder()
    easy: bool = option(False, "also show the easy protocol in the main tables")
    html: bool = option(False, "also write the leaderboard page, index.html")


def report(given: Arguments) -> int:
    """Build the report; print the paths of all files."""
    from bench.report.build import build

    for path in build(given.results, easy=given.easy, html=given.html):
        print(path)
    return 0


COMMAND = Command(Arguments, report)
