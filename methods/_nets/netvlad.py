"""NetVLAD's network: VGG16, residuals to 64 centres gathered by soft assignment, and whitening.

Arandjelović, Gronat, Torii, Pajdla, Sivic, "NetVLAD: CNN architecture for weakly supervised place
recognition", CVPR 2016, section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.methods._nets import vgg

CLUSTERS = 64


class NetVlad(nn.Module):
    """VGG16 up to conv5_3, NetVLAD, PCA whitening as a linear layer."""

    def __init__(self, dim: int) -> None:
        """Take the numbers that whitening keeps."""
        super().__init__()
        self.dim = dim
        self.backbone = vgg.vgg16()
        self.netvlad = Vlad()
        self.whiten = nn.Linear(vgg.CHANNELS * CLUSTERS, dim)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, dim), not normalised, from (n, 3, height, width), 0..255 minus the mean."""
        descriptors: Tensor = self.whiten(self.netvlad(self.backbone(batch)))
        return descriptors

    def refusal(self, height: int, width: int) -> str | None:
        """Return why no image of this size is taken, or None."""
        return vgg.refusal(height, width)


class Vlad(nn.Module):
    """A feature map (n, 512, h, w) to a unit vector (n, 512 * 64), feature by feature."""

    def __init__(self) -> None:
        """Make the assignment and the centres, named as in the checkpoints."""
        super().__init__()
        self.score_proj = nn.Conv1d(vgg.CHANNELS, CLUSTERS, 1, bias=False)
        self.centers = nn.Parameter(torch.empty(vgg.CHANNELS, CLUSTERS))

    def forward(self, features: Tensor) -> Tensor:
        """Return residuals, of unit norm per cluster and then as a whole."""
        x = functional.normalize(features.flatten(2), dim=1)  # (n, 512, positions)
        shares = self.score_proj(x).softmax(dim=1)  # of each position, over the clusters
        residuals = x @ shares.transpose(1, 2) - self.centers * shares.sum(dim=2)[:, None]
        return functional.normalize(functional.normalize(residuals, dim=1).flatten(1), dim=1)
