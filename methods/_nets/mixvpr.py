"""MixVPR's network: mixers over the positions of a feature map, then two projections.

Ali-bey, Chaib-draa, Giguère, "MixVPR: Feature Mixing for Visual Place Recognition", WACV 2023,
section 3.
"""

from __future__ import annotations

from torch import Tensor, nn

from bench.methods._nets import resnet

SIDE, POSITIONS, MIXERS = 320, 400, 4


class MixVpr(nn.Module):
    """ResNet-50 up to its third stage, four mixers, a layer of channels, and one of positions."""

    def __init__(self, channels: int, rows: int) -> None:
        """Take how many channels and how many combinations of positions a descriptor has."""
        super().__init__()
        self.dim = channels * rows
        self.backbone = resnet.resnet(50, stages=3)
        self.mix = nn.Sequential(*(Mixer() for _ in range(MIXERS)))
        self.channel_proj = nn.Linear(1024, channels)
        self.row_proj = nn.Linear(POSITIONS, rows)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, channels * rows), not normalised, from (n, 3, 320, 320), normalised."""
        x = self.mix(resnet.last(self.backbone, batch).flatten(2))
        x = self.channel_proj(x.transpose(1, 2)).transpose(1, 2)
        descriptors: Tensor = self.row_proj(x).flatten(1)
        return descriptors

    def refusal(self, height: int, width: int) -> str | None:
        """Return why no image of this size is taken, or None."""
        return None if (height, width) == (SIDE, SIDE) else f"MixVPR needs {SIDE} x {SIDE} pixels"


class Mixer(nn.Module):
    """Two linear layers over all positions of a channel, added to what they see."""

    def __init__(self) -> None:
        """Make the layers; they are named as in the checkpoints."""
        super().__init__()
        self.mix = nn.Sequential(
            nn.LayerNorm(POSITIONS),
            nn.Linear(POSITIONS, POSITIONS),
            nn.ReLU(),
            nn.Linear(POSITIONS, POSITIONS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, channels, positions) of the same shape."""
        mixed: Tensor = x + self.mix(x)
        return mixed


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint for a name of `MixVpr`.

    >>> name_in_file("backbone.bn1.bias"), name_in_file("row_proj.bias")
    ('backbone.model.bn1.bias', 'aggregator.row_proj.bias')
    """
    return resnet.renamed(name, "backbone.model.", str) or f"aggregator.{name}"
