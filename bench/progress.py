"""Progress on standard error: a bar on a terminal, a line every few seconds in a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """One phase; `advance(n)` after every n items. Use as a context manager.

    `total` is the number of items, or None where it is not known.
    """

    def __init__(self, phase: str, total: int | None, unit: str = "images") -> None:
        """Name the phase, its number of items and what an item is called."""
        self.phase, self.total, self.unit = phase, total, unit
        self.done = 0

    def __enter__(self) -> Self:
        """Start the clock, and the bar where there is a terminal."""
        self.start = self.told = time.perf_counter()
        self.bar = None
        if sys.stderr.isatty():
            self.bar = tqdm(total=self.total, desc=self.phase, unit=f" {self.unit}", leave=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bar; say what the phase took, if it was finished."""
        self.seconds = time.perf_counter() - self.start
        if self.bar is not None:
            self.bar.close()
        if kind is None:
            rate = f", {self.done / self.seconds:.1f} {self.unit}/s" if self.seconds > 0 else ""
            print(
                f"{self.phase}: {self.done} {self.unit} in {self.seconds:.1f} s{rate}",
                file=sys.stderr,
            )

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
            return
        now = time.perf_counter()
        if now - self.told >= SECONDS_BETWEEN_LINES:
            self.told = now
            rate = self.done / (now - self.start)
            of = left = ""
            if self.total is not None:
                of = f" of {self.total}"
                left_s = (self.total - self.done) / rate if rate > 0 else float("inf")
                left = f", {left_s:.0f} s left"
            print(
                f"{self.phase}: {self.done}{of} {self.unit}, {rate:.1f} {self.unit}/s{left}",
                file=sys.stderr,
                flush=True,
            )
