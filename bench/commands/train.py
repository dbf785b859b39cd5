"""The command `train`: train a method on photographs with labels."""

from __future__ import annotations

from dataclasses import dataclass

from bench.commands.parser import Command
from bench.option import group, option
from bench.training.options import Options


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The method to train, and options."""

    options: Options = group(Options)
    dry_run: bool = option(False, "print the steps of the training, and stop")


def train(args: Arguments) -> int:
    """Train, and print the path of the final weights; or say what would be done."""
    from bench.training import run

    if args.dry_run:
        print("\n".join(run.describe(args.options)))
    else:
        print(run.train(args.options))
    return 0


COMMAND = Command(Arguments, train)
