"""The command `list`: methods in groups and data sets, broken ones with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.commands.parser import Command, Nothing

if TYPE_CHECKING:
    from bench.methods import Entry
    from bench.types import Checkpoint

OTHERS = "of no group"


def show(_given: Nothing) -> int:
    """Print all methods with their variants, then all data sets."""
    from bench import methods
    from bench.commands import data

    print("\n".join(lines(methods.entries())))
    print("data sets")
    print("\n".join(data.lines()))
    return 0


def lines(entries: Sequence[Entry]) -> list[str]:
    """Return the listing of all methods; a broken one says why."""
    from bench.contract import GROUPS

    out = []
    for group in (*GROUPS, None):
        members = [entry for entry in entries if entry.group == group]
        if members:
            out.append(f"methods: {group or OTHERS}")
        for entry in members:
            out += _entry(entry)
    return out


def _entry(entry: Entry) -> list[str]:
    out, before = [f"  {entry.name}: {entry.error or entry.description}"], ""
    for variant, text in entry.variants.items():
        out.append(f"    {entry.name}.{variant}: {text}")
        if variant in entry.files:
            file = entry.files[variant]
            facts, place = _facts(file), _place(file)
            shown = "the rest as above" if facts == before else facts
            dim = f"{file.dim}-d; " if file.dim else ""
            out.append(f"      {dim}{shown}; {place}")
            before = facts
    return out


def _facts(file: Checkpoint) -> str:
    """Return what several files of a method have in common."""
    code = f"; of the program: {file.licence_code}" if file.licence_code else ""
    return f"training set: {file.training_set}; licence of the weights: {file.licence}{code}"


def _place(file: Checkpoint) -> str:
    """Return whether a file is in the cache, or the command that gets it."""
    from bench import published_weights

    if published_weights.path_of(file).is_file():
        return "the file is here"
    return f"`weights get {file.method}.{file.variant}` for the file"


COMMAND = Command(Nothing, show)
