"""Recipes: a training as data. Those of the three papers, and what they say to expect.

`expected` and `departures` are for people. Numbers in `expected` are their authors', nothing of it
was measured here; `departures` says where a recipe is not the authors' program to the letter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.errors import unknown
from bench.training.augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """A training.

    method         the variant it was written for; others may be trained by it as well
    options        for the plug-in's `trainable`: init, margin, scale, multi_atrous, …
    side           of the square crops, in pixels
    batch          photographs of a step, over all processes
    epochs         passes over the photographs; `steps` overrides them where it is given
    lr             peak learning rate of SGD with `momentum`
    warmup         part of the training in which the rate rises to `lr`, linearly from
                   `warmup_from` times `lr`; afterwards it falls to 0 as `schedule` says
    weight_decay   of all parameters, or, without `decay_1d`, of those with two axes or more
    clip           largest norm of all gradients together, or None
    ema            decay of a running mean of the weights, which then are the final ones, or None
    views          0: a photograph is augmented anew in every epoch; N: in N ways, in turn, whose
                   outputs of the network's frozen part are computed once and kept
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)
    side: int = 512
    batch: int = 128
    epochs: float = 30
    steps: int | None = None
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = True
    schedule: Literal["cosine", "linear"] = "cosine"
    warmup: float = 0.0
    warmup_from: float = 0.0
    weight_decay: float = 1e-4
    decay_1d: bool = True
    clip: float | None = None
    ema: float | None = None
    views: int = 0
    expected: str = ""
    departures: str = ""


RECIPES = {
    "dolg-r50": Recipe(
        method="dolg.r50",
        augmentation=Augmentation(pca=0.1),
        epochs=100, lr=0.05, warmup=0.05, warmup_from=0.1,
    ),
}  # fmt: skip


def find(name: str) -> Recipe:
    """Return the recipe called `name`."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def for_method(method: str) -> str:
    """Return the name of the first recipe written for a method "name.variant"."""
    for name, recipe in RECIPES.items():
        if recipe.method == method:
            return name
    raise unknown("recipe for the method", method, [r.method for r in RECIPES.values()])


def rate(recipe: Recipe, step: int, total: int) -> float:
    """Return the learning rate of step 0..total - 1.

    The rise takes round(warmup * total) steps; the fall reaches 0 after the last step.
    """
    rise = round(recipe.warmup * total)
    if step < rise:
        return recipe.lr * (recipe.warmup_from + (1 - recipe.warmup_from) * step / rise)
    done = (step - rise) / max(1, total - rise)
    return recipe.lr * (
        (1 + math.cos(math.pi * done)) / 2 if recipe.schedule == "cosine" else 1 - done
    )
