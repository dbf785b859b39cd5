"""Recipes: a training as data. Those of the three papers, and what they say to expect.

`time`, `expected` and `departures` are for people: what the authors state, none of which was
measured here, and where a recipe is not their program to the letter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bench.errors import BenchError, unknown
from bench.training.augment import STRONG, Augmentation


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
    time: str = "not stated by its authors"
    expected: str = ""
    departures: str = ""


ANY = "*"
FILTER = "crops are resized by an antialiased filter, where theirs use none or average areas"
DELG = {"margin": 0.1, "scale": 45.25, "learned": False, "attention": 1.0, "reconstruction": 10.0}
DELG_DEPARTURES = (
    "stride 2 on the 3x3 convolutions, as in the ImageNet weights that PyTorch has; weight decay "
    "1e-4 on all parameters, where only that of the attention's kernels is known; crops without "
    f"the condition on covered objects; {FILTER}"
)

LITE0_AUGMENTATION = replace(STRONG, area=(0.15, 1.0), rotation_deg=20.0)


SMALL = (
    "a few hundred photographs, each or each quarter a class; begins with a whitening fitted to "
    "them; the trunk is frozen; photographs are augmented in 12 ways only"
)


def lite0(method: str, expected: str = "", **changes: Any) -> Recipe:
    """Return a recipe of the weights that are shipped: heads on a frozen trunk, on a CPU."""
    made = Recipe(
        method=f"{method}.lite0",
        augmentation=LITE0_AUGMENTATION,
        side=320, batch=32, steps=200, lr=0.02, warmup=0.07, warmup_from=0.05,
        ema=0.98, views=12,
        expected=expected or "a part of the shipped variant, for the ablation",
        departures=SMALL,
    )  # fmt: skip
    return replace(made, **changes)


# Chosen by leaving out one source of photographs at a time: methods/weights/README.md.
LITE1 = {"exponent": 0.2, "centred": False, "fine": True, "bits": 8}


def lite1(method: str, strength: float, steps: int, **options: Any) -> Recipe:
    """Return a recipe of the heads that stay near plain GeM; all share their views."""
    return replace(
        lite0(method, f"methods/weights/README.md has the table of {method}.lite1"),
        method=f"{method}.lite1", steps=steps, views=6,
        options={**LITE1, "strength": strength, **options},
        departures=SMALL.replace("12", "6") + "; shrunk towards GeM without training",
    )  # fmt: skip


RECIPES = {
    "dolg-r50": Recipe(
        method="dolg.r50",
        options={"multi_atrous": False, "margin": 0.15, "scale": 30.0},
        augmentation=Augmentation(pca=0.1),
        batch=64, epochs=100, warmup=0.05, warmup_from=0.1,
        expected="README of feymanpriv/DOLG, queries cropped: "
        "ROxf M 81.20 H 62.55, RPar M 90.07 H 79.20",
        departures="batch and rate are those of the YAML in their repository; those of the "
        f"released models are not published. {FILTER}; the rate falls by the step, after the rise; "
        "crops of 512 pixels as in the released models, where the YAML has 224",
    ),
    "dolg-r50-paper": Recipe(
        method="dolg.r50",
        options={"multi_atrous": True, "margin": 0.15, "scale": 30.0},
        augmentation=Augmentation(pca=0.1),
        batch=64, epochs=100, warmup=0.05, warmup_from=0.1,
        expected="ICCV paper, whole queries: ROxf M 80.50 H 58.82, RPar M 89.81 H 77.70",
        departures="as dolg-r50",
    ),
    "dolg-r101": Recipe(
        method="dolg.r101",
        options={"multi_atrous": False, "margin": 0.15, "scale": 30.0},
        augmentation=Augmentation(pca=0.1),
        batch=64, epochs=100, warmup=0.05, warmup_from=0.1,
        expected="README of feymanpriv/DOLG, queries cropped: "
        "ROxf M 82.37 H 64.93, RPar M 90.97 H 81.71",
        departures="as dolg-r50",
    ),
    "delg-r50": Recipe(
        method="delg.r50",
        options=DELG,
        augmentation=Augmentation(flip=0.0),
        batch=256, steps=500_000, lr=0.01, nesterov=False, schedule="linear", clip=10.0,
        expected="ECCV paper, GLDv2-clean, global: ROxf M 73.6 H 51.0, RPar M 85.7 H 71.5; "
        "re-ranked: ROxf M 78.3 H 57.9, RPar M 85.7 H 71.0",
        departures=f"{DELG_DEPARTURES}; 500,000 steps are theirs at batch 256",
    ),
    "delg-r101": Recipe(
        method="delg.r101",
        options=DELG,
        augmentation=Augmentation(flip=0.0),
        batch=256, steps=500_000, lr=0.01, nesterov=False, schedule="linear", clip=10.0,
        expected="ECCV paper, GLDv2-clean, global: ROxf M 76.3 H 55.6, RPar M 86.6 H 72.4; "
        "re-ranked: ROxf M 81.2 H 64.0, RPar M 87.2 H 72.8",
        departures="as delg-r50",
    ),
    "token-r50": Recipe(
        method="token.r50",
        options={"margin": 0.2, "scale": 32.0},
        augmentation=Augmentation(area=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8),
        epochs=30, lr=0.00125, warmup=5 / 30, warmup_from=0.01, decay_1d=False,
        expected="README of MCC-WH/Token, query crop: ROxf M 79.79 H 62.68, RPar M 88.08 H 75.49",
        time="about 3 days on 4 RTX 3090 Ti (2.5 h an epoch), as its authors say",
        departures=f"all of GLDv2-clean instead of 80 %; {FILTER}",
    ),
    "token-r101": Recipe(
        method="token.r101",
        options={"margin": 0.2, "scale": 32.0},
        augmentation=Augmentation(area=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8),
        epochs=30, lr=0.00125, warmup=5 / 30, warmup_from=0.01, decay_1d=False,
        expected="README of MCC-WH/Token, query crop: ROxf M 82.16 H 65.75, RPar M 89.40 H 78.44",
        time="as token-r50: its authors do not say of which depth that is",
        departures="as token-r50",
    ),
    "dolg-lite0": lite0("dolg"),
    "dolg-lite0-no-local": lite0("dolg", options={"fusion": "none"}),
    "dolg-lite0-concatenation": lite0("dolg", options={"fusion": "concatenation"}),
    "dolg-lite0-no-multi-atrous": lite0("dolg", options={"multi_atrous": False}),
    "delg-lite0": lite0(
        "delg", steps=300,
        departures=f"{SMALL}; local features learn to match two views of a photograph, and the "
        "autoencoder serves the attention alone",
    ),
    "token-lite0": lite0("token"),
    "dolg-lite1": lite1("dolg", strength=0.5, steps=120, each=32),
    "delg-lite1": lite1("delg", strength=0.25, steps=300),
    "token-lite1": lite1("token", strength=0.25, steps=120, width=128),
    "plain": Recipe(
        method=ANY,
        augmentation=Augmentation(area=(0.2, 1.0), jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8),
        side=224, batch=32, epochs=30, lr=0.01, warmup=0.05, warmup_from=0.1,
        expected="nothing: a beginning for methods of your own",
    ),
}  # fmt: skip


def find(name: str | None, method: str) -> tuple[str, Recipe]:
    """Return the recipe called `name`, or the first that is written for a method "name.variant"."""
    if name is None:
        name = next((key for key, recipe in RECIPES.items() if recipe.method == method), None)
        if name is None:
            raise BenchError(
                f"{method} has no recipe of its own; choose one with --recipe: "
                f"{', '.join(RECIPES)}."
            )
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return name, RECIPES[name]


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
