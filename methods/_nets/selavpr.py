"""SelaVPR++: a side path of convolutions beside a frozen DINOv2, and binary codes beside floats.

Lu et al., "SelaVPR++: Towards Seamless Adaptation of Foundation Models for Efficient Place
Recognition", TPAMI 2025.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.methods._nets import dinov2, pooling
from bench.methods._nets.tokens import OnDino


@dataclass(frozen=True)
class Widths:
    """The sizes of a variant: inner width, those of the branches, of the descriptor, first block.

    The side path begins with the tokens that enter block `first`.
    """

    size: str
    inner: int
    pointwise: int
    narrow: int
    wide: int
    dim: int
    first: int


SIZES = {
    "base": Widths("base", 384, 192, 24, 96, 2048, 0),
    "large": Widths("large", 512, 256, 32, 128, 4096, 8),
}
BITS = 512


class Convolution(nn.Module):
    """Convolution with bias, batch normalisation, ReLU; the size stays."""

    def __init__(self, into: int, out: int, side: int) -> None:
        """Build it."""
        super().__init__()
        self.conv = nn.Conv2d(into, out, side, padding=side // 2)
        self.bn, self.act = nn.BatchNorm2d(out, eps=1e-3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, out, rows, columns)."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class Adapter(nn.Module):
    """Three branches of convolutions on the patches, between two linear layers."""

    def __init__(self, width: int, w: Widths) -> None:
        """Build it."""
        super().__init__()
        self.D_fc1, self.D_fc2 = nn.Linear(width, w.inner), nn.Linear(w.inner, width)
        self.branch1 = Convolution(w.inner, w.pointwise, 1)
        self.branch2 = nn.Sequential(
            Convolution(w.inner, w.narrow, 1), Convolution(w.narrow, w.wide, 3)
        )
        self.branch3 = nn.Sequential(
            Convolution(w.inner, w.narrow, 1), Convolution(w.narrow, w.wide, 5)
        )

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return tokens (n, 1 + rows * columns, width)."""
        low = functional.relu(self.D_fc1(tokens))
        maps = low[:, 1:].transpose(1, 2).reshape(len(low), -1, *grid)
        branches = [self.branch1(maps), self.branch2(maps), self.branch3(maps)]
        patches = torch.cat(branches, dim=1).flatten(2).transpose(1, 2)
        out: Tensor = self.D_fc2(torch.cat([low[:, :1], patches], dim=1) + low)
        return out


class Exponent(nn.Module):
    """The exponent of generalised-mean pooling, under the name in the files."""

    def __init__(self) -> None:
        """Build it."""
        super().__init__()
        self.p = nn.Parameter(torch.empty(1))


class SelaVpr(OnDino):
    """The network of a variant; with `codes`, its second path gives `BITS` bits."""

    def __init__(self, size: str, codes: bool = False) -> None:
        """Build it."""
        self_w = SIZES[size]
        super().__init__(dinov2.DinoV2(self_w.size))
        self.widths, self.dim, width = self_w, self_w.dim, dinov2.WIDTHS[self_w.size]
        count = len(self.backbone.blocks) - self_w.first

        def path() -> nn.ModuleList:
            return nn.ModuleList([Adapter(width, self_w) for _ in range(count)])

        self.backbone.adapters = path()
        self.aggregation = nn.ModuleDict({"1": Exponent()})
        self.linear1, self.linear2 = nn.Linear(width, width), nn.Linear(width, self.dim)
        if codes:
            self.backbone.adapters_hashing = path()
            self.aggregation_hashing = nn.ModuleDict({"1": Exponent()})
            self.linear3, self.linear4 = nn.Linear(width, width), nn.Linear(width, BITS)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, dim)."""
        side = self._side(batch, self.backbone.adapters)
        return self.linear2(self._pooled(self.linear1(side), self.aggregation))  # type: ignore[no-any-return]

    def codes(self, batch: Tensor) -> Tensor:
        """Return (n, BITS) bool: True where the number is 0 or more."""
        side = self._side(batch, self.backbone.adapters_hashing)
        rows: Tensor = self.linear4(self._pooled(self.linear3(side), self.aggregation_hashing))
        return rows >= 0

    def _side(self, batch: Tensor, adapters: object) -> Tensor:
        """Return the patch tokens of a side path after the last norm."""
        x, grid = self.backbone.tokens(batch)
        y, paths, first = x, list(adapters), self.widths.first  # type: ignore[call-overload]
        for number, block in enumerate(self.backbone.blocks):
            if number == first:
                y = x
            x = block(x)
            if number >= first:
                y = y + paths[number - first](y + x, grid)
        patches: Tensor = self.backbone.norm(y)[:, 1:]
        return patches

    @staticmethod
    def _pooled(tokens: Tensor, aggregation: nn.ModuleDict) -> Tensor:
        maps = functional.normalize(tokens, dim=2).transpose(1, 2)[..., None]
        return pooling.gem(maps.float(), aggregation["1"].p)  # type: ignore[arg-type]

    def refusal(self, height: int, width: int) -> str | None:
        """Return why an image of this size is not taken, or None."""
        if height != width:
            return "it takes squares only; `--resize bilinear:322x322` makes them"
        return super().refusal(height, width)
