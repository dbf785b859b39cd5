"""What the checkpoints published by Token's authors share: pixels, key names, facts, loading.

Wu et al., "Learning Token-Based Representation for Image Retrieval", AAAI 2022, section 4.1, and
the authors' test program.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from torch import nn

from bench.methods._nets import families, resnet, token_files

RULE = {
    "channels": "rgb",
    "orientation": "ignore",
    "crop_rounding": "round",
    "max_side_px": 1024,
    "cap_filter": "thumbnail-lanczos",
    "query_cap": "relative",
    "mean": (123.675, 116.28, 103.53),
    "std": (58.395, 57.12, 57.375),
    "scales": (1.0, 1.4142135623730951, 0.7071067811865476),
    "scale_size": "floor",
    "scale_sampling": "scale-factor",
}


def load(
    variant: str,
    family: str,
    depth: int,
    build: Callable[[], nn.Module],
    config: dict[str, Any],
    weights: str | None,
    device: str,
) -> SimpleNamespace:
    """Return the method `variant` with the network that `build` makes and the weights of a file.

    `family` is a key of `_families.FAMILIES`.
    """
    release = families.Release(
        variant, family, depth, token_files.PROJECT, token_files.LICENCE,
        f"{token_files.TRAINING_SET}, if this is the published file",
    )  # fmt: skip
    assert weights is not None  # WEIGHTS of the plug-in names a file for the variant
    state = families.read(weights, release)
    network, facts = families.load(build, state, weights, release, name_in_file, device)
    return SimpleNamespace(
        version="1",
        config={"backbone": f"resnet{depth}", **config},
        weights=facts,
        dim=network.dim,
        preprocess=RULE,
        describe=network,
        network=network,
    )


def name_in_file(name: str) -> str:
    """Return the name in a checkpoint for a name of a network whose ResNet is its `backbone`.

    >>> name_in_file("backbone.bn1.bias"), name_in_file("tr.query")
    ('backbone.block1.1.bias', 'tr.query')
    """
    if name.startswith("backbone."):
        return "backbone." + resnet.token(name.removeprefix("backbone."))
    return name
