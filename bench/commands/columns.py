"""Text in columns: a line per row, for the lists of the command line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Sequence

Rows = Sequence[Sequence[str]]


def show(texts: Sequence[str]) -> int:
    """Print lines, on a terminal cut to its width; return the exit status 0."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for text in texts:
        cut = width is not None and len(text) > width
        print(f"{text[: (width or 1) - 1]}…" if cut else text)
    return 0


def lines(head: Sequence[str], rows: Rows, right: Collection[str] = ()) -> list[str]:
    """Return a heading and a line per row; columns named in `right` are flush right.

    >>> lines(("name", "dim"), [("gem", "2,048"), ("delg", "512")], right=["dim"])
    ['name    dim', 'gem   2,048', 'delg    512']
    """
    table = [head, *rows]
    wide = [max(len(row[i]) for row in table) for i in range(len(head))]
    return [
        "  ".join(
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, wide, strict=True)
        ).rstrip()
        for row in table
    ]
