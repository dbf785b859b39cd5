"""SALAD: DINOv2's patches gathered by optimal transport, with a bin for what says nothing.

Izquierdo, Civera, "Optimal Transport Aggregation for Visual Place Recognition", CVPR 2024.
"""

from __future__ import annotations

from types import SimpleNamespace

from bench.methods._nets import transport_files

GROUP, PROJECT = "place recognition", "serizba/salad"
VARIANTS = transport_files.VARIANTS
WEIGHTS = {
    transport_files.VARIANT: {
        **transport_files.FILE,
        "file": "dino_salad.ckpt",
        "url": f"https://github.com/{PROJECT}/releases/download/v1.0.0/dino_salad.ckpt",
        "training_set": "GSV-Cities",
    }
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    return transport_files.load("salad", PROJECT, WEIGHTS[variant], weights, device)
