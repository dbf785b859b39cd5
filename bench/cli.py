"""The command line: `python -m bench run | list | evaluate | verify | report | doctor`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.errors import BenchError, unknown
from bench.paths import cache_root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 for an error of ours, 130 for Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    verbs = _COMMANDS.keys()
    if given and not given[0].startswith("-") and given[0] not in verbs:
        return _say(unknown("command", given[0], verbs))
    options = parser.parse_args(given)
    options.line = shlex.join(["python", "-m", "bench", *given])
    try:
        return _COMMANDS[options.verb][1](options)
    except BenchError as error:
        return _say(error)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        return _say(
            BenchError(
                f"cannot read or write{place}: {error.strerror or error}. What was computed before "
                f"is kept in {cache_root()}; mend this and run the same command again."
            )
        )


def _say(error: BenchError) -> int:
    if os.environ.get("RETRIEVAL_BENCH_TRACEBACK"):
        traceback.print_exception(error)
    print(f"error: {error}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    from bench.scoring import Options

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    made = {
        verb: verbs.add_parser(verb, help=text, description=text)
        for verb, (text, _) in _COMMANDS.items()
    }
    run = made["run"]
    run.add_argument(
        "--method",
        action="append",
        required=True,
        metavar="NAME[.VARIANT]",
        help="a method, or a plug-in file; repeatable",
    )
    run.add_argument(
        "--dataset",
        action="append",
        metavar="NAME",
        help="a data set, or the path of a dataset.json; repeatable (default: mini)",
    )
    run.add_argument(
        "--weights", metavar="PATH", help="weights to use instead of the variant's own"
    )
    run.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    run.add_argument(
        "--batch-size",
        type=_positive,
        default=Options.batch_size,
        metavar="N",
        help="most images of one shape given to the network at once (default: %(default)s)",
    )
    run.add_argument(
        "--query-crop",
        choices=["whole", "crop", "crop-relative"],
        help="what of a boxed query is shown: the whole image; its box under the method's size "
        "cap; its box under the cap times longest crop side / longest image side (default: the "
        "box, under the method's own rule)",
    )
    run.add_argument(
        "--no-crop",
        action="store_const",
        const="whole",
        dest="query_crop",
        help="the same as --query-crop whole",
    )
    run.add_argument(
        "--limit",
        type=_positive,
        metavar="N",
        help="use the first N images only; the result is marked partial",
    )
    run.add_argument(
        "--force",
        action="store_true",
        help="describe the images again even where the store has them",
    )
    run.add_argument("--dry-run", action="store_true", help="say what would be done, and stop")
    evaluate = made["evaluate"]
    evaluate.add_argument(
        "--dataset", required=True, metavar="NAME", help="a data set, or the path of a dataset.json"
    )
    evaluate.add_argument(
        "--database",
        required=True,
        type=Path,
        metavar="FILE",
        help=".npy, .npz or .mat, rows in the order of the list",
    )
    evaluate.add_argument(
        "--queries", required=True, type=Path, metavar="FILE", help="likewise for the queries"
    )
    evaluate.add_argument(
        "--distractors",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        metavar="FILE",
        help="rows added after the database; negatives for every query",
    )
    evaluate.add_argument(
        "--name",
        default="descriptors",
        metavar="LABEL",
        help="what to call them in records and tables (default: %(default)s)",
    )
    for searching in (run, evaluate):
        searching.add_argument(
            "--output",
            type=Path,
            default=Options.output,
            metavar="DIR",
            help="folder of the results (default: results/ of the checkout)",
        )
        searching.add_argument(
            "--shortlist",
            type=_natural,
            default=Options.shortlist,
            metavar="N",
            help="length of the list kept per query (default: %(default)s)",
        )
        searching.add_argument(
            "--memory-budget",
            type=_positive,
            default=Options.memory_budget_mib,
            metavar="MIB",
            dest="memory_budget_mib",
            help="about what the search may take (default: %(default)s)",
        )
    made["verify"].add_argument("record", nargs="+", type=Path, help="path of a record's .json")
    made["report"].add_argument(
        "--results",
        type=Path,
        default=Options.output,
        metavar="DIR",
        help="folder of records and published.toml (default: results/ of the checkout)",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _run(given: argparse.Namespace) -> int:
    from bench import record, run, summary
    from bench.scoring import Options

    options = Options(
        output=given.output,
        weights=given.weights,
        device=given.device,
        batch_size=given.batch_size,
        query_crop=given.query_crop,
        shortlist=given.shortlist,
        memory_budget_mib=given.memory_budget_mib,
        limit=given.limit,
        force=given.force,
        command=given.line,
    )
    failed = 0
    for dataset in given.dataset or ["mini"]:
        for method in given.method:
            try:
                planned = run.plan(method, dataset, options)
                if given.dry_run:
                    print("\n".join(run.describe_plan(planned)))
                    continue
                path = run.run(planned)
            except BenchError as error:
                failed = _say(error)
                continue
            _print_result(record.read(path), path, summary.lines)
    return failed


def _evaluate(given: argparse.Namespace) -> int:
    from bench import record, scoring, summary

    options = scoring.Options(
        output=given.output,
        shortlist=given.shortlist,
        memory_budget_mib=given.memory_budget_mib,
        command=given.line,
    )
    path = scoring.score_brought(
        given.dataset,
        given.database,
        given.queries,
        given.distractors,
        scoring.check_label(given.name),
        options,
    )
    _print_result(record.read(path), path, summary.lines)
    return 0


def _print_result(
    held: dict[str, object], path: Path, lines: Callable[[dict[str, object]], list[str]]
) -> None:
    print("\n".join(lines(held)))
    print(path)


def _list(given: argparse.Namespace) -> int:
    from bench import datasets, methods, plugins

    print("methods")
    for entry in methods.entries():
        print(f"  {entry.name}: {entry.error or entry.description}")
        for variant, text in entry.variants.items():
            print(f"    {entry.name}.{variant}: {text}")
    print("data sets")
    for line in plugins.summaries(datasets.KIND):
        print(f"  {line.name}: {line.error or line.description}")
    return 0


def _verify(given: argparse.Namespace) -> int:
    from bench.verify import verify

    failed = 0
    for path in given.record:
        try:
            faults, notes = verify(path)
        except BenchError as error:
            failed = _say(error)
            continue
        for note in notes:
            print(f"{path}: {note}")
        for fault in faults:
            print(f"{path}: DIFFERS: {fault}")
        print(f"{path}: {'differs' if faults else 'match'}")
        failed = failed or int(bool(faults))
    return failed


def _report(given: argparse.Namespace) -> int:
    from bench.report.build import build

    for path in build(given.results):
        print(path)
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from bench.doctor import examine

    return examine()


_COMMANDS: dict[str, tuple[str, Callable[[argparse.Namespace], int]]] = {
    "run": ("Describe, search and score methods on data sets; write records.", _run),
    "list": ("List methods and data sets, broken ones with the reason.", _list),
    "evaluate": ("Score descriptors that you bring; no images are needed.", _evaluate),
    "verify": ("Recompute the scores of records from their stored ranks.", _verify),
    "report": ("Rebuild report.md and its figures from the records.", _report),
    "doctor": ("Check this installation without a GPU or a download.", _doctor),
}
