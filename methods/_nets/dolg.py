"""The network of DOLG: a global descriptor, and what local features add at right angles to it.

Yang et al., "DOLG: Single-Stage Image Retrieval with Deep Orthogonal Fusion of Local and Global
Features", ICCV 2021, sections 3.2 (local branch) and 3.3 (orthogonal fusion).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.methods._nets import local, pooling, resnet

DIM, EPS = 512, 1e-6
RATES = (6, 12, 18)


class Dolg(nn.Module):
    """ResNet, GeM and a linear layer for the whole; attended local features for the rest."""

    stored_p: Tensor
    p = 3.0  # of GeM, as in the published test program, which drops the stored one

    def __init__(self, depth: int, multi_atrous: bool) -> None:
        """Take the depth of the ResNet, and whether there is a multi-atrous module."""
        super().__init__()
        self.register_buffer("stored_p", torch.empty(1))
        self.backbone = resnet.resnet(depth)
        self.fc_t = nn.Linear(2048, 1024)
        self.localmodel = Local(multi_atrous)
        self.fc = nn.Linear(2048, DIM)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 512), not normalised, from a normalised batch (n, 3, height, width)."""
        third, fourth = resnet.stages(self.backbone, batch)
        whole = self.fc_t(pooling.gem(fourth, self.p, EPS))
        descriptors: Tensor = self.fc(fused(whole, *self.localmodel(third)))
        return descriptors


def fused(whole: Tensor, features: Tensor, attention: Tensor) -> Tensor:
    """Return (n, 2 dim): the whole (n, dim), then what local features add at right angles to it.

    Features (n, dim, h, w), attention (n, 1, h, w). Section 3.3 projects at each position and then
    averages. Both are linear: average first.
    """
    local = (features * attention).mean(dim=(2, 3))
    along = (local * whole).sum(dim=1, keepdim=True) / whole.square().sum(dim=1, keepdim=True)
    return torch.cat([whole, local - along * whole], dim=1)


class Local(local.LocalBranch):
    """The local branch, with the multi-atrous module of the paper in front, or without it."""

    def __init__(
        self, multi_atrous: bool, channels: int = 1024, each: int = 512, dim: int = 1024
    ) -> None:
        """Make the layers; the released checkpoints have no multi-atrous module."""
        super().__init__(dim if multi_atrous else channels, dim)
        self.aspp = MultiAtrous(channels, each, dim) if multi_atrous else None

    def forward(self, third: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit features (n, dim, h, w) and attention (n, 1, h, w)."""
        return super().forward(third if self.aspp is None else self.aspp(third))


class MultiAtrous(nn.Module):
    """Dilated convolutions side by side, with the mean of the map among them (section 3.2)."""

    def __init__(self, channels: int, each: int, dim: int) -> None:
        """Make the layers; `each` is the width of those that stand side by side."""
        super().__init__()
        dilated = [nn.Conv2d(channels, each, 3, padding=rate, dilation=rate) for rate in RATES]
        self.im_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, each, 1), nn.ReLU()
        )
        self.aspp = nn.ModuleList([nn.Conv2d(channels, each, 1), *dilated])
        self.conv_after = nn.Sequential(nn.Conv2d(5 * each, dim, 1), nn.ReLU())

    def forward(self, third: Tensor) -> Tensor:
        """Return (n, dim, h, w) from (n, channels, h, w)."""
        mean = self.im_pool(third).expand(-1, -1, *third.shape[2:])
        maps = [mean, *(conv(third) for conv in self.aspp)]
        features: Tensor = self.conv_after(torch.cat(maps, 1))
        return features


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint for a name of `Dolg`.

    >>> name_in_file("backbone.layer1.0.bn3.bias"), name_in_file("stored_p")
    ('globalmodel.s1.b1.f.c_bn.bias', 'pool_g.p')
    """
    if name.startswith("backbone."):
        return "globalmodel." + resnet.pycls(name.removeprefix("backbone."))
    return "pool_g.p" if name == "stored_p" else name
