"""Committed lists of files that are trusted on first use: whose file, its name, its sha256."""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import BenchError
from bench.system import reading


def read(path: Path) -> dict[tuple[str, str], str | None]:
    """Return the sha256 by owner and name of the file; None if it was not contributed yet.

    The file has a line of titles, and then three columns with tabs between; "-" stands for none.
    """
    found: dict[tuple[str, str], str | None] = {}
    for number, line in enumerate(reading.text(path).splitlines()[1:], 2):
        columns = line.split("\t")
        if len(columns) != 3 or not re.fullmatch(r"-|[0-9a-f]{64}", columns[2]):
            raise BenchError(
                f"{path}, line {number}: write three columns separated by tabs, the last a "
                "sha256 of 64 hex digits, or -."
            )
        owner, file, digest = columns
        found[owner, file] = None if digest == "-" else digest
    return found
