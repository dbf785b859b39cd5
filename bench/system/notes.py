"""Notes on standard error: what a person should know while a command runs, besides its result."""

from __future__ import annotations

import sys


def note(text: str) -> None:
    """Print a line on standard error at once."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the only place beside commands
