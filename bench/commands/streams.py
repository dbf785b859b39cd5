"""Standard output and error as commands use them: no control character, no surprise at the end.

Whatever a file is called, what reaches the terminal is text: control characters (C0, C1), marks
that turn the direction of writing, and halves of surrogate pairs are written as escapes. A stream
that is closed does not stop a run; output that cannot be written is an error of one sentence.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from bench.system.notes import shown


class OutputError(Exception):
    """Standard output cannot be written; `reason` says why."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class Plain:
    """A text stream through which only plain text goes; all else is that of the stream."""

    def __init__(self, stream: TextIO, *, strict: bool) -> None:
        """Take the stream; `strict` raises OutputError where it cannot be written."""
        self._stream, self._strict = stream, strict

    def __getattr__(self, name: str) -> Any:
        """Return what the stream has."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, its control characters as escapes."""
        self._do(lambda: self._stream.write(shown(text)))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write every line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        self._do(self._stream.flush)

    def _do(self, act: Any) -> None:
        try:
            act()
        except (OSError, ValueError) as error:
            if self._strict:
                reason = error.strerror if isinstance(error, OSError) else None
                raise OutputError(reason or "it is closed") from error


def open_all() -> None:
    """Give descriptors 0 to 2 that are closed the null device, so that no file gets their numbers.

    A closed standard error drops its text.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Let only plain text through standard output and error within the block."""
    out, err = sys.stdout, sys.stderr
    if out is not None:
        sys.stdout = Plain(out, strict=True)
    if err is not None:
        sys.stderr = Plain(err, strict=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err


def finish() -> None:
    """Flush buffered text; raise OutputError if the stream is closed."""
    if sys.stdout is None:
        raise OutputError("it is closed")
    sys.stdout.flush()


def give_up() -> None:
    """Let standard output take nothing more, so that the end of the process is quiet."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
