"""BoQ: learned queries that look at the positions of a feature map; images of one fixed size.

Ali-bey, Chaib-draa, Giguère, "BoQ: A Place is Worth a Bag of Learnable Queries", CVPR 2024; with
the files that its authors published.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

GROUP = "place recognition"
PROJECT = "amaralibey/Bag-of-Queries"
SITE = f"https://github.com/{PROJECT}/releases/download/v1.0"
LICENCE = f"not stated for the weights; that of {PROJECT} is MIT"
TRAINING_SET = "GSV-Cities"
VARIANTS = {
    "dinov2-12288": f"ViT-B/14 of DINOv2, 12288-d, 322 x 322 pixels, trained on {TRAINING_SET}",
    "resnet50-16384": f"ResNet-50, 16384-d, 384 x 384 pixels, trained on {TRAINING_SET}",
}
WEIGHTS = {
    variant: {
        "file": f"{variant.replace('-', '_')}.pth",
        "url": f"{SITE}/{variant.replace('-', '_')}.pth",
        "licence": "not stated",
        "licence_code": "MIT",
        "training_set": TRAINING_SET,
        "dim": int(variant.partition("-")[2]),
    }
    for variant in VARIANTS
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program."""
    from bench.methods._nets import boq_dinov2, boq_resnet, families

    assert weights is not None  # WEIGHTS names a file for every variant
    dino = variant == "dinov2-12288"
    form: Any = boq_dinov2 if dino else boq_resnet
    release = families.Release(
        f"boq.{variant}", "boq-dinov2" if dino else "boq-resnet50", 12 if dino else 50, PROJECT,
        LICENCE, f"{TRAINING_SET}, if this is the published file", boq_resnet.read,
    )  # fmt: skip
    network, facts = families.load(
        boq_dinov2.BoqDino if dino else boq_resnet.BoqResNet,
        families.read(weights, release), weights, release, form.name_in_file, device,
    )  # fmt: skip
    backbone = "dinov2 base, without its last norm" if dino else "resnet50, three stages"
    config = {"backbone": backbone, "width": form.WIDTH}
    return families.method(network, facts, config, {"resize": f"bicubic:{form.SIDE}x{form.SIDE}"})
