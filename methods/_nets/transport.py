"""Features gathered by optimal transport: the head of SALAD, CliqueMining and MegaLoc.

Izquierdo, Civera, "Optimal Transport Aggregation for Visual Place Recognition", CVPR 2024,
section 3; written from the formulas.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

CLUSTERS, HIDDEN, GLOBAL, ROUNDS = 64, 512, 256, 3
CONFIG = {"clusters": CLUSTERS, "transport_rounds": ROUNDS}


class Transport(nn.Module):
    """Class token and patches to the concatenated parts, each of unit norm: (n, 256 + 64 * local).

    A dropout at index 1 of the two convolutional parts does nothing here, and leaves its number.
    """

    least = CLUSTERS + 1  # patches; with fewer the dustbin's share is not positive

    def __init__(self, width: int, local: int) -> None:
        """Build it; `local` is the width of the features that are gathered."""
        super().__init__()
        self.dim = GLOBAL + CLUSTERS * local
        self.token_features = nn.Sequential(
            nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, GLOBAL)
        )
        self.cluster_features = _convolutions(width, local)
        self.score = _convolutions(width, CLUSTERS)
        self.dust_bin = nn.Parameter(torch.empty(()))

    def forward(self, token: Tensor, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the parts; `token` is (n, width), `patches` (n, rows * columns, width)."""
        maps = patches.transpose(1, 2).reshape(len(patches), -1, *grid)
        features = self.cluster_features(maps).flatten(2)  # (n, local, m)
        shares = assignment(self.score(maps).flatten(2).float(), self.dust_bin)  # (n, 64, m)
        gathered = functional.normalize(features.float() @ shares.transpose(1, 2), dim=1)
        whole = functional.normalize(self.token_features(token), dim=1)
        return torch.cat([whole, gathered.flatten(1)], dim=1)


class Projected(nn.Module):
    """MegaLoc's head: the parts to unit norm together, and a linear layer."""

    least = Transport.least

    def __init__(self, width: int, local: int, dim: int) -> None:
        """Build it."""
        super().__init__()
        self.agg, self.dim = Transport(width, local), dim
        self.linear = nn.Linear(self.agg.dim, dim)

    def forward(self, token: Tensor, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return (n, dim)."""
        out: Tensor = self.linear(functional.normalize(self.agg(token, patches, grid), dim=1))
        return out


def _convolutions(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, HIDDEN, 1), nn.Identity(), nn.ReLU(), nn.Conv2d(HIDDEN, out, 1)
    )


def assignment(scores: Tensor, dust_bin: Tensor) -> Tensor:
    """Return the share (n, k, m) of every patch for every cluster, without the dustbin's.

    `scores` (n, k, m) float32, m > k. Sinkhorn's iteration on logarithms: every cluster and every
    patch has the mass 1 / (m + k), the dustbin what is left.
    """
    n, k, m = scores.shape
    bins = dust_bin.float().expand(n, 1, m)
    table = torch.cat([scores, bins], dim=1)
    norm = -math.log(m + k)
    rows = torch.full((n, k + 1), norm, device=scores.device)
    rows[:, -1] += math.log(m - k)
    u = torch.zeros_like(rows)
    v = torch.zeros(n, m, device=scores.device)
    for _ in range(ROUNDS):
        u = rows - torch.logsumexp(table + v[:, None, :], dim=2)
        v = norm - torch.logsumexp(table + u[:, :, None], dim=1)
    return torch.exp(table + u[:, :, None] + v[:, None, :] - norm)[:, :-1]
