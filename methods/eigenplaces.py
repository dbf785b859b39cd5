"""EigenPlaces: a descriptor trained on views of a place from many sides; native size.

Berton, Trivigno, Caputo, Masone, "EigenPlaces: Training Viewpoint Robust Models for Visual Place
Recognition", ICCV 2023; with the files that its authors published.
"""

from __future__ import annotations

from types import SimpleNamespace

from bench.methods._nets import place_files

GROUP = "place recognition"
PROJECT = "gmberton/EigenPlaces"
DIMS = {
    "resnet18": (256, 512),
    "resnet50": (128, 256, 512, 2048),
    "resnet101": (128, 256, 512, 2048),
    "vgg16": (512,),
}
VARIANTS = place_files.variants(DIMS, "resnet50-2048")
WEIGHTS = place_files.weights(VARIANTS, PROJECT)


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program."""
    from bench.methods._nets import places

    return places.load("eigenplaces", variant, PROJECT, weights, device)
