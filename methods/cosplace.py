"""CosPlace: a descriptor trained as classification of places by position; native size.

Berton, Masone, Caputo, "Rethinking Visual Geo-localization for Large-Scale Applications", CVPR
2022; with the files that its authors published.
"""

from __future__ import annotations

from types import SimpleNamespace

from bench.methods._nets import place_files

GROUP = "place recognition"
PROJECT = "gmberton/CosPlace"
SMALL, LARGE = (32, 64, 128, 256, 512), (32, 64, 128, 256, 512, 1024, 2048)
DIMS = {
    "resnet18": SMALL,
    "resnet50": LARGE,
    "resnet101": LARGE,
    "resnet152": LARGE,
    "vgg16": SMALL[1:],
}
VARIANTS = place_files.variants(DIMS, "resnet50-2048")
WEIGHTS = place_files.weights(VARIANTS, PROJECT)


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program."""
    from bench.methods._nets import places

    return places.load("cosplace", variant, PROJECT, weights, device)
