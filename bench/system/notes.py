"""Notes on standard error: what a person should know while a command runs, besides its result.

Printed text may contain names of files, which are untrusted: as text for a terminal they have no
control characters, and as part of a line no line ends.
"""

from __future__ import annotations

import re
import sys

from bench.quiet import QUIET

# C0 but for tab and newline, DEL, C1, marks of direction, separators of lines, surrogates.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff]"
)


def note(*lines: str) -> None:
    """Print lines on standard error at once."""
    if QUIET.get():
        return
    print("\n".join(map(one_line, lines)), file=sys.stderr, flush=True)  # noqa: T201 - beside commands, only here


def shown(text: str) -> str:
    r"""Return text with control characters as escapes; newlines and tabs stay.

    >>> shown("a\x1b[2Jb\n")
    'a\\x1b[2Jb\n'
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: object) -> str:
    """Return text with newlines as escapes too, so that a name cannot forge a line of output."""
    return shown(str(text)).replace("\n", "\\n").replace("\t", "\\t")
