"""ImAge: learned tokens that gather the place inside of DINOv2, without a head.

Lu et al., "Towards Implicit Aggregation: Robust Image Representation for Place Recognition in the
Transformer Era", NeurIPS 2025.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "place recognition"
PROJECT = "Lu-Feng/ImAge"
FILES = {
    "merged": ("ImAge_Merged.pth", "a unified data set"),
    "gsv": ("ImAge_GSV.pth", "GSV-Cities"),
}
VARIANTS = {
    name: f"ViT-B/14 with registers, 6144-d, images as 322 x 322, trained on {data}"
    for name, (_, data) in FILES.items()
}
WEIGHTS = {
    name: {
        "file": file,
        "url": f"https://github.com/{PROJECT}/releases/download/v1.0.0/{file}",
        "licence": "not stated",
        "licence_code": "MIT",
        "training_set": data,
        "dim": 6144,
    }
    for name, (file, data) in FILES.items()
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    from bench.methods._nets import dinov2_files, tokens

    return dinov2_files.load(
        f"image-vpr.{variant}",
        "image",
        PROJECT,
        WEIGHTS[variant],
        tokens.ImAge,
        weights,
        device,
        config={"registers": 4, "tokens": tokens.ImAge.count, "before_block": tokens.ImAge.before},
        preprocess={"resize": "bilinear:322x322"},
    )
