"""The command line: `python -m bench COMMAND`; options are in `bench.commands.arguments`."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from bench.commands import pixels, run
from bench.commands.shared import say_error, settings_of
from bench.errors import BenchError, unknown
from bench.system import interrupt
from bench.system.paths import cache_root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 for an error of ours, 130 for Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbs = _COMMANDS.keys()
    if given and not given[0].startswith("-") and given[0] not in verbs:
        return say_error(unknown("command", given[0], verbs))
    from bench.commands.arguments import parse

    try:
        options = parse({verb: text for verb, (text, _) in _COMMANDS.items()}, given)
        options.line = shlex.join(["python", "-m", "bench", *given])
        return _COMMANDS[options.verb][1](options)
    except BenchError as error:
        return say_error(error)
    except KeyboardInterrupt:
        interrupt.say()
        return interrupt.STATUS
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        return say_error(
            BenchError(
                f"cannot read or write{place}: {error.strerror or error}. What was computed before "
                f"is kept in {cache_root()}; mend this and run the same command again."
            )
        )


def _list(given: argparse.Namespace) -> int:
    from bench import methods
    from bench.commands import data

    print("methods")
    for entry in methods.entries():
        print(f"  {entry.name}: {entry.error or entry.description}")
        for variant, text in entry.variants.items():
            print(f"    {entry.name}.{variant}: {text}")
    print("data sets")
    print("\n".join(data.lines()))
    return 0


def _data(given: argparse.Namespace) -> int:
    from bench.commands import data

    if given.action == "list":
        print("\n".join(data.lines()))
        return 0
    if given.action == "get":
        return data.get(
            given.name,
            say_error,
            accept=given.accept_licence,
            own=given.own,
            archives=given.archives,
            keep_archives=given.keep_archives,
            force=given.force,
        )
    if given.action == "where":
        print("\n".join(line for name in given.name for line in data.where(name)))
        return 0
    return data.verify(given.name, say_error, quick=given.quick, listing=given.list)


def _verify(given: argparse.Namespace) -> int:
    from bench.pipeline import sensitivity
    from bench.records import contribution, record
    from bench.records.verify import verify

    failed = 0
    for path in given.record:
        try:
            if sensitivity.is_study(path):
                faults, notes = sensitivity.verify(path)
            else:
                faults, notes = verify(path, given.dataset)
            if given.descriptors and not faults:
                faults += _from_descriptors(path, given)
                notes.append("ranks and stages made again from stored descriptors")
            if given.contribution:
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


def _from_descriptors(path: Path, given: argparse.Namespace) -> list[str]:
    """Return in what a record differs from what its stored descriptors give.

    Of the command that the record states no path is used: those are options of `verify`.
    """
    from bench.commands.arguments import parse
    from bench.pipeline import again
    from bench.records import record

    command = str(record.read(path)["command"])
    try:
        words = shlex.split(command)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            verbs = {verb: text for verb, (text, _) in _COMMANDS.items()}
            options = parse(verbs, words[3:])
    except (ValueError, SystemExit):
        raise BenchError(f"the command of {path.name} is no command line.") from None
    if words[:4] != ["python", "-m", "bench", "run"]:
        raise BenchError(
            f"{path.name} was not made by `run`, so that no store has its descriptors; evaluate "
            f"them again: {command!r}."
        )
    options.line = command
    if options.weights is not None and given.weights is None:
        raise BenchError(
            f"{path.name} was made with weights from a file; name that file with --weights."
        )
    options.weights = given.weights
    return again.faults(path, run.options_of(options), given.dataset)


def _weights(given: argparse.Namespace) -> int:
    if given.action == "convert":
        from bench.commands.weights import convert

        print(convert(given.method, given.source, given.output, given.unproven))
        return 0
    from bench.commands import weights

    if given.action == "list":
        return weights.show()
    act = weights.get if given.action == "get" else weights.verify
    return act(given.method, say_error)


def _check(given: argparse.Namespace) -> int:
    from bench.commands.check import check
    from bench.describe import loading

    settings = settings_of(given)

    def load(precision: Literal["float32", "bf16"]) -> Any:
        chosen = replace(settings, precision=precision)
        return loading.load(
            given.method, given.weights, given.device, chosen, pixels.of(given).rule
        )

    loaded = loading.load(
        given.method, given.weights, given.device, settings, pixels.of(given).rule
    )
    info, failed = loaded.info, 0
    for state, text in check(loaded, lambda: (load("float32"), load("bf16"))):
        print(f"{state:>5}  {text}", flush=True)
        failed += state == "FAILS"
    name = f"{info.name}.{info.variant}"
    print(f"{name}: {f'{failed} checks fail' if failed else 'keeps the contract'}")
    return int(failed > 0)


def _train(given: argparse.Namespace) -> int:
    from bench.training import run

    names = ("method", "data", "recipe", "classes", "out", "validate", "validate_steps", "steps",
             "epochs", "batch", "side", "lr", "init", "seed", "device", "workers",
             "checkpoint_minutes")  # fmt: skip
    options = run.Options(**{name: getattr(given, name) for name in names})
    if given.dry_run:
        print("\n".join(run.describe(options)))
    else:
        print(run.train(options))
    return 0


def _sensitivity(given: argparse.Namespace) -> int:
    from bench.pipeline import sensitivity
    from bench.pipeline.options import Options

    options = Options(
        output=given.output,
        weights=given.weights,
        device=given.device,
        settings=settings_of(given),
        pixels=pixels.of(given),
        command=given.line,
    )
    path = sensitivity.study(
        given.method,
        given.dataset,
        options,
        grid=given.grid,
        stages=given.stage,
        dry_run=given.dry_run,
    )
    if path is not None:
        from bench.report.tables.sensitivity import lines

        print("\n".join(lines(sensitivity.read(path))))
        print(path)
    return 0


def _compare(given: argparse.Namespace) -> int:
    from bench.commands.compare import lines
    from bench.records import compare, lists

    name, own = lists.named(given.dataset)
    paths = compare.find(given.result, name, given.results)
    entries = compare.load(paths)
    for entry in entries if own else ():
        lists.dataset_of(entry.card, own, entry.path.name)
    differing = compare.check(entries, given.across_cards)
    pairs = compare.compare(entries, given.protocol, given.metric)
    if given.json:
        print(json.dumps({"cards_differ": differing, "comparisons": pairs}, indent=1))
    else:
        print("\n".join(lines(entries, differing, pairs)))
    return 0


def _cache(given: argparse.Namespace) -> int:
    from bench.commands import cache

    if given.action == "list":
        return cache.show()
    if given.action == "why":
        return cache.why(given.key)
    if given.action == "verify":
        return cache.verify()
    return cache.prune(
        method=given.method,
        keep_days=given.keep_days,
        everything=given.all,
        dry_run=given.dry_run,
    )


def _report(given: argparse.Namespace) -> int:
    from bench.report.build import build

    for path in build(given.results, easy=given.easy, html=given.html):
        print(path)
    return 0


def _sheet(given: argparse.Namespace) -> int:
    from bench.sheets import sheet

    if not given.record:
        if given.dataset is None or given.output is not None:
            raise BenchError(
                "name a record and --output, or, for the sheet of the report, --dataset alone."
            )
        output, notes = sheet.for_report(given.results, given.dataset)
    elif given.output is None:
        raise BenchError("--output names the file of the sheet: .html, .png or .pdf.")
    else:
        output = given.output
        options = sheet.Options(
            dataset=given.dataset,
            against=given.against,
            queries=given.queries,
            worst=given.worst,
            top=given.top,
            protocol=given.protocol,
            matches=given.matches,
            weights=given.weights,
            device=given.device,
        )
        notes = sheet.make(given.record, output, options)
    for note in notes:
        print(note, file=sys.stderr)
    print(output)
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from bench.commands.doctor import examine

    return examine()


_COMMANDS: dict[str, tuple[str, Callable[[argparse.Namespace], int]]] = {
    "run": ("Describe, search and score methods on data sets; write records.", run.run_methods),
    "list": ("List methods and data sets, broken ones with the reason.", _list),
    "extract": ("Describe images; write ids and unit vectors to an .npz.", run.extract),
    "evaluate": ("Score descriptors that you bring; no images are needed.", run.evaluate),
    "verify": ("Recompute the scores of records from their stored ranks.", _verify),
    "check": ("Try whether a method keeps the contract of a plug-in.", _check),
    "data": ("List, get and check data sets, and say where they lie.", _data),
    "weights": ("List, download, check and convert published weights.", _weights),
    "compare": ("Test whether results differ, paired over landmarks.", _compare),
    "cache": ("List, explain, check and prune the stores of descriptors.", _cache),
    "train": ("Train a method on photographs with labels.", _train),
    "sensitivity": ("Say how far the choices of a protocol move a score.", _sensitivity),
    "report": ("Rebuild report.md and its figures from the records.", _report),
    "sheet": ("Show queries of a record with the first images of their lists.", _sheet),
    "doctor": ("Check this installation without a GPU or a download.", _doctor),
}
