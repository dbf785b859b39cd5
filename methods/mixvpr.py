"""MixVPR: positions of a feature map mixed by MLPs; images of 320 x 320 pixels.

Ali-bey, Chaib-draa, Giguère, "MixVPR: Feature Mixing for Visual Place Recognition", WACV 2023; with
the files that its authors published.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

GROUP = "place recognition"
PROJECT = "amaralibey/MixVPR"
LICENCE = "not stated for the weights; the project has no licence file"
TRAINING_SET = "GSV-Cities"
SIZES = {4096: (1024, 4), 512: (256, 2), 128: (64, 2)}  # channels and rows of a descriptor
VARIANTS = {f"resnet50-{dim}": f"ResNet-50, {dim}-d, trained on {TRAINING_SET}" for dim in SIZES}


def _file(dim: int, file_id: str) -> dict[str, Any]:
    """Return the facts about a file that the README links to on Google Drive."""
    return {
        "file": f"resnet50_MixVPR_{dim}.ckpt",
        "url": f"https://drive.google.com/uc?export=download&id={file_id}",
        "manual": f"Google Drive (https://drive.google.com/file/d/{file_id}), as {PROJECT} says",
        "licence": "not stated",
        "licence_code": "not stated",
        "training_set": TRAINING_SET,
        "dim": dim,
    }


WEIGHTS = {
    "resnet50-4096": _file(4096, "1vuz3PvnR7vxnDDLQrdHJaOA04SQrtk5L"),
    "resnet50-512": _file(512, "1khiTUNzZhfV2UUupZoIsPIbsMRBYVDqj"),
    "resnet50-128": _file(128, "1DQnefjk1hVICOEYPwE4-CZAZOvi1NSJz"),
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program."""
    from bench.methods._nets import families, mixvpr

    assert weights is not None  # WEIGHTS names a file for every variant
    channels, rows = SIZES[int(variant.partition("-")[2])]
    release = families.Release(
        f"mixvpr.{variant}", "mixvpr", 50, PROJECT, LICENCE,
        f"{TRAINING_SET}, if this is the published file",
    )  # fmt: skip
    network, facts = families.load(
        lambda: mixvpr.MixVpr(channels, rows), families.read(weights, release), weights, release,
        mixvpr.name_in_file, device,
    )  # fmt: skip
    config = {"backbone": "resnet50, three stages", "channels": channels, "rows": rows}
    side = mixvpr.SIDE
    return families.method(network, facts, config, {"resize": f"pillow-bilinear:{side}x{side}"})
