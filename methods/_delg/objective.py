"""DELG as it is trained here: the paper's heads on the ResNet that has ImageNet weights in PyTorch.

Cao, Araujo, Sim, "Unifying Deep Local and Global Features for Image Search", ECCV 2020, section 3.
A family of its own, because the others have backbones that nothing can be begun from without
TensorFlow: TF-Slim's and Keras's ResNets put stride 2 elsewhere, and Keras's has biases. Heads,
dimensions and the stride of local features, 32, are those of the released models.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import BenchError
from bench.methods._delg import model_file, tf
from bench.methods._nets import families, objectives, pooling, resnet
from bench.nn import heads, losses

EPS, STRIDE = 1e-5, 32
THRESHOLD_RATE = 0.01
RULE = {
    **{key: value for key, value in model_file.RULE.items() if key not in ("mean", "std")},
    "scale_sampling": "size-ratio",
}


class Delg(tf.DelgTf):
    """The network of a final file; `threshold` is about the median attention at its end."""

    threshold: Tensor

    def __init__(self, depth: int) -> None:
        """Take the depth of the ResNet."""
        stages = tf.Stages(resnet.resnet(depth), subsampled=False)
        super().__init__(stages, EPS, "block3", STRIDE)
        self.register_buffer("threshold", torch.zeros(1))


class Training:
    """The joint objective; the attributes are those of `bench.types.Trainable`.

    ArcFace trains backbone and whitening. The third stage is detached once, before all that is
    local: reconstruction trains the autoencoder, and the attention loss, on what it decodes, the
    autoencoder and the attention. Decoder and classifiers are not part of the final file.
    """

    preprocess = RULE

    def __init__(self, depth: int, classes: int, chosen: Mapping[str, Any], device: str) -> None:
        """Make network and heads; `chosen` are the options of a recipe."""
        model = Delg(depth)
        objectives.begin(model.backbone, depth, chosen["init"])
        self.of_attention, self.of_decoding = chosen["attention"], chosen["reconstruction"]
        arcface = heads.ArcFace(
            classes, tf.DIM, chosen["margin"], chosen["scale"], learned=chosen["learned"]
        )
        self.network = nn.ModuleDict(
            {
                "model": model,
                "decode": nn.Conv2d(tf.LOCAL_DIM, 1024, 1),
                "arcface": arcface,
                "attention": heads.Attention(classes, 1024),
            }
        ).to(device)

    def losses(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the three terms, weighted (section 3.4)."""
        model: Any = self.network["model"]
        third, fourth = model.backbone(inputs)
        descriptors = model.whitening(pooling.gem(fourth, tf.P, tf.EPS))
        fixed = model.for_local(third).detach()
        features, attention = model.local_of(fixed)
        decoded = functional.relu(self.network["decode"](features))
        if self.network.training and attention.numel():
            median = losses.mean_over_processes(attention.detach().float().median())
            model.threshold.lerp_(median.reshape(1), THRESHOLD_RATE)
        attended = self.network["attention"](decoded, attention, labels)
        return {
            "global": self.network["arcface"](descriptors, labels),
            "attention": self.of_attention * attended,
            "reconstruction": self.of_decoding * losses.reconstruction(decoded, fixed),
        }

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the network, without what only training needs."""
        state: dict[str, Tensor] = self.network["model"].state_dict()
        return state


def trainable(variant: str, classes: int, options: Mapping[str, Any], device: str) -> Training:
    """Return what trains a variant `r50` or `r101`."""
    depth = objectives.depth_of(variant, ("r50", "r101"), "delg")
    chosen = objectives.options(
        options, margin=0.1, scale=45.25, learned=False, attention=1.0, reconstruction=10.0
    )
    return Training(depth, classes, chosen, device)


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method with the weights of a final file."""
    if weights is None:
        raise BenchError(
            f"delg.{variant} has no published weights: train them, `python -m bench train --method "
            f"delg.{variant} --data PATH`, and give --weights FILE."
        )
    depth = int(variant.removeprefix("r"))
    release = families.Release(
        f"delg.{variant}", "delg-trained", depth, "this project", "not stated", "not stated"
    )
    state = families.read(weights, release)
    network, facts = families.load(lambda: Delg(depth), state, weights, release, str, device)
    threshold = float(network.threshold)
    config = {
        "backbone": f"resnet{depth}",
        "family": release.family,
        "pooling": "gem",
        "p": tf.P,
        "eps": tf.EPS,
        "threshold": threshold,
    }
    local_rule = {"dim": tf.LOCAL_DIM, "stride_px": STRIDE,
                  "scales": model_file.LOCAL_SCALES, "threshold": threshold}  # fmt: skip
    return SimpleNamespace(
        version="1", config=config, weights=facts, dim=tf.DIM, preprocess=RULE,
        describe=network, network=network, local=network.local, local_rule=local_rule,
    )  # fmt: skip
