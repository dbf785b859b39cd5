"""BoQ on the third stage of ResNet-50."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from bench.methods._nets import boq, resnet
from bench.weights import read_state

SIDE, WIDTH = 384, 512


class BoqResNet(nn.Module):
    """ResNet-50 up to its third stage, and the head."""

    dim = WIDTH * boq.ROWS

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.backbone = resnet.resnet(50, stages=3)
        self.head = boq.BoqHead(1024, WIDTH)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 16384), not normalised, from a normalised batch (n, 3, height, width)."""
        descriptors: Tensor = self.head(resnet.last(self.backbone, batch))
        return descriptors


def read(path: Path) -> dict[str, Tensor]:
    """Return the state in a file, with cross-attention in two layers."""
    return boq.split(read_state(path))


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint, after `boq.split`, for a name of the network.

    >>> name_in_file("backbone.layer3.0.bn1.bias"), name_in_file("head.fc.bias")
    ('backbone.net.6.0.bn1.bias', 'aggregator.fc.bias')
    """
    found = resnet.renamed(name, "backbone.net.", resnet.sequential)
    return found or boq.name_in_file(name.removeprefix("head."))
