"""The command `verify`: recompute the scores of records from their stored ranks."""

from __future__ import annotations

import io
import shlex
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from bench.commands import run
from bench.commands.parser import Command
from bench.commands.shared import say_error
from bench.errors import BenchError
from bench.option import option, required


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Which records are verified, and how far."""

    record: tuple[Path, ...] = required("path of a record's .json", positional=True)
    descriptors: bool = option(
        False,
        "also repeat search and stages from the stored descriptors, and compare bit by "
        "bit; needs no images",
    )
    contribution: bool = option(
        False,
        "also check whether the record may be added to the results: its place, its "
        "commit, whether it is stale",
    )
    dataset: str | None = option(
        None,
        "your own dataset.json, for records of your own data; its revision must be that "
        "of the card",
        metavar="PATH",
    )
    weights: str | None = option(None, "your own weights file, for --descriptors", metavar="PATH")


def verify(args: Arguments) -> int:
    """Print the checks and differences of each record; return 1 for any difference."""
    from bench.pipeline import sensitivity
    from bench.records import contribution, record
    from bench.records import verify as records

    failed = 0
    for path in args.record:
        try:
            if sensitivity.is_study(path):
                faults, notes = sensitivity.verify(path)
            else:
                faults, notes = records.verify(path, args.dataset)
            if args.descriptors and not faults:
                faults += _from_descriptors(path, args)
                notes.append("ranks and stages recomputed from stored descriptors")
            if args.contribution:
                faults += contribution.faults(path, record.read(path))
        except BenchError as error:
            failed = say_error(error)
            continue
        for note in notes:
            print(f"{path}: {note}")
        for fault in faults:
            print(f"{path}: DIFFERS: {fault}")
        print(f"{path}: {'differs' if faults else 'match'}")
        failed = failed or int(bool(faults))
    return failed


def _from_descriptors(path: Path, args: Arguments) -> list[str]:
    """Return in what a record differs from what its stored descriptors give.

    Of the command that the record states no path is used: those are options of `verify`.
    """
    from bench.pipeline import again
    from bench.records import record

    command = str(record.read(path)["command"])
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:4] != ["python", "-m", "bench", "run"]:
        raise BenchError(
            f"{path.name} was not made by `run`, so its descriptors are not stored; evaluate "
            f"them again: {command!r}."
        )
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            options = run.COMMAND.read("run", words[4:], command).options
    except SystemExit:  # it asks for help
        raise BenchError(
            f"the command of {path.name} is not a command line; the record was changed or made "
            "by another program."
        ) from None
    if options.weights is not None and args.weights is None:
        raise BenchError(
            f"{path.name} was made with weights from a file; give that file with --weights."
        )
    return again.faults(path, replace(options, weights=args.weights), args.dataset)


COMMAND = Command(Arguments, verify)
