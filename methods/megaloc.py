"""MegaLoc: DINOv2 with features gathered by optimal transport, for every kind of place.

Berton, Masone, "MegaLoc: One Retrieval to Place Them All", CVPR workshops 2025.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "place recognition"
VARIANTS = {"dinov2-8448": "ViT-B/14, 8448-d, images to the nearest multiple of 14"}
PROJECT, LOCAL, DIM = "gmberton/MegaLoc", 256, 8448
WEIGHTS = {
    "dinov2-8448": {
        "file": "model.safetensors",
        "hub": PROJECT.replace("gmberton", "gberton"),
        "licence": "not stated",
        "licence_code": "MIT",
        "training_set": f"not stated in {PROJECT}",
        "dim": DIM,
    }
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    from bench.methods._nets import dinov2, dinov2_files, transport

    def build() -> dinov2.WithHead:
        return dinov2.WithHead(dinov2.DinoV2("base"), transport.Projected(768, LOCAL, DIM))

    return dinov2_files.load(
        f"megaloc.{variant}", "megaloc", PROJECT, WEIGHTS[variant], build, weights, device,
        config={"local_width": LOCAL, **transport.CONFIG},
    )  # fmt: skip
