"""SuperGlobal's network: CVNet's weights, other ReLUs, and regional GeM before GeM.

Shao, Chen, Karpur, Cui, Araujo, Cao, "Global Features are All You Need for Image Retrieval and
Reranking", ICCV 2023, section 3; where paper and published program differ, as the program does it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from bench.methods._nets import gem, pooling

FLOOR = 0.014  # the least value after a ReLU of the first three stages
P, EPS = 4.6, 1e-8  # of GeM, instead of the exponent in the file
LEAST = 64  # pixels of a side, of which reflection at the border of the map asks more
REGION, REGION_P = 5, 2.5  # side of the windows of regional GeM, and its exponent


class SuperGlobal(gem.GemNet):
    """CVNet's ResNet, regional GeM, GeM with p 4.6, unit norm, and CVNet's linear layer."""

    def __init__(self, depth: int, dim: int) -> None:
        """Take the depth of the ResNet, and the numbers of a descriptor."""
        super().__init__(depth, dim, between=gem.unit)
        backbone: Any = self.backbone
        for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
            for block in stage:
                block.act3 = Floor()
        for block in backbone.layer1:
            block.act1, block.act2 = Floor(), Floor()

    def refusal(self, height: int, width: int) -> str | None:
        """Return why no image of this size is taken, or None."""
        small = min(height, width) <= LEAST
        return f"SuperGlobal needs more than {LEAST} pixels a side" if small else None

    def pool(self, features: Tensor) -> Tensor:
        """Return GeM of a feature map after regional GeM, (n, channels)."""
        return pooling.gem(regional(features), P, EPS)


class Floor(nn.Module):
    """max(x, 0.014): a ReLU that never gives less."""

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return x.clamp(min=FLOOR)


def regional(features: Tensor) -> Tensor:
    """Return the mean of a map (n, c, h, w) and its GeM over windows of 5 x 5, same shape.

    The border is continued by reflection, for which a map has three positions a side at least.
    """
    margin = REGION // 2
    padded = functional.pad(features.pow(REGION_P), (margin,) * 4, mode="reflect")
    windows = functional.avg_pool2d(padded, REGION, stride=1).pow(1 / REGION_P)
    return 0.5 * windows + 0.5 * features
