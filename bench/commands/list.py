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
    out = [f"  {entry.name}: {entry.error or entry.description}"]
    for variant, text in entry.variants.items():
        out.append(f"    {entry.name}.{variant}: {text}")
        if variant in entry.files:
            out.append(f"      {_file(entry.files[variant])}")
    return out


def _file(file: Checkpoint) -> str:
    """Return the facts about a published file in a line."""
    from bench import published_weights

    here = published_weights.path_of(file).is_file()
    facts = [
        f"{file.dim}-d" if file.dim else "",
        f"training set: {file.training_set}",
        f"licence of the weights: {file.licence}",
        f"of the program: {file.licence_code}" if file.licence_code else "",
        "the file is here" if here else f"`weights get {file.method}.{file.variant}` for the file",
    ]
    return "; ".join(fact for fact in facts if fact)


COMMAND = Command(Nothing, show)
