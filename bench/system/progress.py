"""Progress on standard error: a bar on a terminal, a line every few seconds in a log file."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Self

from bench.quiet import QUIET
from bench.system.notes import note

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """One phase; `advance(n)` after every n items. Use as a context manager.

    `total` is the number of items, or None where it is not known. A `brief` phase says nothing
    unless it takes longer than the time between two lines; a `quiet` one says nothing at all.
    """

    def __init__(
        self,
        phase: str,
        total: int | None,
        unit: str = "images",
        *,
        brief: bool = False,
        quiet: bool = False,
    ) -> None:
        """Name the phase, its number of items and what an item is called."""
        self.phase, self.total, self.unit = phase, total, unit
        self.brief, self.quiet = brief, quiet or QUIET.get()
        self.done, self.notes = 0, set[str]()

    def __enter__(self) -> Self:
        """Start the clock, and the bar where there is a terminal that can draw one."""
        self.start = time.perf_counter()
        self.bar = None
        self.over = threading.Event()
        self.ticker: threading.Thread | None = None
        if self.quiet:
            return self
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from tqdm import tqdm

            self.bar = tqdm(
                total=self.total, desc=self.phase, unit=f" {self.unit}", leave=False,
                dynamic_ncols=True, file=getattr(sys.stderr, "_stream", sys.stderr),
                delay=SECONDS_BETWEEN_LINES if self.brief else 0,
            )  # fmt: skip
        else:
            self.ticker = threading.Thread(target=self._tell, daemon=True)
            self.ticker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bar; say what the phase took, if it was finished."""
        self.seconds = time.perf_counter() - self.start
        self.over.set()
        if self.bar is not None:
            self.bar.close()
        if self.ticker is not None:
            self.ticker.join()
        if (
            kind is None
            and not self.quiet
            and not (self.brief and self.seconds < SECONDS_BETWEEN_LINES)
        ):
            note(self._last())

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)

    def note(self, text: str) -> None:
        """Print a line for the user, once in this phase."""
        if text not in self.notes:
            self.notes.add(text)
            if not self.quiet:
                note(text)

    def rename(self, phase: str) -> None:
        """Call the phase something else from now on."""
        self.phase = phase
        if self.bar is not None:
            self.bar.set_description_str(phase, refresh=False)

    def leave_out(self, count: int) -> None:
        """Remove items from the total that another process has done."""
        if self.total is not None:
            self.total -= count
            if self.bar is not None:
                self.bar.total = self.total
                self.bar.refresh()

    def _last(self) -> str:
        """Return the line of a finished phase; one without a number of items has a time alone."""
        if self.total is None and self.done == 0:
            return f"{self.phase}: {span(self.seconds)}"
        rate = f", {self.done / self.seconds:.1f} {self.unit}/s" if self.seconds > 0 else ""
        return f"{self.phase}: {self.done} {self.unit} in {span(self.seconds)}{rate}"

    def line(self) -> str:
        """Return the line for a log file: how far, how fast, and the time left where known."""
        seconds = time.perf_counter() - self.start
        if self.total is None and self.done == 0:
            return f"{self.phase}: {span(seconds)} so far"
        rate = self.done / max(seconds, 1e-9)
        of = left = ""
        if self.total is not None:
            of = f" of {self.total}"
            if self.done > 0:
                left = f", about {span((self.total - self.done) / rate)} left"
        return f"{self.phase}: {self.done}{of} {self.unit}, {rate:.1f} {self.unit}/s{left}"

    def _tell(self) -> None:
        while not self.over.wait(SECONDS_BETWEEN_LINES):
            note(self.line())


def span(seconds: float) -> str:
    """Return a time as text, with sensible precision: 4.2 s, 75 s, 12 min, 3 h 20 min, 5 d 2 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
