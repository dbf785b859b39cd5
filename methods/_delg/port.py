"""The network of DELG's PyTorch port: GeM with a learned exponent, a linear layer, local features.

After Cao, Araujo, Sim, "Unifying Deep Local and Global Features for Image Search", ECCV 2020,
section 3, but not that paper's model: 512 numbers instead of 2048, no autoencoder, own weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.methods._nets import local, pooling, resnet

DIM, EPS = 512, 1e-6


class DelgPort(nn.Module):
    """ResNet, GeM and a linear layer; `localmodel` is the local branch on the third stage."""

    p: Tensor

    def __init__(self, depth: int) -> None:
        """Take the depth of the ResNet."""
        super().__init__()
        self.backbone = resnet.resnet(depth)
        self.register_buffer("p", torch.empty(1))
        self.fc = nn.Linear(2048, DIM)
        self.localmodel = local.LocalBranch(1024, 512)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 512), not normalised, from a normalised batch (n, 3, height, width)."""
        fourth = resnet.stages(self.backbone, batch)[1]
        descriptors: Tensor = self.fc(pooling.gem(fourth, float(self.p), EPS))
        return descriptors

    def local(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit features (n, 512, h, w) and attention (n, 1, h, w), at stride 16."""
        features, attention = self.localmodel(resnet.stages(self.backbone, batch)[0])
        return features, attention


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint for a name of `DelgPort`.

    >>> name_in_file("backbone.bn1.bias"), name_in_file("p"), name_in_file("fc.bias")
    ('globalmodel.stem.bn.bias', 'globalmodel.head.pool.p', 'globalmodel.head.fc.bias')
    """
    if name.startswith("backbone."):
        return "globalmodel." + resnet.pycls(name.removeprefix("backbone."))
    if name == "p":
        return "globalmodel.head.pool.p"
    return f"globalmodel.head.{name}" if name.startswith("fc.") else name
