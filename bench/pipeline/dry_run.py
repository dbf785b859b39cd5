"""What `run --dry-run` prints: the plan, what is to be described and how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench import stages
from bench.describe import engine, probe
from bench.pipeline import needs, stage_costs
from bench.pipeline.plan import Plan, jobs, room_needed
from bench.records.words import sentence
from bench.scoring import card
from bench.store import room

# Images of the shards of each list, and images per second of this machine (None: not known), to
# lines about the time on other machines.
Forecast = Callable[[Sequence[Sequence[int]], float | None], list[str]]


def describe_plan(planned: Plan, forecast: Forecast | None = None) -> list[str]:
    """Return what `--dry-run` prints; a disk without room is refused as in a run.

    `forecast` says how long a cluster would take, where one is asked for.
    """
    dataset, loaded = planned.dataset, planned.loaded
    info, out = loaded.info, []
    out.append(f"method: {info.name}.{info.variant} ({info.dim}-d), {info.weights['source']}")
    if dataset.absent is not None:
        gone = "{} database images and {} queries are absent".format(*dataset.absent)
        out.append(f"partial: {gone}, and are skipped")
    out.append(f"data set: {dataset.name} ({dataset.variant}), {dataset.folder}")
    all_jobs = [
        *jobs(planned),
        *(job for need in planned.needed for job in needs.jobs(need, planned.options)),
    ]
    for job in all_jobs:
        size = room.size(len(job.work.listed.images) * job.work.store.dim * 4)
        out.append(
            f"{job.phase.removeprefix('describe ')}: {len(job.work.listed.images)} images, "
            f"{job.images} to describe, {size} stored"
        )
    if "rerank" in planned.card:
        out.append(f"re-ranking: {sentence('candidates_rule', planned.card)}")
    if planned.card.get("stages"):
        out.append(f"stages: {stages.words(planned.card['stages'])}")
    out += stage_costs.lines(planned.chain)
    for word in ("compression", "search"):
        if planned.card[word] not in ("none (float32)", "exact"):
            out.append(f"{word}: {sentence(word, planned.card)}")
    out.append(f"device: {loaded.device}, {engine.precision(loaded)}")
    out.append(f"card: {card.short(planned.card)}, {sentence('crop_rule', planned.card)}")
    out.append(f"to write: {room_needed(planned, all_jobs)}")
    todo = [
        replace(image, found=str(job.work.listed.folder / image.path))
        for job in all_jobs
        if job.work.loaded is loaded
        for image in job.images_to_describe()
    ]
    probed = probe.probe(loaded, dataset.folder, todo) if todo else None
    if todo:
        out.append(probe.say_time(probed, len(todo)))
    if forecast is not None:
        lists = [job.shard_sizes() for job in all_jobs]
        out += forecast(lists, None if probed is None else 1 / probed.seconds)
    return out
