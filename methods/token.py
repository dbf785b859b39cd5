"""Token: a feature map gathered into four tokens and refined to one descriptor, at three scales.

Wu et al., "Learning Token-Based Representation for Image Retrieval", AAAI 2022; with the
checkpoints its authors published in April 2022 (those of December 2021 are for another network).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from bench.methods._nets import token_files

GROUP = "landmarks"
VARIANTS = {
    "lite1": "EfficientNet-Lite0, 512-d, demonstration weights near plain GeM",
    "lite0": "EfficientNet-Lite0, 512-d, demonstration weights trained on package photographs",
    "r101": "ResNet-101, 1024-d, trained on GLDv2-clean",
    "r50": "ResNet-50, 1024-d, trained on GLDv2-clean",
}
WEIGHTS = {
    "r101": token_files.drive("R101-Token.pth", "1g_fvpaSyYn9QmzyVnoY7cDlUL7EZWbZz"),
    "r50": token_files.drive("R50-Token.pth", "111CQpn38d2P82VhbawMrM5wGNMU9AlFq"),
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the official program."""
    from bench.methods._lite import method
    from bench.methods._nets import token, token_release

    if variant in ("lite0", "lite1"):
        return method.load("token", variant, weights, device)
    depth = int(variant.removeprefix("r"))
    return token_release.load(
        f"token.{variant}", "token", depth,
        lambda: token.Token(depth), {"aggregation": f"{token.TOKENS} tokens"}, weights, device,
    )  # fmt: skip


def trainable(variant: str, classes: int, options: Mapping[str, Any], device: str) -> Any:
    """Return Token as its authors train it: ArcFace on the descriptor, nothing on the tokens."""
    from bench.methods._nets import objectives, token, token_release
    from bench.nn import heads

    if variant in ("lite0", "lite1"):
        from bench.methods._lite import training

        return training.token(classes, options, device)
    depth = objectives.depth_of(variant, ("r50", "r101"), "token")
    chosen = objectives.options(options, margin=0.2, scale=32.0)
    model = token.Token(depth)
    objectives.begin(model.backbone, depth, chosen["init"])
    head = heads.ArcFace(classes, token.DIM, chosen["margin"], chosen["scale"])
    return objectives.Classified(
        model, head, token_release.RULE, token_release.name_in_file, device
    )
