"""The command line: `python -m bench COMMAND`; options are in `bench.commands.arguments`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import BenchError, unknown
from bench.system import interrupt
from bench.system.paths import cache_root
from bench.types import Settings

if TYPE_CHECKING:
    from bench.cluster.dispatch import Cluster
    from bench.cluster.forecast import Kind
    from bench.pipeline.dry_run import Forecast
    from bench.pipeline.plan import Plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 for an error of ours, 130 for Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verbs = _COMMANDS.keys()
    if given and not given[0].startswith("-") and given[0] not in verbs:
        return _say(unknown("command", given[0], verbs))
    from bench.commands.arguments import parse

    try:
        options = parse({verb: text for verb, (text, _) in _COMMANDS.items()}, given)
        options.line = shlex.join(["python", "-m", "bench", *given])
        return _COMMANDS[options.verb][1](options)
    except BenchError as error:
        return _say(error)
    except KeyboardInterrupt:
        interrupt.say()
        return interrupt.STATUS
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


def _run(given: argparse.Namespace) -> int:
    from bench.cluster import connect
    from bench.commands import summary
    from bench.pipeline import dry_run, plan, run
    from bench.pipeline.options import Options
    from bench.records import record

    options = Options(
        output=given.output,
        weights=given.weights,
        device=given.device,
        settings=_settings(given),
        query_crop=given.query_crop,
        max_side=given.max_side,
        scales=given.scales,
        shortlist=given.shortlist,
        memory_budget_mib=given.memory_budget_mib,
        limit=given.limit,
        allow_partial=given.allow_partial,
        force=given.force,
        allow_missing=given.allow_missing,
        rerank=given.rerank,
        ransac=given.ransac,
        local_precision=given.local_precision,
        distractors=tuple(given.distractors),
        compression=given.compression,
        search=given.search,
        measure=given.measure,
        command=given.line,
        image_url=given.image_url,
    )
    failed = 0
    thought = bool(given.cluster)  # one that need not be there
    if thought and (given.engine == "local" or not given.dry_run or given.ray_address):
        raise BenchError("--cluster is for --dry-run --engine ray, without --ray-address.")
    with connect.engine("local" if thought else given.engine, given.ray_address) as ray:
        for dataset in given.dataset or ["mini"]:
            for method in given.method:
                try:
                    planned = plan.plan(method, dataset, options)
                    if given.dry_run:
                        forecast = _forecast(planned, given.cluster, ray)
                        print("\n".join(dry_run.describe_plan(planned, forecast)))
                        continue
                    path = run.run(planned, _hired(planned, ray))
                except BenchError as error:
                    failed = _say(error)
                    continue
                held = record.read(path)
                print("\n".join([*summary.latency(held), *summary.lines(held)]))
                print(path)
    return failed


def _forecast(planned: Plan, kinds: Sequence[Kind], ray: Any) -> Forecast | None:
    """Return what says how long the nodes `kinds` take; without any, the cluster of `ray`."""
    if not kinds and ray is None:
        return None
    import torch

    from bench.cluster import forecast

    kinds = kinds or forecast.of_cluster(ray, planned.loaded.device, torch.get_num_threads())
    return partial(forecast.lines, kinds)


def _hired(planned: Plan, ray: Any) -> AbstractContextManager[Cluster] | None:
    """Return the workers for a run on the cluster that `ray` is connected to; None without it."""
    if ray is None:
        return None
    from bench.cluster import dispatch

    options = planned.options
    return dispatch.crew(ray, planned.method, options.weights, planned.loaded, options.image_url)


def _evaluate(given: argparse.Namespace) -> int:
    from bench.commands import summary
    from bench.pipeline import brought
    from bench.pipeline.options import Options
    from bench.records import record

    options = Options(
        output=given.output,
        shortlist=given.shortlist,
        memory_budget_mib=given.memory_budget_mib,
        device=given.device,
        compression=given.compression,
        search=given.search,
        measure=given.measure,
        command=given.line,
    )
    path = brought.score_brought(
        given.dataset,
        given.database,
        given.queries,
        given.distractors,
        brought.check_label(given.name),
        options,
    )
    print("\n".join(summary.lines(record.read(path))))
    print(path)
    return 0


def _extract(given: argparse.Namespace) -> int:
    from bench.cluster import connect
    from bench.describe import export, loading

    if given.images is not None:
        folder, wanted = export.images_in(given.images)
    else:
        folder, wanted = export.images_of(
            given.dataset, given.which, allow_partial=given.allow_partial
        )
    with connect.engine(given.engine, given.ray_address) as ray:
        loaded = loading.load(given.method, given.weights, given.device, _settings(given))
        write = partial(export.export, loaded, folder, wanted, given.output, force=given.force)
        if ray is None:
            write()
        else:
            from bench.cluster import dispatch

            with dispatch.crew(ray, given.method, given.weights, loaded, given.image_url) as crew:
                write(by=crew)
    print(given.output)
    return 0


def _settings(given: argparse.Namespace) -> Settings:
    most = given.batch_megapixels
    return Settings(
        batch_size=given.batch_size,
        batch_pixels=None if most is None else round(most * 1e6),
        workers=given.workers,
        precision=given.precision,
        tf32=given.tf32,
        compiled=given.compile,
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
            _say,
            accept=given.accept_licence,
            own=given.own,
            archives=given.archives,
            keep_archives=given.keep_archives,
            force=given.force,
        )
    if given.action == "where":
        print("\n".join(line for name in given.name for line in data.where(name)))
        return 0
    return data.verify(given.name, _say, quick=given.quick, listing=given.list)


def _verify(given: argparse.Namespace) -> int:
    from bench.pipeline import sensitivity
    from bench.records import contribution, record
    from bench.records.verify import verify

    failed = 0
    for path in given.record:
        try:
            faults, notes = (sensitivity.verify if sensitivity.is_study(path) else verify)(path)
            if given.contribution:
                faults += contribution.faults(path, record.read(path))
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


def _weights(given: argparse.Namespace) -> int:
    if given.action == "convert":
        from bench.commands.weights import convert

        print(convert(given.method, given.source, given.output, given.unproven))
        return 0
    from bench.commands import weights

    if given.action == "list":
        return weights.show()
    act = weights.get if given.action == "get" else weights.verify
    return act(given.method, _say)


def _check(given: argparse.Namespace) -> int:
    from bench.commands.check import check
    from bench.describe import loading

    settings = _settings(given)

    def load(precision: Literal["float32", "bf16"]) -> Any:
        chosen = replace(settings, precision=precision)
        return loading.load(given.method, given.weights, given.device, chosen)

    loaded = loading.load(given.method, given.weights, given.device, settings)
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
        settings=_settings(given),
        command=given.line,
    )
    path = sensitivity.study(
        given.method, given.dataset, options, grid=given.grid, dry_run=given.dry_run
    )
    if path is not None:
        from bench.report.tables.sensitivity import lines

        print("\n".join(lines(sensitivity.read(path))))
        print(path)
    return 0


def _compare(given: argparse.Namespace) -> int:
    from bench.commands.compare import lines
    from bench.records import compare

    entries = compare.load(compare.find(given.result, given.dataset, given.results))
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
    "run": ("Describe, search and score methods on data sets; write records.", _run),
    "list": ("List methods and data sets, broken ones with the reason.", _list),
    "extract": ("Describe images; write ids and unit vectors to an .npz.", _extract),
    "evaluate": ("Score descriptors that you bring; no images are needed.", _evaluate),
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
