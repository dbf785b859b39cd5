"""The command `run`: describe, search and score methods on data sets; write records."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cluster import forecast
from bench.cluster.options import Machines
from bench.commands.parser import Command
from bench.commands.shared import say_error
from bench.errors import BenchError, MissingDataError
from bench.option import group, option, required
from bench.pipeline.options import Options

if TYPE_CHECKING:
    from bench.pipeline.dry_run import Forecast
    from bench.pipeline.plan import Plan
    from bench.pipeline.run import Cluster as Helpers


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What is run, how, and where."""

    method: tuple[str, ...] = required(
        "a method, or a plug-in file; repeatable", metavar="NAME[.VARIANT]"
    )
    dataset: tuple[str, ...] = option(
        (),
        "a data set, or the path of a dataset.json; repeatable (default: mini)",
        metavar="NAME",
    )
    options: Options = group(Options, measure="sample")
    dry_run: bool = option(False, "print the steps of the run and how long they take, and stop")
    machines: Machines = group(Machines)
    cluster: tuple[forecast.Kind, ...] = option(
        (),
        "with --dry-run --engine ray: estimate time and price on a hypothetical cluster: "
        "number of nodes, devices per node (default: 1), images per second of a device "
        "(default: as on this machine), price of a node per hour; repeatable for several "
        "kinds of node (default: the cluster of --ray-address)",
        metavar=forecast.FORM,
        parse=forecast.parse,
    )


def run(args: Arguments) -> int:
    """Plan every method on every data set, then run them; print scores and paths of records.

    Nothing is run where one of the runs is refused. What fails later stops that run alone.
    """
    if absent := _absent(args):
        for error in absent:
            say_error(error)
        return 1
    from bench.cluster import connect, devices
    from bench.pipeline import plan

    hypothetical, machines = bool(args.cluster), args.machines
    if hypothetical and (
        machines.engine == "local" or not args.dry_run or machines.ray_address is not None
    ):
        raise BenchError("--cluster needs --dry-run --engine ray, and excludes --ray-address.")
    engine = "local" if hypothetical else machines.engine
    named = devices.several(args.options.device)
    if len(named) > 1 and machines.engine != "local":
        raise BenchError(
            f"--device {args.options.device}: workers of --engine ray use every GPU of their "
            "nodes; write --device cuda."
        )
    options = replace(args.options, device=named[0])
    with connect.engine(engine, machines.ray_address) as ray:
        runs, refused = plan.plan_all(args.method, args.dataset or ("mini",), options)
        for error in refused:
            say_error(error)
        if refused:
            return 1
        failed = 0
        for checked in runs:
            try:
                print("\n".join(_lines(checked.plan(), args, ray, named)))
            except BenchError as error:
                failed = say_error(error)
        return failed


def _absent(args: Arguments) -> list[BenchError]:
    """Return what is plainly not on this machine, before anything slow is imported.

    That is a data set none of whose folders exists, and a published file that is not in the cache.
    """
    from bench import datasets, methods, published_weights

    out: list[BenchError] = []
    for name in args.dataset:
        with suppress(BenchError):  # an unknown name: the plan says which there are
            if not datasets.is_own(name):
                entry, _ = datasets.find(name)
                if not any(place.exists() for place in entry.places()):
                    try:
                        datasets.load(name)
                    except MissingDataError as error:
                        out.append(error)
    for text in args.method if args.options.weights is None else ():
        with suppress(BenchError):  # a method without such a file, or none at all
            file = methods.published(text)
            if not published_weights.path_of(file).is_file():
                try:
                    methods.weights_of(text, None)
                except BenchError as error:
                    out.append(error)
    return out


def _lines(planned: Plan, args: Arguments, ray: Any, named: Sequence[str | None]) -> list[str]:
    """Do one run, or describe it (`--dry-run`); return the lines to print."""
    from bench import datasets
    from bench.commands import summary
    from bench.pipeline import dry_run, run
    from bench.records import record

    if args.dry_run:
        return dry_run.describe_plan(planned, _forecast(planned, args.cluster, ray))
    path = run.run(planned, _hired(planned, ray, args.machines.image_url, named))
    written = record.read(path)
    sheets = [] if datasets.is_labelled(planned.dataset) else [_sheet(planned, path)]
    return [*summary.latency(written), *summary.lines(written), *sheets, str(path)]


def _sheet(planned: Plan, path: Path) -> str:
    """Draw the lists of a run on photographs without labels; return the lines to print."""
    from bench.sheets import sheet

    output = sheet.of_unlabelled(path, planned.dataset, planned.options.results)
    return f"nearest images of {len(planned.dataset.queries)} queries: see {output}"


def _forecast(planned: Plan, kinds: Sequence[forecast.Kind], ray: Any) -> Forecast | None:
    """Return what says how long the nodes `kinds` take; without any, the cluster of `ray`."""
    if not kinds and ray is None:
        return None
    import torch

    kinds = kinds or forecast.of_cluster(ray, planned.loaded.device, torch.get_num_threads())
    return partial(forecast.lines, kinds)


def _hired(
    planned: Plan, ray: Any, image_url: str | None, named: Sequence[str | None]
) -> AbstractContextManager[Helpers] | None:
    """Return the workers of the cluster that `ray` is connected to, or of the devices `named`."""
    weights = planned.options.weights
    if ray is None:
        from bench.cluster import devices

        return devices.hired(named, planned.method, weights, planned.loaded)
    from bench.cluster import dispatch

    return dispatch.crew(ray, planned.method, weights, planned.loaded, image_url)


COMMAND = Command(Arguments, run)
