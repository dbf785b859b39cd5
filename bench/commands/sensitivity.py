"""The command `sensitivity`: measure how far the choices of a protocol move a score."""

from __future__ import annotations

from dataclasses import dataclass

from bench.commands.parser import Command
from bench.option import group, option, required
from bench.pipeline.options import DESCRIBING, Options


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The method to study, and the factors."""

    method: str = required("a method, or a plug-in file", metavar="NAME[.VARIANT]")
    dataset: str = option("mini", "a data set, or the path of a dataset.json", metavar="NAME")
    grid: bool = option(
        False, "also run every combination of crop, image size and scales, to find the extremes"
    )
    stage: tuple[str, ...] = option(
        (),
        "also run this stage alone, for instance aqe:10,alpha=3; repeatable",
        metavar="NAME[:value,key=value]",
    )
    dry_run: bool = option(False, "print the configurations to run, and stop")
    options: Options = group(Options, (*DESCRIBING, "results"))


def study(args: Arguments) -> int:
    """Run what is not there yet; print the study as a table, and its path."""
    from bench.pipeline import sensitivity

    path = sensitivity.study(
        args.method,
        args.dataset,
        args.options,
        grid=args.grid,
        stages=args.stage,
        dry_run=args.dry_run,
    )
    if path is not None:
        from bench.report.tables.sensitivity import lines

        print("\n".join(lines(sensitivity.read(path))))
        print(path)
    return 0


COMMAND = Command(Arguments, study)
