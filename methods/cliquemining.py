"""CliqueMining: SALAD's network, trained on batches of places that are hard to tell apart.

Izquierdo, Civera, "Close, But Not There: Boosting Geographic Distance Sensitivity in Visual Place
Recognition", ECCV 2024.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "place recognition"
VARIANTS = {"dinov2-8448": "ViT-B/14, 8448-d, images as 322 x 322 by Pillow"}
PROJECT, LOCAL = "serizba/cliquemining", 128
DRIVE = "1B06ysb-Wjb4KDcNrl-7pyj1mJve1jqdk"
WEIGHTS = {
    "dinov2-8448": {
        "file": "cliquemining.ckpt",
        "url": f"https://drive.google.com/uc?export=download&id={DRIVE}",
        "manual": f"Google Drive (https://drive.google.com/file/d/{DRIVE}), as {PROJECT} says",
        "licence": "not stated",
        "licence_code": "GPL-3.0 (of the program, none of which is here)",
        "training_set": "not stated in serizba/cliquemining",
        "dim": 8448,
    }
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    from bench.methods._nets import dinov2, dinov2_files, transport

    def build() -> dinov2.WithHead:
        return dinov2.WithHead(dinov2.DinoV2("base"), transport.Transport(768, LOCAL))

    return dinov2_files.load(
        f"cliquemining.{variant}", "salad", PROJECT, WEIGHTS[variant], build, weights, device,
        prefix="backbone.model.",
        config={"local_width": LOCAL, **transport.CONFIG},
        preprocess={"resize": "pillow-bilinear:322x322"},
    )  # fmt: skip
