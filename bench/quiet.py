"""Whether progress and notes are printed: they are on the command line, not from Python."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


@contextlib.contextmanager
def quiet(*, on: bool = True) -> Iterator[None]:
    """Print neither progress nor notes inside of the block, where `on`."""
    before = QUIET.set(on or QUIET.get())
    try:
        yield
    finally:
        QUIET.reset(before)
