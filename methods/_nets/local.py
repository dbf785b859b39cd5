"""Local features: the branch that DOLG and DELG's PyTorch port share, and a fixed one."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class LocalBranch(nn.Module):
    """Features of unit norm and a weight for each position, from the third stage's output."""

    def __init__(self, channels: int, dim: int) -> None:
        """Take `channels` input channels and give features of `dim`."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, dim, 1)
        self.bn = nn.BatchNorm2d(dim)
        self.conv2 = nn.Conv2d(dim, 1, 1)

    def forward(self, third: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (n, dim, h, w), negative values kept, and attention (n, 1, h, w) >= 0."""
        features = self.bn(self.conv1(third))
        attention = functional.softplus(self.conv2(functional.relu(features)))
        return functional.normalize(features, dim=1), attention


def by_hand(model: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return the feature map of timm's EfficientNet at stride 16, and its norms as attention.

    Nothing of it is trained for the purpose; it lets a small network be re-ranked.
    """
    network: Any = model
    features: Tensor = network.bn1(network.conv_stem(batch))
    for stage in network.blocks[:5]:
        features = stage(features)
    return features, features.norm(dim=1, keepdim=True)
