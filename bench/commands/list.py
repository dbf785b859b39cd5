"""The command `list`: methods and data sets, a line each; with names, all that is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.commands import columns
from bench.commands.parser import Command
from bench.option import option

if TYPE_CHECKING:
    from bench.methods import Entry
    from bench.types import Checkpoint

HEAD = ("method", "group", "variants", "dim", "files", "description")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The options of `list`."""

    name: tuple[str, ...] = option(
        (), "a method or a data set: show its variants, weights, training sets and licences",
        metavar="NAME", positional=True, many="any",
    )  # fmt: skip


def show(args: Arguments) -> int:
    """Print all methods, then all data sets, or the details of those that are named."""
    from bench import methods
    from bench.commands import data_list

    if args.name:
        found = {entry.name: entry for entry in methods.entries()}
        for name in args.name:
            entry = found.get(name)
            print("\n".join(details(entry) if entry else data_list.details(name, found)))
        return 0
    columns.show([*lines(methods.entries()), "", *data_list.lines(), ""])
    print("`list NAME` lists variants, training sets, licences and files.")
    return 0


def lines(entries: Sequence[Entry]) -> list[str]:
    """Return the table of all methods by group; a broken one has its error in place of a line."""
    from bench.contract import GROUPS

    order = [*GROUPS, None]
    rows = [_row(entry) for entry in sorted(entries, key=lambda each: order.index(each.group))]
    return columns.lines(HEAD, rows, right=("variants", "dim"))


def _row(entry: Entry) -> tuple[str, ...]:
    dims = sorted({file.dim for file in entry.files.values() if file.dim})
    dim = "–".join(f"{end:,}" for end in dict.fromkeys((dims[0], dims[-1]))) if dims else ""
    here, files = sum(map(_is_here, entry.files.values())), len(entry.files)
    return (
        entry.name,
        "broken" if entry.error else entry.group or "",
        str(len(entry.variants) or ""),
        dim,
        f"{here} of {files}" if files else "",
        " ".join((entry.error or entry.description).split()),
    )


def details(entry: Entry) -> list[str]:
    """Return a method in full: a line per variant, and one per published file."""
    out, before = [f"{entry.name}: {entry.error or entry.description}"], ""
    for variant, text in entry.variants.items():
        out.append(f"  {entry.name}.{variant}: {text}")
        if variant in entry.files:
            file = entry.files[variant]
            facts, place = _facts(file), _place(file)
            shown = "the rest as above" if facts == before else facts
            dim = f"{file.dim:,}-d; " if file.dim else ""
            out.append(f"    {dim}{shown}; {place}")
            before = facts
    return out


def _facts(file: Checkpoint) -> str:
    """Return what several files of a method have in common."""
    code = f"; of the program: {file.licence_code}" if file.licence_code else ""
    return f"training set: {file.training_set}; licence of the weights: {file.licence}{code}"


def _place(file: Checkpoint) -> str:
    """Return whether a file is in the cache, or the command that gets it."""
    if _is_here(file):
        return "the file is here"
    return f"`weights get {file.method}.{file.variant}` for the file"


def _is_here(file: Checkpoint) -> bool:
    from bench import published_weights

    return published_weights.path_of(file).is_file()


COMMAND = Command(Arguments, show)
