"""The options of a training: each is declared here, with its default and its line of help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.option import above_zero, natural, option, positive, required

Classes = Literal["folder", "photograph"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says; None: what the recipe says."""

    method: str = required("a method, or a plug-in file", metavar="NAME[.VARIANT]")
    data: Path = required(
        "a folder with a folder of photographs per class, or a CSV as GLDv2's train_clean.csv",
        metavar="PATH",
    )
    recipe: str | None = option(
        None, "a recipe (default: the one written for the method)", metavar="NAME"
    )
    classes: Classes = option("folder", "whether each folder or each photograph is a class")
    leave_out: Path | None = option(
        None,
        "a text file with a class, or the name before its last hyphen, on each line: these are not "
        "trained on; views of all photographs are computed and shared",
        metavar="PATH",
    )
    out: Path | None = option(
        None,
        "folder of the run; an interrupted training continues there (default: "
        "training-runs/METHOD-RECIPE in the checkout)",
        metavar="DIR",
    )
    validate: str | None = option(
        None, "validate on this data set, or dataset.json", metavar="NAME"
    )
    validate_steps: int | None = option(
        None, "validate every N steps (default: every epoch)", metavar="N", parse=positive
    )
    steps: int | None = option(None, "length in steps", metavar="N", parse=positive)
    epochs: float | None = option(None, "length in epochs", metavar="N", parse=above_zero)
    batch: int | None = option(None, "photographs per step", metavar="N", parse=positive)
    side: int | None = option(None, "side of the square crops", metavar="PX", parse=positive)
    lr: float | None = option(None, "peak learning rate", metavar="X", parse=above_zero)
    init: str | None = option(
        None,
        "ImageNet checkpoint of the backbone, or random (default: downloaded by timm)",
        metavar="PATH",
    )
    seed: int = option(0, "seed of all random numbers", metavar="N", parse=natural)
    device: str | None = option(
        None, "cpu, cuda or cuda:N (default: a GPU where there is one)", metavar="DEVICE"
    )
    workers: int | None = option(
        None,
        "processes that decode images (default: up to 16 for a GPU, else 0)",
        metavar="N",
        parse=natural,
    )
    checkpoint_minutes: float = option(
        5.0,
        "write a checkpoint every N minutes, and at the end",
        metavar="N",
        parse=above_zero,
    )
