"""BoQ on DINOv2, whose last norm is left out."""

from __future__ import annotations

from torch import Tensor, nn

from bench.methods._nets import boq, dinov2

SIDE, WIDTH = 322, 384


class BoqDino(nn.Module):
    """ViT-B/14, and the head on its patches."""

    dim = WIDTH * boq.ROWS

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.backbone = dinov2.DinoV2("base", last_norm=False)
        self.head = boq.BoqHead(768, WIDTH)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 12288), not normalised, from a normalised batch (n, 3, height, width)."""
        _, patches, grid = self.backbone(batch)
        maps = patches.transpose(1, 2).reshape(len(patches), -1, *grid)
        descriptors: Tensor = self.head(maps)
        return descriptors

    def refusal(self, height: int, width: int) -> str | None:
        """Return why an image of this size is not taken, or None."""
        return dinov2.refusal(height, width)


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint, after `boq.split`, for a name of the network.

    >>> name_in_file("backbone.blocks.0.ls1.gamma"), name_in_file("head.fc.bias")
    ('backbone.dino.blocks.0.ls1.gamma', 'aggregator.fc.bias')
    """
    if name.startswith("backbone."):
        return name.replace("backbone.", "backbone.dino.", 1)
    return boq.name_in_file(name.removeprefix("head."))
