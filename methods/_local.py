"""The branch of local features and attention that DOLG and DELG's PyTorch port have in common."""

from __future__ import annotations

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
