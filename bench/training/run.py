"""A training from names to a final file: the list of calls of `python -m bench train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench import methods
from bench.errors import BenchError
from bench.root import RESULTS
from bench.store.room import size
from bench.system import machine
from bench.system.hashing import canonical_json, plain
from bench.system.notes import note
from bench.training import checkpoint, loop, parallel, photographs, recipes, validate, views
from bench.training.options import Options
from bench.types import Preprocess, Trainable
from bench.weights import TRAINING

BEGIN_VIEWS = 4  # that a method may fit layers to before the first step


def recipe_of(options: Options, method: str) -> tuple[str, recipes.Recipe]:
    """Return name and recipe with what the command line changes in it."""
    name, found = recipes.find(options.recipe, method)
    changed: dict[str, Any] = {
        key: getattr(options, key)
        for key in ("steps", "epochs", "batch", "side", "lr")
        if getattr(options, key) is not None
    }
    if options.epochs is not None and options.steps is None:
        changed["steps"] = None
    inner = {**found.options, **({"init": options.init} if options.init else {})}
    return name, replace(found, method=method, options=inner, **changed)


def train(options: Options) -> Path:
    """Train, and return the path of the final weights."""
    with parallel.joined(options.device) as place:
        return _train(options, place)


def describe(options: Options) -> list[str]:
    """Return what `--dry-run` prints; nothing is trained or written."""
    plan = planned(options, parallel.Place(0, 1, machine.pick_device(options.device)))
    recipe, network = plan.recipe, plan.trainable.network
    side = f"{recipe.side} x {recipe.side}"
    every = [p.numel() for p in network.parameters()]
    trained = [p.numel() for p in network.parameters() if p.requires_grad]
    state_bytes = 4 * (sum(every) + 2 * sum(trained))
    per_epoch = len(plan.data.files) // recipe.batch
    return [
        f"method: {plan.config['method']}, recipe {plan.config['recipe']}",
        photographs.about(plan.data),
        f"steps: {plan.total} of {recipe.batch} photographs, {side} pixels; {per_epoch} an epoch",
        f"parameters: {sum(every):,}, trained {sum(trained):,}: {size(state_bytes)} with "
        + "gradients and momentum",
        f"checkpoint: about {size(4 * (sum(every) + sum(trained)))} in {plan.folder}",
        f"time: {recipe.time}",
        f"expected: {recipe.expected or 'nothing is known'}",
        f"departs from its authors' program: {recipe.departures or 'it is not from a paper'}",
    ]


@dataclass(frozen=True)
class Plan:
    """A training that is about to start: everything loaded and checked, nothing computed."""

    recipe: recipes.Recipe
    data: photographs.Photographs
    trainable: Trainable
    rule: Preprocess
    total: int
    folder: Path
    validation: validate.Validation | None
    config: dict[str, Any]
    whole: photographs.Photographs  # with those that are left out
    rows: NDArray[np.int64] | None  # of `data` in `whole`


def planned(options: Options, place: parallel.Place) -> Plan:
    """Load and check everything that a training needs."""
    method = methods.full_name(options.method)
    name, recipe = recipe_of(options, method)
    whole = data = photographs.read(options.data, options.classes)
    rows = None
    if options.leave_out is not None:
        data, rows = photographs.without(whole, options.leave_out)
    count = len(data.files)
    if count < recipe.batch:
        raise BenchError(
            f"{data.name} has {count} photographs, fewer than a batch of {recipe.batch}; use "
            f"--batch {count} or less."
        )
    if recipe.batch % place.processes:
        raise BenchError(
            f"a batch of {recipe.batch} cannot be divided equally among {place.processes} "
            "processes; change --batch."
        )
    folder = options.out or RESULTS.parent / "training-runs" / f"{method}-{name}"
    validation = None
    if options.validate is not None:
        validation = validate.prepare(options.method, options.validate, place.device, folder)
    torch.manual_seed(options.seed)
    trainable, rule = methods.trainable(
        options.method, len(data.classes), recipe.options, place.device
    )
    _check_count(method, data, recipe, getattr(trainable, "least_outputs", 0))
    total = recipe.steps or max(1, round(recipe.epochs * (count // recipe.batch)))
    settings = plain(recipe)
    for words in ("time", "expected", "departures"):
        del settings[words]
    config = {
        "method": method,
        "recipe": name,
        "settings": settings,
        "data": {
            "name": data.name, "sha256": data.sha256, "photographs": count,
            "classes": len(data.classes), "licence": data.licence,
        },
        "seed": options.seed,
        "steps": total,
        "validation": validation and validation.dataset.name,
    }  # fmt: skip
    return Plan(recipe, data, trainable, rule, total, folder, validation, config, whole, rows)


def _check_count(
    method: str, data: photographs.Photographs, recipe: recipes.Recipe, least: int
) -> None:
    """Refuse too few photographs for the layers that a method fits before the first step."""
    views, count = min(BEGIN_VIEWS, recipe.views), len(data.files)
    if views and count * views < least:
        raise BenchError(
            f"{data.name} has {count} photographs, and {method} fits layers to {views} views of "
            f"each before the first step: it needs {-(-least // views)} photographs or more."
        )


def _train(options: Options, place: parallel.Place) -> Path:
    plan = planned(options, place)
    recipe, data, folder = plan.recipe, plan.data, plan.folder
    if place.first:
        checkpoint.begin(folder, plan.config)
        note(photographs.about(data))
    parallel.wait(place)
    workers = loop.default_workers(place.device) if options.workers is None else options.workers
    channels = plan.rule.channels
    training = loop.Training(
        plan.trainable, plan.rule, recipe,
        photographs.Augmented(data, recipe.augmentation, recipe.side, options.seed, channels),
        len(data.files), plan.total, options.seed, place, folder, workers,
        60 * options.checkpoint_minutes, metadata(plan.config, plan.trainable), plan.validation,
        options.validate_steps or len(data.files) // recipe.batch,
    )  # fmt: skip
    if recipe.views:
        training.views = _views(training, plan)
        begin: Any = getattr(plan.trainable, "begin", None)
        if begin is not None:
            begin(crops.to(place.device) for crops in training.views.first(BEGIN_VIEWS))
    loop.run(training)
    path = folder / "final.safetensors"
    if place.first:
        checkpoint.write_weights(path, loop.final_weights(training), training.metadata)
    return path


def _views(training: loop.Training, plan: Plan) -> views.Views:
    """Return the views of the photographs, from files that have all of them."""
    if plan.rows is None:
        return views.prepare(training)
    augmented = photographs.Augmented(
        plan.whole, plan.recipe.augmentation, plan.recipe.side, training.seed, plan.rule.channels
    )
    of_all = replace(training, data=augmented, count=len(plan.whole.files))
    return views.prepare(of_all).part(plan.rows, plan.data.labels)


def metadata(config: Mapping[str, Any], trainable: Any) -> dict[str, str]:
    """Return the facts stored in the final file: one entry of ours, and those of the plug-in."""
    stated = {
        **config,
        "init": config["settings"]["options"].get("init") or "the plug-in's own weights",
        "source": machine.source(),
        "torch": torch.__version__,
    }
    own: Any = getattr(trainable, "metadata", dict)
    return {TRAINING: canonical_json(stated), **own()}
