"""CVNet-Global: GeM and a linear layer of the CVNet files, at three scales.

Lee, Seong, Lee, Kim, "Correlation Verification for Image Retrieval", CVPR 2022; the global
descriptor of the files that its authors published, without their re-ranker.
"""

from __future__ import annotations

from types import SimpleNamespace

from bench.methods._nets import cvnet_files

GROUP = "landmarks"
VARIANTS = {f"r{depth}": f"ResNet-{depth}, 2048-d, without the re-ranker" for depth in (50, 101)}
WEIGHTS = {f"r{depth}": cvnet_files.weights(depth, "not stated") for depth in (50, 101)}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program."""
    from bench.methods._nets import cvnet, gem

    assert weights is not None  # WEIGHTS names a file for every variant
    depth = int(variant.removeprefix("r"))
    config = {"pooling": "gem, p of the file", "eps": gem.EPS}
    return cvnet.load(
        f"cvnet.{variant}", depth, lambda: gem.GemNet(depth, cvnet.DIM), weights, device, config,
        {"scale_sampling": "opencv"},
    )  # fmt: skip
