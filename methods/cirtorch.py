"""GeM networks of Radenović et al. as published: longest side 1024, three scales, whitening.

Radenović, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019;
with the files and the program (cnnimageretrieval-pytorch) that its authors published.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

GROUP = "landmarks"
PROJECT = "filipradenovic/cnnimageretrieval-pytorch"
LICENCE = f"not stated for the weights; that of {PROJECT} is MIT"
HOST = "http://cmp.felk.cvut.cz/cnnimageretrieval/data/networks"
GLD, SFM = "google-landmarks-2018", "retrieval-SfM-120k"
FILES = {
    "gl18-r50": "gl18/gl18-tl-resnet50-gem-w-83fdc30.pth",
    "gl18-r101": "gl18/gl18-tl-resnet101-gem-w-a4d43db.pth",
    "gl18-r152": "gl18/gl18-tl-resnet152-gem-w-21278d5.pth",
    "sfm120k-r50-w": "retrieval-SfM-120k/rSfM120k-tl-resnet50-gem-w-97bf910.pth",
    "sfm120k-r101-w": "retrieval-SfM-120k/rSfM120k-tl-resnet101-gem-w-a155e54.pth",
    "sfm120k-r152-w": "retrieval-SfM-120k/rSfM120k-tl-resnet152-gem-w-f39cada.pth",
    "sfm120k-r101-lw": "retrieval-SfM-120k/retrievalSfM120k-resnet101-gem-b80fb85.pth",
}


def _training_set(variant: str) -> str:
    return GLD if variant.startswith("gl18") else SFM


def _line(variant: str) -> str:
    depth = variant.partition("-r")[2].partition("-")[0]
    how = "power mean, learned whitening" if variant.endswith("-lw") else "whitening in the network"
    return f"ResNet-{depth}, 2048-d, {how}, trained on {_training_set(variant)}"


VARIANTS = {variant: _line(variant) for variant in FILES}
WEIGHTS: dict[str, dict[str, Any]] = {
    variant: {
        "file": path.rpartition("/")[2],
        "url": f"{HOST}/{path}",
        "licence": "not stated",
        "licence_code": "MIT",
        "training_set": _training_set(variant),
        "dim": 2048,
    }
    for variant, path in FILES.items()
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program, or its flat state.

    In a flat state the learned whitening is `Lw.m` (2048, 1) and `Lw.P` (dim, 2048). A network
    without whitening in it and without those is described without: 2048 numbers.
    """
    from bench.methods._nets import cirtorch, families

    assert weights is not None  # WEIGHTS names a file for every variant
    depth = int(variant.partition("-r")[2].partition("-")[0])
    inside = not variant.endswith("-lw")
    release = families.Release(
        f"cirtorch.{variant}", "cirtorch-w" if inside else "cirtorch-lw", depth, PROJECT, LICENCE,
        f"{_training_set(variant)}, if this is the published file", cirtorch.read,
    )  # fmt: skip
    return cirtorch.load(release, weights, device, inside=inside)
