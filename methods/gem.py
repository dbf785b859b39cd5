"""GeM: the last feature map of an ImageNet backbone, pooled by generalised mean (p = 3).

Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019;
here without fine-tuning and without whitening: a floor for learned methods, not their result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch takes seconds to import
    from bench.methods._nets.backbones import Backbone

GROUP = "generic"
VARIANTS = {
    "lite0": "EfficientNet-Lite0, ImageNet weights from a package, longest side 480",
    "untrained": "the same network with random weights, seed 0",
    "*": "any convolutional model of timm by its name, longest side 1024",
}
P, EPS = 3.0, 1e-6


@dataclass(frozen=True)
class Gem:
    """A backbone and GeM pooling."""

    backbone: Backbone
    preprocess: Mapping[str, Any]
    version: str = "1"

    @property
    def network(self) -> Any:
        """Return the backbone: all that takes time."""
        return self.backbone.model

    @property
    def dim(self) -> int:
        """Return the number of channels of the feature map."""
        return self.backbone.dim

    @property
    def weights(self) -> Mapping[str, Any]:
        """Return the facts about the backbone's weights."""
        return self.backbone.weights

    @property
    def config(self) -> Mapping[str, Any]:
        """Return what determines the descriptor besides weights and pixels."""
        return {"backbone": self.backbone.name, "pooling": "gem", "p": P, "eps": EPS}

    def describe(self, batch: Any) -> Any:
        """Return (n, dim) from a normalised batch (n, 3, height, width)."""
        from bench.methods._nets.pooling import gem

        return gem(self.backbone(batch), P, EPS)


def check(variant: str, _: str | None) -> None:
    """Refuse a model that timm does not have, without importing it."""
    from bench.methods._nets import timm_names

    if variant not in VARIANTS:
        timm_names.check(variant, ["lite0", "untrained"])


def load(variant: str, weights: str | None, device: str) -> Gem:
    """Return the method; `weights` is the path of a state dict that fits the variant's network."""
    from bench.methods._nets import backbones

    small = variant in ("lite0", "untrained")
    if weights is not None:
        name = backbones.LITE0 if small else variant
        backbone = backbones.from_file(name, weights, device)
    elif variant == "lite0":
        backbone = backbones.lite0(device)
    elif variant == "untrained":
        backbone = backbones.untrained(device)
    else:
        backbone = backbones.of_timm(variant, device)
    return Gem(backbone, {**backbone.pixels, "max_side_px": 480 if small else 1024})
