"""SelaVPR++: a side path of convolutions beside DINOv2, and binary codes for a first search.

Lu et al., "SelaVPR++: Towards Seamless Adaptation of Foundation Models for Efficient Place
Recognition", TPAMI 2025.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "place recognition"
PROJECT = "Lu-Feng/SelaVPRplusplus"
DIMS = {"base": 2048, "large": 4096}
VARIANTS = {
    size + kind: f"ViT-{size[0].upper()}/14, {dim}-d{', and 512 bits' * bool(kind)}, images as "
    "322 x 322"
    for kind in ("", "-rerank")
    for size, dim in DIMS.items()
}


def _file(variant: str) -> dict[str, object]:
    file = f"SelaVPRplusplus_{variant.replace('-', '_')}.pth"
    return {
        "file": file,
        "url": f"https://github.com/{PROJECT}/releases/download/SelaVPR%2B%2B/{file}",
        "licence": "not stated",
        "licence_code": "MIT",
        "training_set": "a unified data set",
        "dim": DIMS[variant.partition("-")[0]],
    }


WEIGHTS = {variant: _file(variant) for variant in VARIANTS}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names.

    The variants `…-rerank` have `codes(batch)` as well, which `extract` writes.
    """
    from bench.methods._nets import dinov2, dinov2_files, selavpr

    size, _, codes = variant.partition("-")
    family = "selavprpp-rerank" if codes else "selavprpp"
    method = dinov2_files.load(
        f"selavprpp.{variant}", family, PROJECT, WEIGHTS[variant],
        lambda: selavpr.SelaVpr(size, bool(codes)), weights, device,
        depth=dinov2.DEPTHS[size], config={"size": size, "pooling": "gem, p of the file"},
        preprocess={"resize": "bilinear:322x322"},
    )  # fmt: skip
    if codes:
        method.codes, method.code_bits = method.network.codes, selavpr.BITS
    return method
