"""SuperGlobal: CVNet's weights with other activations and poolings, maximum over three scales.

Shao, Chen, Karpur, Cui, Araujo, Cao, "Global Features are All You Need for Image Retrieval and
Reranking", ICCV 2023; the descriptor of the program that its authors published. It resizes by
torchvision, which antialiases since version 0.17 and did not when the paper was written.
"""

from __future__ import annotations

from types import SimpleNamespace

from bench.methods._nets import cvnet_files

GROUP = "landmarks"
VARIANTS = {
    "r50": "ResNet-50, 2048-d, CVNet's weights; scales antialiased",
    "r101": "ResNet-101, 2048-d, CVNet's weights; scales antialiased",
    "r50-2023": "r50 with scales not antialiased, as in the paper's environment",
    "r101-2023": "r101 with scales not antialiased, as in the paper's environment",
}
WEIGHTS = {
    variant: cvnet_files.weights(int(variant.partition("-")[0].removeprefix("r")), "MIT")
    for variant in VARIANTS
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of CVNet."""
    from bench.methods._nets import cvnet, superglobal

    assert weights is not None  # WEIGHTS names a file for every variant
    size, _, year = variant.partition("-")
    depth = int(size.removeprefix("r"))
    config = {
        "pooling": "regional gem, then gem",
        "p": superglobal.P,
        "eps": superglobal.EPS,
        "region_p": superglobal.REGION_P,
        "least_activation": superglobal.FLOOR,
    }
    rule = {
        "scale_size": "floor",
        "scale_sampling": "size-ratio" if year else "antialias",
        "combine": "maximum",
    }
    return cvnet.load(
        f"superglobal.{variant}", depth, lambda: superglobal.SuperGlobal(depth, cvnet.DIM), weights,
        device, config, rule,
    )  # fmt: skip
