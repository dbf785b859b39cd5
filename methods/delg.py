"""DELG, global branch: GeM pooling and a learned linear whitening, at three scales.

Cao, Araujo, Sim, "Unifying Deep Local and Global Features for Image Search", ECCV 2020. The
pipeline and its preprocessing are the paper's; the variants here are not its trained models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIANTS = {
    "lite0": "EfficientNet-Lite0 (ImageNet), whitening by PCA on the database images of mini",
    "untrained": "the same network and whitening layer with random weights, seed 0",
}
P, EPS, LITE0_DIM = 3.0, 1e-6, 384
SCALES = (0.70710677, 1.0, 1.4142135)
WHITENING = Path(__file__).parent / "weights" / "delg_lite0_whitening.safetensors"
FITTED = "PCA fitted on the database images of mini, transductive there"


@dataclass(frozen=True)
class Delg:
    """A backbone, GeM pooling and a linear layer with bias."""

    backbone: Any
    whitening: Any
    config: Mapping[str, Any]
    weights: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    version: str = "1"

    @property
    def dim(self) -> int:
        """Return the number of outputs of the whitening."""
        return self.whitening.out_features

    def describe(self, batch: Any) -> Any:
        """Return (n, dim) from a normalised batch (n, 3, height, width)."""
        from bench.methods._pooling import gem

        return self.whitening(gem(self.backbone(batch), P, EPS))


def load(variant: str, weights: str | None, device: str) -> Delg:
    """Return the method; `weights` is a file with `backbone.*` (timm's names) and `whitening.*`."""
    from torch import nn

    from bench.methods import _backbones as backbones
    from bench.weights import load_strict, read_state

    shipped = variant == "lite0" and weights is None
    backbone = backbones.lite0(device) if shipped else backbones.untrained(device)
    whitening = nn.Linear(backbone.dim, LITE0_DIM).eval().to(device)
    both = nn.ModuleDict({"backbone": backbone.model, "whitening": whitening})
    if weights is not None:
        file = Path(weights)
        load_strict(both, read_state(file), file.name)
        fitted = "as in the weights file"
        facts = backbones.facts(both, f"file {file.name}", "not stated", "not stated", True)
    elif shipped:
        load_strict(whitening, read_state(WHITENING), WHITENING.name)
        fitted = FITTED
        source = f"{backbone.weights['source']}; {WHITENING.name}"
        data = f"{backbone.weights['training_set']}; whitening: {FITTED}"
        facts = backbones.facts(both, source, backbone.weights["licence"], data, True)
    else:
        backbones.randomise(whitening, seed=1)
        fitted = "random, seed 1"
        facts = backbones.facts(both, backbone.weights["source"], "none needed", "none", False)
    config = {"backbone": backbone.name, "pooling": "gem", "p": P, "eps": EPS, "whitening": fitted}
    rule = {**backbone.pixels, "max_side_px": 1024, "scales": SCALES}
    return Delg(backbone, whitening, config, facts, rule)
