"""A record's chain walked again from stored descriptors: `verify --descriptors`.

Nothing is described: where the store lacks rows, the sentence names the command that makes them.
Method, data set and stages are those that the record states, looked up among known ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import datasets, methods, plugins, stages
from bench.describe import extract
from bench.errors import BenchError
from bench.pipeline import plan as plans
from bench.pipeline.chain import with_codes
from bench.pipeline.options import Options
from bench.pipeline.run import describe, described
from bench.pipeline.score import arrays_of, counted
from bench.pipeline.space import How
from bench.pipeline.walk import walk
from bench.records import blocks, lists, record, replay
from bench.scoring import card
from bench.search import missing
from bench.stage import Stage
from bench.store import shards
from bench.system.progress import Progress


def faults(path: Path, options: Options, own: str | None = None) -> list[str]:
    """Return which arrays of the record at `path` are not those that stored descriptors give.

    `options` are those of the record's command, but for the paths in them, which are the user's:
    `own` is the path of the data set. Raises BenchError where the store lacks rows, or where the
    record names what is not known here.
    """
    content = record.read(path)
    planned = _plan(content, options, own, path.name)

    def refuse(job: extract.Job, _progress: Progress) -> tuple[int, list[str]]:
        if job.images:
            raise BenchError(
                f"{job.phase}: descriptors of {job.images} images are not stored; compute them "
                f"with {content['command']!r}."
            )
        return 0, []

    with shards.in_use():
        lists, asked = described(planned, describe(planned, refuse, refuse), refuse, refuse)
        how = How(options.memory_budget_mib << 20, planned.loaded.device)
        walked = walk(lists, asked, planned.chain, how)
    searched = planned.card | counted(walked, asked.ground.absent, planned.options)
    fresh = missing.on_card(searched, asked.ground.absent)
    if card.card_id(fresh) != content["card_id"]:
        return [f"its card is {content['card_id'][:8]}, but its command gives {card.short(fresh)}"]
    stored = record.read_arrays(path, content)
    stored.pop(blocks.ARRAY, None)  # of scores and lists, which `verify` looks at
    again = arrays_of(walked, planned.dataset, planned.chain)
    return [
        f"{name} differs from that of the stored descriptors"
        for name in sorted(stored.keys() | again.keys())
        if name not in stored
        or name not in again
        or not np.array_equal(stored[name], again[name], equal_nan=stored[name].dtype.kind == "f")
    ]


def _plan(content: Mapping[str, Any], options: Options, own: str | None, where: str) -> plans.Plan:
    """Return the plan of a record: its method on its data set, with the stages of its card."""
    method, name = content["method"], content["card"]["dataset"]["name"]
    full = methods.known(method["name"], method["variant"])
    if own is not None:
        lists.dataset_of(content["card"], own, where)
    for stated in (*options.distractors, *([] if own else [name])):
        plugins.known(datasets.KIND, stated)
    if options.local is not None:
        plugins.known(methods.KIND, plugins.split(options.local)[0])
    chain: list[Stage] = []
    for entry in replay.entries(content["card"]):
        stage = stages.known(entry)
        if stage is None:
            raise BenchError(
                f"the stage {entry['stage']!r} of the card is not installed; install the package "
                "or give the file that provides it."
            )
        for need in stage.needs():
            if need.method is not None:
                plugins.known(methods.KIND, need.method)
            if need.source is not None:
                plugins.known(datasets.KIND, need.source)
        chain.append(stage)
    bare = replace(with_codes(options), stages=(), rerank=None, measure="none", force=False)
    return plans.plan(full, own or name, bare, chain)
