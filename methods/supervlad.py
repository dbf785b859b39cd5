"""SuperVLAD: sums of DINOv2's patches by soft assignment to four clusters, without centres.

Lu et al., "SuperVLAD: Compact and Robust Image Descriptors for Visual Place Recognition", NeurIPS
2024; the model without encoder across images, whose descriptor does not depend on the batch.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "place recognition"
VARIANTS = {"dinov2-3072": "ViT-B/14, 3072-d, images as 322 x 322, not antialiased, as published"}
PROJECT, DRIVE = "Lu-Feng/SuperVLAD", "1wRkUO4E8s5hNRNNIWcuA8RUvlGob3Tbf"
WEIGHTS = {
    "dinov2-3072": {
        "file": "SuperVLAD.pth",
        "url": f"https://drive.google.com/uc?export=download&id={DRIVE}",
        "manual": f"Google Drive (https://drive.google.com/file/d/{DRIVE}), as {PROJECT} says",
        "licence": "not stated",
        "licence_code": "MIT",
        "training_set": f"not stated in {PROJECT}",
        "dim": 3072,
    }
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    from bench.methods._nets import dinov2_files, tokens

    return dinov2_files.load(
        f"supervlad.{variant}",
        "supervlad",
        PROJECT,
        WEIGHTS[variant],
        tokens.SuperVlad,
        weights,
        device,
        config={"clusters": tokens.SuperVlad.clusters, "ghosts": tokens.SuperVlad.ghosts},
        preprocess={"resize": "bilinear-no-antialias:322x322"},
    )
