"""BoQ's head: learned queries look at the positions of a feature map, twice, and are combined.

Ali-bey, Chaib-draa, Giguère, "BoQ: A Place is Worth a Bag of Learnable Queries", CVPR 2024,
section 3. The head is the same for both backbones; only its width differs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

QUERIES, BLOCKS, ROWS, HEAD = 64, 2, 32, 64  # HEAD: channels of an attention head


class BoqHead(nn.Module):
    """From a feature map (n, channels, h, w) to (n, dim * 32), not normalised."""

    def __init__(self, channels: int, dim: int) -> None:
        """Take the channels of the map and the width of the head."""
        super().__init__()
        self.proj_c = nn.Conv2d(channels, dim, 3, padding=1)
        self.norm_input = nn.LayerNorm(dim)
        self.boqs = nn.ModuleList([Block(dim) for _ in range(BLOCKS)])
        self.fc = nn.Linear(BLOCKS * QUERIES, ROWS)

    def forward(self, features: Tensor) -> Tensor:
        """Return what the queries found, combined, channel by channel."""
        x = self.norm_input(self.proj_c(features).flatten(2).transpose(1, 2))
        found = []
        for block in self.boqs:
            x, out = block(x)
            found.append(out)
        descriptors: Tensor = self.fc(torch.cat(found, dim=1).transpose(1, 2)).flatten(1)
        return descriptors


class Block(nn.Module):
    """One bag of queries, and the encoder layer in front of it."""

    def __init__(self, dim: int) -> None:
        """Make the layers; they are named as in the checkpoints."""
        super().__init__()
        self.encoder = Encoder(dim)
        self.queries = nn.Parameter(torch.empty(1, QUERIES, dim))
        self.self_attn, self.norm_q = SelfAttention(dim), nn.LayerNorm(dim)
        self.cross_attn, self.norm_out = CrossAttention(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return encoded positions (n, positions, dim) and the pooled queries (n, 64, dim)."""
        x = self.encoder(x)
        queries = self.norm_q(self.queries + self.self_attn(self.queries))  # once for a batch
        return x, self.norm_out(self.cross_attn(queries, x))


class Encoder(nn.Module):
    """A transformer layer that normalises after each of its two sums."""

    def __init__(self, dim: int) -> None:
        """Make the layers for this width."""
        super().__init__()
        self.self_attn = SelfAttention(dim)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, positions, dim) of the same shape."""
        x = self.norm1(x + self.self_attn(x))
        encoded: Tensor = self.norm2(x + self.linear2(functional.relu(self.linear1(x))))
        return encoded


class SelfAttention(nn.Module):
    """Multi-head attention of positions among themselves, heads of 64 channels."""

    def __init__(self, dim: int) -> None:
        """Make the layers for this width."""
        super().__init__()
        self.in_proj, self.out_proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, positions, dim) of the same shape."""
        attended: Tensor = self.out_proj(attention(*self.in_proj(x).chunk(3, dim=2)))
        return attended


class CrossAttention(nn.Module):
    """Multi-head attention of queries to positions, heads of 64 channels."""

    def __init__(self, dim: int) -> None:
        """Make the layers for this width."""
        super().__init__()
        self.q_proj, self.kv_proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        """Return (n, queries, dim) for queries (1, queries, dim) and x (n, positions, dim)."""
        q = self.q_proj(queries).expand(len(x), -1, -1)
        attended: Tensor = self.out_proj(attention(q, *self.kv_proj(x).chunk(2, dim=2)))
        return attended


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return (n, a, dim) for q (n, a, dim), k and v (n, b, dim), in heads of 64 channels."""
    q, k, v = (rows.reshape(*rows.shape[:2], -1, HEAD).transpose(1, 2) for rows in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def split(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in which the joint projection of a cross-attention is in two layers.

    The checkpoints stack the rows of query, key and value, as torch does.
    """
    parted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        head, found, kind = name.partition("cross_attn.in_proj_")
        if found and len(tensor) % 3 == 0:
            rows = len(tensor) // 3
            parted[f"{head}cross_attn.q_proj.{kind}"] = tensor[:rows]
            parted[f"{head}cross_attn.kv_proj.{kind}"] = tensor[rows:]
        else:
            parted[name] = tensor
    return parted


def name_in_file(name: str) -> str:
    """Return the name in a checkpoint, after `split`, for a name of `BoqHead`.

    >>> name_in_file("boqs.0.encoder.self_attn.in_proj.bias"), name_in_file("fc.bias")
    ('aggregator.boqs.0.encoder.self_attn.in_proj_bias', 'aggregator.fc.bias')
    """
    return f"aggregator.{name.replace('in_proj.', 'in_proj_')}"
