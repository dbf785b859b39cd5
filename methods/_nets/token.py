"""The network of Token: four tokens gather a feature map, and are refined into one descriptor.

Wu et al., "Learning Token-Based Representation for Image Retrieval", AAAI 2022, section 3. Where
the paper's figures and the released program differ, the network is the released one, which the
released weights were trained in: the softmax of the tokenizer runs over the tokens, and a block
of the decoder attends to the map first, then runs its MLP, then attends among the tokens.
"""

from __future__ import annotations

import torch
from timm.layers.drop import drop_path
from torch import Tensor, nn
from torch.nn import functional

from bench.methods._nets import resnet

DIM, TOKENS, HEADS = 1024, 4, 8
DROP = 0.1  # in training: of outputs of layers, of attention, and of whole residual branches


class Token(nn.Module):
    """ResNet and the token-based aggregation; attributes are named as in the checkpoints."""

    dim = DIM

    def __init__(self, depth: int) -> None:
        """Take the depth of the ResNet."""
        super().__init__()
        self.backbone = resnet.resnet(depth)
        self.tr = Aggregation()

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 1024), not normalised, from a normalised batch (n, 3, height, width)."""
        descriptors: Tensor = self.tr(resnet.stages(self.backbone, batch)[1])
        return descriptors


class Aggregation(nn.Module):
    """From a feature map to tokens to a vector."""

    def __init__(self, channels: int = 2048, dim: int = DIM, blocks: int = 2) -> None:
        """Take the channels of the feature map, the width, and the blocks of the decoder."""
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(channels, dim, 1), nn.BatchNorm2d(dim))
        self.encoder = nn.ModuleList([Encoder(dim)])
        self.query = nn.Parameter(torch.randn(1, TOKENS, dim) * dim**-0.5)
        self.token_norm = nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim))
        self.decoder = nn.ModuleList([Decoder(dim) for _ in range(blocks)])
        self.proj = nn.Sequential(nn.Linear(TOKENS * dim, dim), nn.BatchNorm1d(dim))

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, dim) from a feature map (n, channels, h, w)."""
        x = self.conv(features).flatten(2).transpose(1, 2)  # (n, positions, dim)
        for block in self.encoder:
            x = block(x)
        shares = (self.query @ x.transpose(1, 2)).softmax(dim=1)  # of each position, per token
        t = self.token_norm(shares @ x)
        for block in self.decoder:
            t = block(t, x)
        descriptors: Tensor = self.proj(t.flatten(1))
        return descriptors


class Encoder(nn.Module):
    """Self-attention among positions, then a linear layer on normalised values; both are added."""

    def __init__(self, dim: int = DIM) -> None:
        """Make the layers for this width."""
        super().__init__()
        self.attn = Attention(dim)
        self.bn = nn.BatchNorm1d(dim)
        self.mlp = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, positions, dim) of the same shape."""
        x = x + kept(self.attn(x, x), self)
        return x + kept(self.mlp(self.bn(x.transpose(1, 2)).transpose(1, 2)), self)


class Decoder(nn.Module):
    """Tokens attend to positions, pass an MLP, and attend to each other; all are added.

    `bn1` and `bn2` are the names in the checkpoints; they are layer normalisations.
    """

    def __init__(self, dim: int = DIM) -> None:
        """Make the layers for this width."""
        super().__init__()
        self.bn1 = nn.LayerNorm(dim)
        self.cross_attn = Attention(dim)
        self.mlp = Mlp(dim)
        self.bn2 = nn.LayerNorm(dim)
        self.self_attn = Attention(dim)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Return tokens (n, 4, dim) from tokens and positions (n, positions, dim)."""
        t = t + kept(self.cross_attn(self.bn1(t), x), self)
        t = t + kept(self.mlp(t), self)
        u = self.bn2(t)
        return t + kept(self.self_attn(u, u), self)


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between."""

    def __init__(self, dim: int = DIM) -> None:
        """Make the layers for this width."""
        super().__init__()
        self.fc1 = nn.Linear(dim, 2 * dim)
        self.fc2 = nn.Linear(2 * dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        """Return (n, 4, dim) of the same shape."""
        made: Tensor = self.fc2(functional.gelu(self.fc1(t)))
        return made


class Attention(nn.Module):
    """Multi-head attention: 8 heads (Vaswani et al., NeurIPS 2017, section 3.2)."""

    def __init__(self, dim: int = DIM) -> None:
        """Make the layers for this width."""
        super().__init__()
        self.q, self.k, self.v, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        """Return (n, a, dim) for `asking` (n, a, dim) and `asked` (n, b, dim)."""
        q, k, v = (
            layer(rows).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer, rows in ((self.q, asking), (self.k, asked), (self.v, asked))
        )
        dropped = DROP if self.training else 0.0
        heads = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropped)
        attended: Tensor = self.proj(heads.transpose(1, 2).flatten(2))
        return attended


def kept(branch: Tensor, block: nn.Module) -> Tensor:
    """Return a residual branch; in training some of it, or all of it for an image, is dropped."""
    if not block.training:
        return branch
    dropped: Tensor = drop_path(functional.dropout(branch, DROP), DROP, training=True)
    return dropped
