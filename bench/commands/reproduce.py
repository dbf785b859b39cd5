"""The command `reproduce`: run published numbers, or records, again and compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import datasets, methods, published_weights
from bench.commands.parser import Command
from bench.commands.report import published_rows
from bench.commands.shared import results_folder
from bench.errors import BenchError, MissingDataError
from bench.option import option
from bench.records import rows

if TYPE_CHECKING:
    from bench.report.reproduce import Item


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Which numbers."""

    name: tuple[str, ...] = option(
        (),
            "METHOD, METHOD.VARIANT, data set or id of a published row; with mini, the "
            "records of --results are run again", metavar="NAME", positional=True, many="any",
    )  # fmt: skip
    list: bool = option(False, "print row, expected value, tolerance, missing files and command")
    results: Path = results_folder()


def reproduce(args: Arguments) -> int:
    """List or run; the status is 1 where something differs or could not be run."""
    chosen = _chosen(args)
    if not args.list and not args.name:
        raise BenchError(
            "name a method, data set or row to reproduce, for instance dolg or mini; --list "
            "prints all."
        )
    if args.list:
        print("\n".join(lines(chosen)))
        return 0
    return max([_again(item, args.results) for item in chosen], default=0)


def _chosen(args: Arguments) -> Sequence[Item]:
    """Return the items that the names mean, all without a name."""
    from bench.report import reproduce as plans
    from bench.report.tables import published

    source = published_rows(args.results)
    listed = plans.items(published.load(source)) if source is not None else []
    shown = rows.newest(rows.load(args.results)[0])[0]
    own = []
    for run in shown:
        if run.dataset == "mini" and not run.partial:
            record = json.loads((args.results / run.file).read_bytes())
            own.append(plans.recorded(run, record))
    every = [*listed, *own]
    if not args.name:
        return every
    chosen = [item for item in every if set(args.name) & _names(item)]
    for name in args.name:
        if not any(name in _names(item) for item in every):
            raise BenchError(
                f"{name!r} is not a published number that can be reproduced; --list prints all."
            )
    return chosen


def _names(item: Item) -> set[str]:
    method = item.method.split(".")[0]
    return {item.name, item.method, method, item.dataset, item.dataset.split(".")[0]}


def missing(item: Item) -> str:
    """Return what is missing on this machine: data, weights, or nothing."""
    if item.why_not:
        return NOT_RUN
    words = []
    names = [item.dataset.split("+")[0], *(["revisitop1m"] if "+r1m" in item.dataset else [])]
    for name in names:
        try:
            dataset = datasets.load(name)
        except (MissingDataError, BenchError):
            words.append(f"data ({name})")
            continue
        first = dataset.database[0]
        if not (dataset.folder / first.path).exists():
            words.append(f"photographs ({name})")
    checkpoint = methods.checkpoint_of(item.method)
    if checkpoint is not None and not published_weights.path_of(checkpoint).exists():
        words.append(f"weights ({item.method})")
    return ", ".join(words) or "nothing"


NOT_RUN = "cannot be reproduced"


def lines(items: Sequence[Item]) -> list[str]:
    """Return a line per number, and below the numbers of a row its command or the reason."""
    out, known = [], dict[tuple[str, str], str]()
    for item in items:
        key = (item.method, item.dataset if not item.why_not else item.name)
        lacks = known.setdefault(key, missing(item))
        out.append(
            f"{item.name}  {item.method} on {item.dataset}; missing on this machine: {lacks}"
        )
        for value in item.expected:
            out.append(f"    {value.words}: {value.digits} ± {item.tolerance}")
        out.append(f"    {item.command}" if not item.why_not else f"    {NOT_RUN}: {item.why_not}")
    return out


def _again(item: Item, results: Path) -> int:
    """Run one item, print expected, measured, difference and verdict; return 1 for a failure."""
    from bench.commands.main import main
    from bench.report import reproduce as plans

    print(f"{item.name}: {item.method} on {item.dataset}")
    if item.why_not:
        print(f"  {NOT_RUN}: {item.why_not}")
        return 1
    lacks = missing(item)
    if lacks != "nothing":
        wanted = " and ".join(_how(part) for part in lacks.split(", "))
        print(f"  not run, missing on this machine: {lacks}; {wanted}")
        return 1
    before = {run.file for run in rows.load(results)[0]}
    measure = [] if "--measure" in item.arguments else ["--measure", "none"]
    status: int = main([*item.arguments, "--results", str(results), *measure])
    made = [
        run
        for run in rows.load(results)[0]
        if run.file not in before and f"{run.method}.{run.variant}" == item.method
    ]
    if status or not made:
        print("  the run failed")
        return 1
    return max([_compare(item, made[-1], plans)], default=1)


def _compare(item: Item, run: rows.Run, plans: Any) -> int:
    failed = 0
    for value in item.expected:
        points = plans.difference(value, run)
        text = plans.verdict(points, item.tolerance)
        mean = run.score(value.protocol, value.metric).mean
        shown = "n/a" if mean is None else f"{100 * mean:.2f}"
        around = "n/a" if points is None else f"{points:+}"
        found = f"expected {value.digits}, measured {shown}, difference {around}"
        print(f"  {value.words}: {found}: {text}")
        failed |= text not in ("reproduced", "near")
    return int(failed)


def _how(part: str) -> str:
    name = part.partition("(")[2].rstrip(")")
    return f"`weights get {name}`" if part.startswith("weights") else f"`data get {name}`"


COMMAND = Command(Arguments, reproduce)
