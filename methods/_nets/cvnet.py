"""CVNet's global descriptor: a ResNet of pycls, GeM, and a linear layer; pixels as OpenCV reads.

Lee, Seong, Lee, Kim, "Correlation Verification for Image Retrieval", CVPR 2022, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from bench.methods._nets import cvnet_files, families, gem, opencv, resnet

DIM = 2048
HEAD = {"p": "pool.p", "fc.weight": "fc.weight", "fc.bias": "fc.bias"}


def load(
    variant: str,
    depth: int,
    build: Callable[[], gem.GemNet],
    weights: str,
    device: str,
    config: Mapping[str, Any],
    rule: Mapping[str, Any],
) -> SimpleNamespace:
    """Return the method `variant` with the global part of a checkpoint of CVNet."""
    release = families.Release(
        variant, "cvnet", depth, cvnet_files.PROJECT, cvnet_files.LICENCE,
        cvnet_files.TRAINING_SET,
    )  # fmt: skip
    state = families.read(weights, release)
    network, facts = gem.load(build, state, weights, release, name_in_file, device)
    pixels = {**opencv.RULE, "scales": cvnet_files.SCALES, **rule}
    return families.method(network, facts, {"backbone": f"resnet{depth}", **config}, pixels)


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint for a name of the network.

    >>> name_in_file("backbone.layer1.0.bn1.bias"), name_in_file("p")
    ('encoder_q.s1.b1.f.a_bn.bias', 'encoder_q.head.pool.p')
    """
    return resnet.renamed(name, "encoder_q.", resnet.pycls) or f"encoder_q.head.{HEAD[name]}"
