"""DINOv2's vision transformers, with the position table as the official code resizes it.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; Darcet et
al., "Vision Transformers Need Registers", ICLR 2024. Blocks are timm's; tokens and positions are
written here, because timm resizes the table by another rule at every size but 518 x 518.
"""

from __future__ import annotations

import re
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH, GRID = 14, 37  # pixels of a patch; patches along a side of the table
WIDTHS = {"small": 384, "base": 768, "large": 1024, "giant": 1536}
DEPTHS = {"small": 12, "base": 12, "large": 24, "giant": 40}


class Patches(nn.Module):
    """The projection of patches; a module for its name."""

    def __init__(self, proj: nn.Module) -> None:
        """Keep the convolution."""
        super().__init__()
        self.proj = proj

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, width, rows, columns)."""
        out: Tensor = self.proj(batch)
        return out


class DinoV2(nn.Module):
    """A transformer of DINOv2 under the names of the official checkpoints.

    `size` is a key of WIDTHS, `registers` 0 or 4. `antialias` is the rule of the position table:
    False, that of the models without registers (bicubic, sampled by 37 / (patches + 0.1)); True,
    that of the hub's models with registers (bicubic, antialiased, by the ratio of the sizes).
    """

    def __init__(
        self, size: str, registers: int = 0, antialias: bool = False, last_norm: bool = True
    ) -> None:
        """Build it with weights to be loaded; without `last_norm` what the last block gives."""
        super().__init__()
        name = f"vit_{size}_patch14_dinov2"
        inner: Any = timm.create_model(name, pretrained=False, num_classes=0)
        self.width, self.antialias = WIDTHS[size], antialias
        self.cls_token = nn.Parameter(torch.empty(1, 1, self.width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + GRID * GRID, self.width))
        if registers:
            self.register_tokens = nn.Parameter(torch.empty(1, registers, self.width))
        self.registers = registers
        self.patch_embed = Patches(inner.patch_embed.proj)
        self.blocks = inner.blocks
        self.norm = inner.norm if last_norm else nn.Identity()

    @property
    def prefix(self) -> int:
        """Return the number of tokens before those of patches."""
        return 1 + self.registers

    def tokens(self, batch: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the tokens that enter the first block, (n, prefix + rows * columns, width).

        In: a normalised batch (n, 3, height, width), sides multiples of 14. Also returns rows and
        columns; patches are row-major.
        """
        grid = self.patch_embed(batch)
        rows, columns = grid.shape[-2:]
        patches = grid.flatten(2).transpose(1, 2)
        table = self.positions(rows, columns)
        first = (self.cls_token + table[:, :1]).expand(len(batch), -1, -1)
        parts = [first, patches + table[:, 1:]]
        if self.registers:
            parts.insert(1, self.register_tokens.expand(len(batch), -1, -1))
        return torch.cat(parts, dim=1), (rows, columns)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Return the table for a grid, (1, 1 + rows * columns, width); the class token's first."""
        if rows == columns == GRID:
            return self.pos_embed
        table = self.pos_embed[:, 1:].float().reshape(1, GRID, GRID, self.width)
        table = table.permute(0, 3, 1, 2)
        if self.antialias:
            small = functional.interpolate(
                table, size=(rows, columns), mode="bicubic", antialias=True, align_corners=False
            )
        else:  # the 0.1 moves the samples, not the size
            factors = ((rows + 0.1) / GRID, (columns + 0.1) / GRID)
            small = functional.interpolate(
                table, scale_factor=factors, mode="bicubic", align_corners=False
            )
        return torch.cat([self.pos_embed[:, :1], small.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Return, after the last norm, class token (n, width), patches (n, m, width), the grid."""
        x, grid = self.tokens(batch)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x[:, 0], x[:, self.prefix :], grid


class ClassToken(DinoV2):
    """The same, whose descriptor is the class token after the last norm."""

    @property
    def dim(self) -> int:
        """Return the width."""
        return self.width

    def refusal(self, height: int, width: int) -> str | None:
        """Return why an image of this size is not taken, or None."""
        return refusal(height, width)

    def forward(self, batch: Tensor) -> Tensor:  # type: ignore[override]
        """Return (n, width)."""
        token, _, _ = super().forward(batch)
        return token


class WithHead(nn.Module):
    """A backbone and what makes a descriptor of its answers, under their usual names in files.

    The head has `dim`, and may have `least`, the fewest patches that it takes.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        """Keep both."""
        super().__init__()
        self.backbone, self.aggregator = backbone, head
        self.dim: int = head.dim  # type: ignore[assignment]
        self.least = int(getattr(head, "least", 1))

    def refusal(self, height: int, width: int) -> str | None:
        """Return why an image of this size is not taken, or None."""
        return refusal(height, width, self.least)

    def forward(self, batch: Tensor) -> Tensor:
        """Return descriptors (n, dim)."""
        out: Tensor = self.aggregator(*self.backbone(batch))
        return out


def giant_in_file(name: str) -> str:
    """Return the official name for one of the giant's, whose MLP is a SwiGLU.

    >>> giant_in_file("blocks.3.mlp.fc1.weight"), giant_in_file("blocks.3.mlp.fc2.bias")
    ('blocks.3.mlp.w12.weight', 'blocks.3.mlp.w3.bias')
    """
    for ours, theirs in (("fc1", "w12"), ("fc2", "w3")):
        name = re.sub(rf"(blocks\.\d+\.mlp\.){ours}\.", rf"\g<1>{theirs}.", name)
    return name


def refusal(height: int, width: int, least: int = 1) -> str | None:
    """Return why an image of this size cannot be cut into at least `least` patches, or None."""
    if height % PATCH or width % PATCH:
        return f"sides must be multiples of {PATCH}; `--resize multiple-of-{PATCH}` makes them so"
    count = (height // PATCH) * (width // PATCH)
    if count < least:
        return f"these are {count} patches of {PATCH} pixels, and it takes {least} or more"
    return None
