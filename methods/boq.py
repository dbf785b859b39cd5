"""BoQ: learned queries that look at the positions of a feature map; images of one fixed size.

Ali-bey, Chaib-draa, Giguère, "BoQ: A Place is Worth a Bag of Learnable Queries", CVPR 2024; with
the files that its authors published.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "place recognition"
PROJECT = "amaralibey/Bag-of-Queries"
LICENCE = f"not stated for the weights; that of {PROJECT} is MIT"
TRAINING_SET = "GSV-Cities"
VARIANTS = {"resnet50-16384": f"ResNet-50, 16384-d, 384 x 384 pixels, trained on {TRAINING_SET}"}
WEIGHTS = {
    "resnet50-16384": {
        "file": "resnet50_16384.pth",
        "url": f"https://github.com/{PROJECT}/releases/download/v1.0/resnet50_16384.pth",
        "licence": LICENCE,
        "licence_code": "MIT",
        "training_set": TRAINING_SET,
        "dim": 16384,
    },
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program."""
    from bench.methods._nets import boq_resnet, families

    assert weights is not None  # WEIGHTS names a file for every variant
    release = families.Release(
        f"boq.{variant}", "boq-resnet50", 50, PROJECT, LICENCE,
        f"{TRAINING_SET}, if this is the published file", boq_resnet.read,
    )  # fmt: skip
    network, facts = families.load(
        boq_resnet.BoqResNet, families.read(weights, release), weights, release,
        boq_resnet.name_in_file, device,
    )  # fmt: skip
    config = {"backbone": "resnet50, three stages", "width": boq_resnet.WIDTH}
    side = boq_resnet.SIDE
    return families.method(network, facts, config, {"resize": f"bicubic:{side}x{side}"})
