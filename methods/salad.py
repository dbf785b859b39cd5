"""SALAD: DINOv2's patches gathered by optimal transport, with a bin for what says nothing.

Izquierdo, Civera, "Optimal Transport Aggregation for Visual Place Recognition", CVPR 2024.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "place recognition"
VARIANTS = {"dinov2-8448": "ViT-B/14, 8448-d, images as 322 x 322 by Pillow"}
PROJECT, LOCAL = "serizba/salad", 128
WEIGHTS = {
    "dinov2-8448": {
        "file": "dino_salad.ckpt",
        "url": f"https://github.com/{PROJECT}/releases/download/v1.0.0/dino_salad.ckpt",
        "licence": "not stated",
        "licence_code": "GPL-3.0 (of the program, none of which is here)",
        "training_set": "GSV-Cities",
        "dim": 8448,
    }
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    from bench.methods._nets import dinov2, dinov2_files, transport

    def build() -> dinov2.WithHead:
        return dinov2.WithHead(dinov2.DinoV2("base"), transport.Transport(768, LOCAL))

    return dinov2_files.load(
        f"salad.{variant}", "salad", PROJECT, WEIGHTS[variant], build, weights, device,
        prefix="backbone.model.",
        config={"local_width": LOCAL, **transport.CONFIG},
        preprocess={"resize": "pillow-bilinear:322x322"},
    )  # fmt: skip
