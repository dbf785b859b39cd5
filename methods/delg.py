"""DELG, global branch: GeM pooling and a learned linear whitening, at three scales.

Cao, Araujo, Sim, "Unifying Deep Local and Global Features for Image Search", ECCV 2020. The
pipeline is the paper's. `…-gld` and `…-gldv2clean` are its trained models, converted from
TensorFlow; `…-tf2` is for models of its authors' later code. `lite0` and `untrained` are a small
network. `…-token` and `…-port` are checkpoints that others trained and published: the authors of
Token (Wu et al., AAAI 2022), and a PyTorch port, feymanpriv/DELG.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.methods._nets import token_files

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import nn

    from bench.methods._nets.backbones import Backbone

GROUP = "landmarks"
VARIANTS = {
    "lite1": "EfficientNet-Lite0, 512-d, demonstration weights near plain GeM",
    "lite0": "EfficientNet-Lite0, 512-d, demonstration weights trained on package photographs",
    "untrained": "EfficientNet-Lite0 and a whitening layer with random weights, seed 0",
    "r101-gldv2clean": "ResNet-101, 2048-d, the authors' model trained on GLDv2-clean",
    "r101-gld": "ResNet-101, 2048-d, the authors' model trained on GLDv1",
    "r50-gldv2clean": "ResNet-50, 2048-d, the authors' model trained on GLDv2-clean",
    "r50-gld": "ResNet-50, 2048-d, the authors' model trained on GLDv1",
    "r50-tf2": "ResNet-50, 2048-d, exported from the authors' TensorFlow 2 code",
    "r101": "ResNet-101, 2048-d, for files that `train` wrote, begun from ImageNet",
    "r50": "ResNet-50, 2048-d, for files that `train` wrote, begun from ImageNet",
    "r101-token": "ResNet-101, 2048-d, trained by Token's authors on GLDv2-clean",
    "r101-port": "ResNet-101, 512-d, the PyTorch port, whose own numbers are without query crop",
    "r50-port": "ResNet-50, 512-d, the PyTorch port, whose own numbers are without query crop",
}
CONVERTED = ("-gld", "-gldv2clean", "-tf2")
P, EPS, UNTRAINED_DIM = 3.0, 1e-6, 384
SCALES = (0.70710677, 1.0, 1.4142135)
BY_HAND = {
    "dim": 112,
    "stride_px": 16.0,
    "offset_px": 7.5,
    "scales": (0.5, 0.70710677, 1.0),
    "max_features": 500,
    "match_distance": 0.9,
}

PORT = {
    "licence": "not stated",
    "training_set": "not stated; its classifiers have the 81,313 classes of GLDv2-clean",
}
WEIGHTS = {
    "r101-token": token_files.drive("R101-DELG.pth", "10WExWiY5cc4-hrQQpQ3yUvOV06f3wYaB"),
    "r101-port": {
        **PORT,
        "file": "r101_delg_s512.pyth",
        "manual": "Baidu (https://pan.baidu.com/s/1cahOcy9hx23RqHgBcKp1uQ, code 5pdj), as "
        "feymanpriv/DELG says",
    },
    "r50-port": {
        **PORT,
        "file": "r50_delg_s512.pyth",
        "manual": "Baidu (https://pan.baidu.com/s/1rbB1ZItdMsyCiU5YrUbkCA, code wu46), as "
        "feymanpriv/DELG says",
        "note": "about 434 MB",
    },
}
PORT_SCALES = (0.7071, 1.0, 1.4142)
PORT_LOCAL = {
    "dim": 512,
    "stride_px": 16.0,
    "scales": (0.25, 0.3535, 0.5, 0.7071, 1.0, 1.4142, 2.0),
    "threshold": 260.0,
    "threshold_rule": "halved",
    "match_distance": 0.99,
}


@dataclass(frozen=True)
class Delg:
    """A backbone, GeM pooling and a linear layer with bias."""

    backbone: Backbone
    whitening: nn.Linear
    config: Mapping[str, Any]
    weights: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    local_rule: Mapping[str, Any]
    version: str = "1"

    @property
    def network(self) -> Any:
        """Return the backbone: all that takes time."""
        return self.backbone.model

    @property
    def dim(self) -> int:
        """Return the number of outputs of the whitening."""
        return self.whitening.out_features

    def describe(self, batch: Any) -> Any:
        """Return (n, dim) from a normalised batch (n, 3, height, width)."""
        from bench.methods._nets.pooling import gem

        return self.whitening(gem(self.backbone(batch), P, EPS))

    def local(self, batch: Any) -> Any:
        """Return (n, 112, h, w) and (n, 1, h, w): a fixed formula, nothing is learned."""
        from bench.methods._nets.local import by_hand

        return by_hand(self.backbone.model, batch)


def check(variant: str, weights: str | None) -> None:
    """Refuse files that are not converted models, without importing torch."""
    if variant.endswith(CONVERTED):
        from bench.methods._delg import models

        models.checked(variant, weights)


def load(variant: str, weights: str | None, device: str) -> Delg | SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the variant's own program.

    For `lite0` it is a file that training wrote.
    """
    if variant.endswith(CONVERTED):
        from bench.methods._delg import model_file

        return model_file.load(variant, weights, device)
    if variant.endswith("-port"):
        return _port(variant, weights, device)
    if variant.endswith("-token"):
        return _token(variant, weights, device)
    if variant in ("r50", "r101"):
        from bench.methods._delg import objective

        return objective.load(variant, weights, device)
    if variant in ("lite0", "lite1"):
        from bench.methods._lite import method

        return method.load("delg", variant, weights, device)
    return _untrained(weights, device)


def trainable(variant: str, classes: int, options: Mapping[str, Any], device: str) -> Any:
    """Return DELG's joint objective: ArcFace, attention, and the autoencoder of local features."""
    from bench.methods._delg import objective
    from bench.methods._lite import training

    if variant in ("lite0", "lite1"):
        return training.delg(classes, options, device)
    return objective.trainable(variant, classes, options, device)


def convert(variant: str, source: Path, unproven: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return state and metadata of a file for `variant`, made from a TensorFlow model."""
    from bench.methods._delg import convert

    return convert.convert(variant, source, unproven)


def _port(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the PyTorch port, which pools with the GeM exponent of its checkpoint."""
    from bench.methods._delg import port
    from bench.methods._nets import families, opencv

    depth = int(variant.removeprefix("r").removesuffix("-port"))
    release = families.Release(
        f"delg.{variant}", "delg-port", depth, "feymanpriv/DELG", PORT["licence"],
        PORT["training_set"],
    )  # fmt: skip
    assert weights is not None  # WEIGHTS names a file for the variant
    state = families.read(weights, release)
    network, facts = families.load(
        lambda: port.DelgPort(depth),
        state, weights, release, port.name_in_file, device,
    )  # fmt: skip
    config = {"backbone": f"resnet{depth}", "pooling": "gem", "p": float(network.p), "eps": EPS}
    rule = {**opencv.RULE, "scales": PORT_SCALES}
    return SimpleNamespace(version="1", config=config, weights=facts, dim=port.DIM,
                           preprocess=rule, describe=network, network=network,
                           local=network.local, local_rule=PORT_LOCAL)  # fmt: skip


def _token(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return DELG as Token's authors trained it."""
    from bench.methods._nets import token_baselines, token_release

    config = {"pooling": "gem", **token_baselines.GEM}
    return token_release.load(
        f"delg.{variant}", "delg-token", 101,
        lambda: token_baselines.Delg(101), config, weights, device,
    )  # fmt: skip


def _untrained(weights: str | None, device: str) -> Delg:
    """Return the pipeline on EfficientNet-Lite0 with random weights."""
    from torch import nn

    from bench.methods._nets import backbones

    if weights is not None:
        raise BenchError(
            "delg.untrained has random weights; for a file of weights name the variant that it is "
            "for, delg.lite0 for instance."
        )
    backbone = backbones.untrained(device)
    whitening = nn.Linear(backbone.dim, UNTRAINED_DIM).eval().to(device)
    backbones.randomise(whitening, seed=1)
    both = nn.ModuleDict({"backbone": backbone.model, "whitening": whitening})
    facts = backbones.facts(both, backbone.weights["source"], "none needed", "none", False)
    config = {"backbone": backbone.name, "pooling": "gem", "p": P, "eps": EPS,
              "whitening": "random, seed 1"}  # fmt: skip
    rule = {**backbone.pixels, "max_side_px": 1024, "scales": SCALES}
    return Delg(backbone, whitening, config, facts, rule, BY_HAND)
