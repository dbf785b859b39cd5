"""A backbone, GeM with the exponent of the file, and a linear layer: five published methods.

Radenović, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.
They differ in what happens before GeM and between GeM and the linear layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.errors import BenchError
from bench.methods._nets import families, pooling, resnet, vgg, whitening

EPS = 1e-6  # the least value of a feature in GeM
Between = Callable[[Tensor], Tensor]


class GemNet(nn.Module):
    """A network from (n, 3, height, width), normalised, to (n, dim), not normalised.

    `unit_positions` divides the features of every position by their norm first; `between` is
    applied to what GeM gives. Without `linear` that is the descriptor. `whitened` is the number of
    components that a whitening, applied once those of all scales are combined, leaves of it.
    """

    def __init__(
        self,
        depth: int,
        dim: int,
        *,
        linear: bool = True,
        unit_positions: bool = False,
        between: Between | None = None,
        whitened: int | None = None,
    ) -> None:
        """Take the depth of the backbone: that of a ResNet, or 16 for VGG16."""
        super().__init__()
        self.dim = dim if whitened is None else whitened
        self.unit_positions, self.between = unit_positions, between
        self.flat = depth == families.VGG
        self.backbone: nn.Module = vgg.vgg16() if self.flat else resnet.resnet(depth)
        channels = vgg.CHANNELS if self.flat else resnet.CHANNELS[depth]
        self.p = nn.Parameter(torch.empty(1))
        self.fc = nn.Linear(channels, dim) if linear else None
        self.whitening = None if whitened is None else whitening.Whitening(dim, whitened)

    def forward(self, batch: Tensor) -> Tensor:
        """Return descriptors (n, dim)."""
        features = self.features(batch)
        if self.unit_positions:
            features = functional.normalize(features, dim=1)
        pooled = self.pool(features)
        if self.between is not None:
            pooled = self.between(pooled)
        descriptors: Tensor = pooled if self.fc is None else self.fc(pooled)
        return descriptors

    def refusal(self, height: int, width: int) -> str | None:
        """Return why no image of this size is taken, or None."""
        return vgg.refusal(height, width) if self.flat else None

    def features(self, batch: Tensor) -> Tensor:
        """Return the last feature map (n, channels, h, w)."""
        if self.flat:
            features: Tensor = self.backbone(batch)
            return features
        return resnet.last(cast(resnet.ResNet, self.backbone), batch)

    def pool(self, features: Tensor) -> Tensor:
        """Return GeM of a feature map, (n, channels)."""
        return pooling.gem(features, self.p, EPS)


def load(
    build: Callable[[], GemNet],
    state: Mapping[str, Tensor],
    weights: str,
    release: families.Release,
    name_in_file: Callable[[str], str],
    device: str,
) -> tuple[GemNet, dict[str, Any]]:
    """Return the network with a state, and the facts about its weights, as `families.load` does.

    An exponent that is not above 0 is refused.
    """
    network, facts = families.load(build, state, weights, release, name_in_file, device)
    p = float(network.p.detach())
    if p <= 0:
        name = f"{Path(weights).name} ({name_in_file('p')})"
        raise BenchError(f"{name} stores the GeM exponent {p:g}; it must be above 0.")
    return network, facts


def unit(rows: Tensor) -> Tensor:
    """Return rows (n, dim) divided by their norms."""
    return functional.normalize(rows, dim=1)


def nearly_unit(rows: Tensor) -> Tensor:
    """Return rows (n, dim) divided by (norm + 1e-6), as cirtorch does."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / (norms + EPS)
