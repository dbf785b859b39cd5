"""The command line: `python -m bench COMMAND`. Each command is a file of this folder."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench import __version__
from bench.commands import streams
from bench.commands.parser import Command, verbs
from bench.commands.shared import say_error
from bench.errors import BenchError, unknown
from bench.system import interrupt, reading
from bench.system.paths import cache_root

PROG = "python -m bench"
DESCRIPTION = "A benchmark suite for image retrieval: every number carries its protocol card."
COMMANDS = {
    "run": "Describe, search and score methods on data sets; write records.",
    "list": "List methods and data sets; broken plug-ins with the reason.",
    "extract": "Describe images; write ids and unit vectors to an .npz.",
    "evaluate": "Score your own descriptors; no images are needed.",
    "verify": "Recompute the scores of records from their stored ranks.",
    "check": "Test whether a method keeps the contract of a plug-in.",
    "data": "List, download, import, make, verify and locate data sets.",
    "weights": "List, download, check and convert published weights.",
    "compare": "Test whether results differ, paired over queries.",
    "cache": "List, explain, check and prune the stores of descriptors.",
    "train": "Train a method on photographs with labels.",
    "sensitivity": "Measure how far the choices of a protocol move a score.",
    "report": "Rebuild report.md and its figures from the records; `report table`: one table.",
    "reproduce": "Repeat published numbers; print expected, measured and difference.",
    "sheet": "Draw queries of a record with the first images of their lists.",
    "doctor": "Check this installation without a GPU or a download.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 for a BenchError, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    with streams.plain():
        try:
            try:
                status = _do(words)
            finally:
                streams.finish()
        except streams.OutputError as error:
            streams.give_up()
            return say_error(BenchError(f"standard output cannot be written: {error.reason}."))
    return status


def _do(words: Sequence[str]) -> int:
    """Parse and run one command; whatever goes wrong is one sentence."""
    if words == ["--version"]:
        print(f"retrieval-bench {__version__}")
        return 0
    try:
        command, prog, rest = find(words)
        return command.run(command.read(prog, rest, shlex.join(["python", "-m", "bench", *words])))
    except BenchError as error:
        return say_error(error)
    except KeyboardInterrupt:
        interrupt.say()
        return interrupt.STATUS
    except OSError as error:
        return say_error(_of_system(error))
    except (ImportError, MemoryError, RuntimeError) as error:
        if (sentence := _of_memory(error)) is None:
            raise
        return say_error(sentence)


def _of_system(error: OSError) -> BenchError:
    place = f" {error.filename}" if error.filename else ""
    try:
        kept = f"Results so far are kept in {cache_root()}; fix"
    except BenchError:
        kept = "Fix"
    return BenchError(
        f"cannot read or write{place}: {error.strerror or error}. {kept} this and run the same "
        "command again."
    )


def _of_memory(error: Exception) -> BenchError | None:
    """Return the sentence for a lack of memory; None where the error is another."""
    text = reading.line(error)
    if isinstance(error, ImportError):
        if (error.name or "").startswith("bench"):
            return None
        return BenchError(
            f"a library cannot be loaded ({text}). If it is installed, this process may use too "
            "little memory: allow 8 GiB of addresses (`ulimit -v`)."
        )
    if isinstance(error, MemoryError) or re.search("memory|alloc|new thread", text):
        return BenchError(
            f"memory ran out ({text}); allow this process more, or reduce --batch-size, "
            "--max-side or --memory-budget."
        )
    return None


def find(words: Sequence[str]) -> tuple[Command[Any], str, Sequence[str]]:
    """Return the command that is named, how it is called, and its arguments.

    Without one, it prints the help and ends the process, or says what is missing.
    """
    verb, *rest = words or [""]
    if verb not in COMMANDS:
        if verb and not verb.startswith("-"):
            raise unknown("command", verb, COMMANDS)
        raise _no_name(PROG, DESCRIPTION, COMMANDS, "COMMAND", words)
    module = importlib.import_module(f"bench.commands.{verb}")
    prog = f"{PROG} {verb}"
    actions: dict[str, Command[Any]] | None = getattr(module, "ACTIONS", None)
    if actions is None:
        return replace(module.COMMAND, help=COMMANDS[verb]), prog, rest
    action, *others = rest or [""]
    alone: Command[Any] | None = getattr(module, "COMMAND", None)
    if alone is not None and action not in actions and (not action or action.startswith("-")):
        return replace(alone, help=COMMANDS[verb]), prog, rest
    rest = others
    if action not in actions:
        if action and not action.startswith("-"):
            raise unknown(f"action of {verb}", action, actions)
        helps = {name: command.help for name, command in actions.items()}
        raise _no_name(prog, COMMANDS[verb], helps, "ACTION", words[1:])
    return actions[action], f"{prog} {action}", rest


def _no_name(
    prog: str, text: str, helps: dict[str, str], what: str, words: Sequence[str]
) -> BenchError:
    """Print the help where it is asked for, which ends the process; else return the error."""
    verbs(prog, text, helps, what).parse_args(words)
    raise AssertionError("options were read without the name of a command")
