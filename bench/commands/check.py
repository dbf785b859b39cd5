"""The command `check`: try whether a method keeps the contract of a plug-in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bench.commands.parser import Command
from bench.option import group, required
from bench.pipeline.options import DESCRIBING, Options

if TYPE_CHECKING:
    from bench.describe.engine import Loaded


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Which method is tried, and how it describes."""

    method: str = required("a method, or a plug-in file", positional=True, metavar="METHOD")
    options: Options = group(Options, DESCRIBING)


def check(args: Arguments) -> int:
    """Print a line per rule of the contract; return 1 if a rule is broken."""
    from bench.describe import loading
    from bench.pipeline import contract_check

    options = args.options

    def load(precision: Literal["float32", "bf16"] | None = None, *, fast: bool = True) -> Loaded:
        chosen = options.settings
        if precision is not None:
            chosen = replace(chosen, precision=precision)
        return loading.load(
            args.method, options.weights, options.device, chosen, options.pixels.rule, fast=fast
        )

    loaded = load()
    info, failed = loaded.info, 0

    def pair() -> tuple[Loaded, Loaded]:
        return load("float32"), load("bf16")

    for state, text in contract_check.check(loaded, pair, lambda: load(fast=False)):
        print(f"{state:>5}  {text}", flush=True)
        failed += state == "FAILS"
    name = f"{info.name}.{info.variant}"
    print(f"{name}: {f'{failed} checks fail' if failed else 'keeps the contract'}")
    return int(failed > 0)


COMMAND = Command(Arguments, check)
