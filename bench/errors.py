"""The one exception users see, and the sentence for a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """The fault, the value found, the allowed values and the remedy, in one or two sentences.

    The command line prints it without a traceback and exits with status 1.
    """


class MissingDataError(BenchError):
    """Data that is not there and could be put there: absent, not wrong."""


class NoRoomError(BenchError):
    """The disk is full, or would be: only the user can help."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> BenchError:
    """Return the error for a misspelt `name`: the nearest right names, then all of them."""
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    known = ", ".join(names) if names else "none found"
    return BenchError(f"no {kind} is called {in_a_line(name)}{hint} Known: {known}.")


def in_a_line(value: object, longest: int = 80) -> str:
    """Return a value as Python writes it, on one line and cut, for error sentences.

    >>> in_a_line("a name" * 50, 12), in_a_line(5)
    ("'a namea na…", '5')
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def first_few(items: Iterable[object], count: int = 5) -> str:
    """Return the first `count` items and how many more there are, for error sentences."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - count} more" if len(texts) > count else ""
    return ", ".join(texts[:count]) + more
