"""The files that the author of EigenPlaces and CosPlace published; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CODE = "MIT"
LICENCE = "not stated for the weights, which are trained on Google Street View"
TRAINING_SET = "SF-XL"
BACKBONES = {
    "resnet18": "ResNet18",
    "resnet50": "ResNet50",
    "resnet101": "ResNet101",
    "resnet152": "ResNet152",
    "vgg16": "VGG16",
}


def variants(dims: Mapping[str, Sequence[int]], first: str) -> dict[str, str]:
    """Return a line for each "backbone-dim", `first` before the others."""
    lines = {
        f"{backbone}-{dim}": f"{BACKBONES[backbone]}, {dim}-d, trained on {TRAINING_SET}"
        for backbone, those in dims.items()
        for dim in those
    }
    return {first: lines[first], **lines}


def weights(variants: Mapping[str, str], project: str) -> dict[str, dict[str, Any]]:
    """Return the facts about the file of each variant, on the releases of a project of GitHub."""
    files = {}
    for variant in variants:
        backbone, _, dim = variant.partition("-")
        file = f"{BACKBONES[backbone]}_{dim}_{project.partition('/')[2].lower()}.pth"
        files[variant] = {
            "file": file,
            "url": f"https://github.com/{project}/releases/download/v1.0/{file}",
            "licence": "not stated (trained on Google Street View)",
            "licence_code": CODE,
            "training_set": TRAINING_SET,
            "dim": int(dim),
        }
    return files
