"""Pooling of a feature map to one vector per image."""

from __future__ import annotations

from torch import Tensor


def gem(features: Tensor, p: float | Tensor = 3.0, eps: float = 1e-6) -> Tensor:
    """Return generalised-mean pooling of (n, c, h, w) as (n, c): mean(max(x, eps)^p)^(1/p).

    Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.
    """
    return features.clamp(min=eps).pow(p).mean(dim=(2, 3)).pow(1.0 / p)
