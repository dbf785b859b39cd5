"""Numbers that a user wrote in the text of a stage: read, or refused in one sentence."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from bench.errors import BenchError


def check_names(where: str, options: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse options that a stage does not have; `where` is what the user wrote it for."""
    for name in options:
        if name not in known:
            every = ", ".join(known) or "none"
            raise BenchError(f"{where} has no option {name!r}; it has {every}.")


def whole(where: str, name: str, text: str, least: int = 1, most: int = 999_999) -> int:
    """Return a whole number in a range."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise BenchError(
            f"{where}: {name} is {text!r}; it must be an integer from {least} to {most}."
        )
    return int(text)


def decimal(where: str, name: str, text: str, least: float = 0.0, most: float = 100.0) -> float:
    """Return a number in a range, written with digits and a point."""
    found = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text)
    if not found or not least <= float(text) <= most:
        raise BenchError(
            f"{where}: {name} is {text!r}; it must be a number from {least:g} to {most:g}."
        )
    return float(text)
