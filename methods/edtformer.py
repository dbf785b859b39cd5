"""EDTformer: learned queries that look at the tokens of a side path of DINOv2.

Jin et al., "EDTformer: An Efficient Decoder Transformer for Visual Place Recognition", 2025.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "place recognition"
VARIANTS = {"dinov2-4096": "ViT-B/14, 4096-d, images as 322 x 322, not antialiased, as published"}
PROJECT = "Tong-Jin01/EDTformer"
WEIGHTS = {
    "dinov2-4096": {
        "file": "EDTformer.pth",
        "url": f"https://github.com/{PROJECT}/releases/download/v1.0.0/EDTformer.pth",
        "licence": "not stated",
        "licence_code": "MIT",
        "training_set": f"not stated in {PROJECT}",
        "dim": 4096,
    }
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    from bench.methods._nets import dinov2_files, tokens

    return dinov2_files.load(
        f"edtformer.{variant}",
        "edtformer",
        PROJECT,
        WEIGHTS[variant],
        tokens.EdtFormer,
        weights,
        device,
        config={"queries": tokens.EdtFormer.count, "heads": tokens.EdtFormer.heads},
        preprocess={"resize": "bilinear-no-antialias:322x322"},
    )
