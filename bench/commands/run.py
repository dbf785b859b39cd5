"""The commands that make results: `run`, `evaluate`, `extract`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.commands import pixels
from bench.commands.shared import say_error, settings_of
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.cluster.dispatch import Cluster
    from bench.cluster.forecast import Kind
    from bench.pipeline.dry_run import Forecast
    from bench.pipeline.options import Options
    from bench.pipeline.plan import Plan


def run_methods(given: argparse.Namespace) -> int:
    """Run every method on every data set; print scores and paths of records."""
    from bench.cluster import connect
    from bench.commands import summary
    from bench.pipeline import dry_run, plan, run
    from bench.records import record

    options = options_of(given)
    failed = 0
    hypothetical = bool(given.cluster)
    if hypothetical and (given.engine == "local" or not given.dry_run or given.ray_address):
        raise BenchError("--cluster is for --dry-run --engine ray, without --ray-address.")
    with connect.engine("local" if hypothetical else given.engine, given.ray_address) as ray:
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
                    failed = say_error(error)
                    continue
                held = record.read(path)
                print("\n".join([*summary.latency(held), *summary.lines(held)]))
                print(path)
    return failed


def options_of(given: argparse.Namespace) -> Options:
    """Return the options of `run`."""
    from bench.pipeline.options import Options

    return Options(
        output=given.output,
        weights=given.weights,
        device=given.device,
        settings=settings_of(given),
        pixels=pixels.of(given),
        shortlist=given.shortlist,
        memory_budget_mib=given.memory_budget_mib,
        limit=given.limit,
        allow_partial=given.allow_partial,
        force=given.force,
        allow_missing=given.allow_missing,
        stages=tuple(given.stage),
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


def evaluate(given: argparse.Namespace) -> int:
    """Score descriptors of the user's own; print scores and the path of the record."""
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
        stages=tuple(given.stage),
        export=given.export,
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


def extract(given: argparse.Namespace) -> int:
    """Describe images, and write their descriptors to one file."""
    from bench.cluster import connect
    from bench.describe import export, loading

    chosen = pixels.of(given)
    if given.images is not None:
        folder, wanted = export.images_in(given.images)
    else:
        folder, wanted = export.images_of(
            given.dataset, given.which, allow_partial=given.allow_partial
        )
    if chosen.query_crop == "whole":
        wanted = tuple(replace(image, box=None) for image in wanted)
    with connect.engine(given.engine, given.ray_address) as ray:
        settings = settings_of(given)
        loaded = loading.load(given.method, given.weights, given.device, settings, chosen.rule)
        write = partial(export.export, loaded, folder, wanted, given.output, force=given.force)
        if ray is None:
            write()
        else:
            from bench.cluster import dispatch

            with dispatch.crew(ray, given.method, given.weights, loaded, given.image_url) as crew:
                write(by=crew)
    print(given.output)
    return 0
