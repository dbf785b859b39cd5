"""AnyLoc: residuals of the values inside one block of DINOv2 to centres that nothing trained.

Keetha et al., "AnyLoc: Towards Universal Visual Place Recognition", RA-L 2024, sections III and IV.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.errors import BenchError
from bench.methods._nets import dinov2
from bench.weights import read_checkpoint, state_in

CENTRES, CLUSTERS = "c_centers", 32


class AnyLoc(dinov2.DinoV2):
    """DINOv2 up to the values of one block, and VLAD with hard assignment."""

    def __init__(self, size: str, layer: int) -> None:
        """Take the size of the transformer, and the block (from 0) whose values are gathered."""
        super().__init__(size)
        self.layer = layer
        self.c_centers = torch.nn.Parameter(torch.empty(CLUSTERS, self.width))

    @property
    def dim(self) -> int:
        """Return the size of the descriptor."""
        return CLUSTERS * self.width

    def refusal(self, height: int, width: int) -> str | None:
        """Return why an image of this size is not taken, or None."""
        return dinov2.refusal(height, width)

    def forward(self, batch: Tensor) -> Tensor:  # type: ignore[override]
        """Return (n, 32 * width), cluster by cluster; a cluster without patches is zero."""
        x, _ = self.tokens(batch)
        for block in self.blocks[: self.layer]:
            x = block(x)
        last: Any = self.blocks[self.layer]
        values = last.attn.qkv(last.norm1(x))[:, self.prefix :, 2 * self.width :]
        return vlad(functional.normalize(values.float(), dim=2), self.c_centers.float()).flatten(1)

    def drop_unused(self) -> None:
        """Drop the blocks behind the one whose values are gathered, and the last norm."""
        del self.blocks[self.layer + 1 :]
        self.norm = torch.nn.Identity().eval()


def vlad(unit: Tensor, centres: Tensor) -> Tensor:
    """Return (n, clusters, width): sums of residuals per cluster, each of unit norm or zero.

    `unit` (n, m, width) belongs to the centre of the largest cosine, the first of equal ones; the
    residual is to the centre as it is in the file.
    """
    nearest = (unit @ functional.normalize(centres, dim=1).T).argmax(dim=2)
    share = functional.one_hot(nearest, len(centres)).to(unit.dtype)  # (n, m, clusters)
    sums = share.transpose(1, 2) @ unit - share.sum(dim=1)[:, :, None] * centres
    return functional.normalize(sums, dim=2)


def read(path: Path) -> dict[str, Tensor]:
    """Return the state of a file: of the transformer with `c_centers`, or of the centres alone.

    The authors publish the centres as one tensor (32, width).
    """
    found = read_checkpoint(path)
    if not isinstance(found, Tensor):
        return state_in(found, path)
    if found.ndim != 2 or len(found) != CLUSTERS:
        raise BenchError(
            f"the weights file {path} holds a tensor {tuple(found.shape)}; centres of AnyLoc are "
            f"({CLUSTERS}, width)."
        )
    return {CENTRES: found}
