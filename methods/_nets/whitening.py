"""A learned projection of descriptors, applied after those of all scales are combined."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Whitening(nn.Module):
    """Rows x (n, before) to (x - mean) components^T, (n, after)."""

    mean: Tensor
    components: Tensor

    def __init__(self, before: int, after: int) -> None:
        """Make room for mean and components."""
        super().__init__()
        self.register_buffer("mean", torch.empty(before))
        self.register_buffer("components", torch.empty(after, before))

    def forward(self, rows: Tensor) -> Tensor:
        """Return projected rows, not normalised."""
        return (rows - self.mean) @ self.components.T
