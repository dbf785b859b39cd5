"""Heads and side paths on the tokens of DINOv2: ImAge, SuperVLAD, EDTformer, SelaVPR++.

Each has the names of its authors' files; a network is `backbone` and what stands beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.methods._nets import dinov2


class OnDino(nn.Module):
    """What these networks share: a backbone, the size of the descriptor, images in patches."""

    dim: int

    def __init__(self, backbone: dinov2.DinoV2) -> None:
        """Keep the backbone."""
        super().__init__()
        self.backbone = backbone

    def refusal(self, height: int, width: int) -> str | None:
        """Return why an image of this size is not taken, or None."""
        return dinov2.refusal(height, width)


class ImAge(OnDino):
    """Learned tokens that enter before a block and gather what the patches have.

    Lu et al., "Towards Implicit Aggregation: Robust Image Representation for Place Recognition in
    the Transformer Era", NeurIPS 2025. The positions follow the rule of models without registers.
    """

    count, before = 8, 8
    dim = 8 * 768

    def __init__(self) -> None:
        """Build it."""
        super().__init__(dinov2.DinoV2("base", registers=4))
        self.learnable_aggregation_tokens = nn.Parameter(torch.empty(1, self.count, 768))

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 6144), token by token."""
        x, _ = self.backbone.tokens(batch)
        for number, block in enumerate(self.backbone.blocks):
            if number == self.before:
                x = torch.cat([self.learnable_aggregation_tokens.expand(len(x), -1, -1), x], dim=1)
            x = block(x)
        rows: Tensor = self.backbone.norm(x)[:, : self.count].flatten(1)
        return rows


class SuperVlad(OnDino):
    """Sums of patch tokens by soft assignment to few clusters, without centres.

    Lu et al., "SuperVLAD: Compact and Robust Image Descriptors for Visual Place Recognition",
    NeurIPS 2024; without the encoder across images.
    """

    clusters, ghosts = 4, 1
    dim = 4 * 768

    def __init__(self) -> None:
        """Build it."""
        super().__init__(dinov2.DinoV2("base"))
        self.aggregation = nn.ModuleDict(
            {"conv": nn.Conv2d(768, self.clusters + self.ghosts, 1, bias=False)}
        )

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 3072), cluster by cluster."""
        _, patches, _ = self.backbone(batch)
        unit = functional.normalize(patches, dim=2)
        scores = self.aggregation["conv"](unit.transpose(1, 2)[..., None])[..., 0]  # (n, 5, m)
        shares = scores.float().softmax(dim=1)[:, : self.clusters]
        return functional.normalize(shares @ unit.float(), dim=2).flatten(1)


class EdtAdapter(nn.Module):
    """A narrow MLP beside a block."""

    def __init__(self, width: int, inner: int) -> None:
        """Build it."""
        super().__init__()
        self.D_fc1, self.D_fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        out: Tensor = self.D_fc2(functional.gelu(self.D_fc1(x)))
        return out


class EdtLayer(nn.Module):
    """Queries that look at each other, then at the tokens; no feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        """Build it."""
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Return queries (n, q, width) after looking."""
        q = self.norm1(queries + self.self_attn(queries, queries, queries, need_weights=False)[0])
        seen = self.multihead_attn(q, memory, memory, need_weights=False)[0]
        out: Tensor = self.norm2(q + seen)
        return out


class EdtFormer(OnDino):
    """A decoder whose learned queries look at the tokens of a side path.

    Jin et al., "EDTformer: An Efficient Decoder Transformer for Visual Place Recognition", 2025.
    """

    count, heads, share = 64, 16, 0.5
    dim = 256 * 16

    def __init__(self) -> None:
        """Build it."""
        super().__init__(dinov2.DinoV2("base"))
        self.backbone.adapters = nn.ModuleList([EdtAdapter(768, 4) for _ in self.backbone.blocks])
        self.queries = nn.Parameter(torch.empty(1, self.count, 768))
        self.fc = nn.Linear(768, 768)
        layers = nn.ModuleList([EdtLayer(768, self.heads) for _ in range(2)])
        self.decoder = nn.ModuleDict({"layers": layers})
        self.channel_proj = nn.Linear(768, 256)
        self.row_proj = nn.Linear(self.count, 16)

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 4096), channel by channel."""
        x, _ = self.backbone.tokens(batch)
        y, adapters = x, _parts(self.backbone.adapters)
        for block, adapter in zip(self.backbone.blocks, adapters, strict=True):
            x = block(x)
            z = y + x
            y = z + self.share * adapter(z)
        memory = self.fc(self.backbone.norm(y))
        q = self.queries.expand(len(batch), -1, -1)
        for layer in _parts(self.decoder["layers"]):
            q = layer(q, memory)
        rows: Tensor = self.row_proj(self.channel_proj(q).transpose(1, 2)).flatten(1)
        return rows


def _parts(modules: Any) -> list[nn.Module]:
    return list(modules)
