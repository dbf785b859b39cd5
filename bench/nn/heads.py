"""Heads turn descriptors into a loss over classes; they are trained, but not part of weights.

Class weights are float32 and whole on every process. With their gradient, the optimiser's momentum,
and the unit rows of a step with theirs, they take `bytes_needed`: for the 81,313 classes of
GLDv2-clean 0.83 GB at 512 numbers (DOLG), 1.67 GB at 1024 (Token, DELG's attention) and 3.33 GB at
2048 (DELG). The logits of a batch of 128 take 42 MB, some five times while a step is computed. With
several processes each step sums the gradient over them: 0.17, 0.33 and 0.67 GB; sharding the
classes would save that, and is not done.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.nn import losses

STANDARD_DEVIATION = 0.01


def bytes_needed(classes: int, dim: int) -> int:
    """Return the bytes of class weights while training: five tensors of float32."""
    return 5 * 4 * classes * dim


class ClassWeights(nn.Module):
    """A unit vector for every class; gives cosines with descriptors."""

    def __init__(self, classes: int, dim: int) -> None:
        """Draw the vectors from a normal distribution."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dim) * STANDARD_DEVIATION)

    def forward(self, descriptors: Tensor) -> Tensor:
        """Return cosines (n, classes) float32 of descriptors (n, dim) of any norm and precision."""
        with torch.autocast(descriptors.device.type, enabled=False):
            rows = functional.normalize(descriptors.float(), dim=1)
            return rows @ functional.normalize(self.weight.float(), dim=1).T


class ArcFace(nn.Module):
    """ArcFace as in DELG and Token; `learned` makes the scale a parameter."""

    def __init__(
        self, classes: int, dim: int, margin: float, scale: float, *, learned: bool = False
    ) -> None:
        """Take the margin in radian, and the factor of the cosines or what it begins with."""
        super().__init__()
        self.weights = ClassWeights(classes, dim)
        self.margin = margin
        self.scale = nn.Parameter(torch.tensor(float(scale)), requires_grad=learned)

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch (n, dim) with labels (n,)."""
        losses.check_labels(labels, len(self.weights.weight))
        cosine = losses.arcface(self.weights(descriptors), labels, self.margin)
        return losses.cross_entropy(self.scale * cosine, labels)


class CurricularFace(nn.Module):
    """CurricularFace as in DOLG, with its state t."""

    curriculum: Any

    def __init__(self, classes: int, dim: int, margin: float, scale: float) -> None:
        """Take the margin in radian and the factor of the cosines."""
        super().__init__()
        self.weights = ClassWeights(classes, dim)
        self.margin, self.scale = margin, scale
        self.register_buffer("curriculum", torch.zeros(1))

    def forward(self, descriptors: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch (n, dim) with labels (n,)."""
        losses.check_labels(labels, len(self.weights.weight))
        cosine = losses.curricularface(
            self.weights(descriptors), labels, self.margin, self.curriculum, training=self.training
        )
        return losses.cross_entropy(self.scale * cosine, labels)


class Attention(nn.Module):
    """The classifier through which DELG's attention is trained: a plain linear layer."""

    def __init__(self, classes: int, channels: int) -> None:
        """Make the layer."""
        super().__init__()
        self.classes = nn.Linear(channels, classes)

    def forward(self, features: Tensor, attention: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of maps (n, channels, h, w), their attention (n, 1, h, w) and labels."""
        with torch.autocast(features.device.type, enabled=False):
            logits = self.classes(losses.attended(features, attention))
        return losses.cross_entropy(logits, labels)
