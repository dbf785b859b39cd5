"""Resizing of float images on the device, as the rules of `bench.images.resize` say."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from bench.images.resize import Step


def resized(batch: Tensor, steps: tuple[Step, ...]) -> Tensor:
    """Return a batch (n, c, height, width) after the steps; float32.

    The filters are torch's, with aligned edges of pixels: what torchvision does to a tensor.
    """
    for step in steps:
        before = batch.shape[-2], batch.shape[-1]
        height, width = step.size(before)
        if step.to == "crop":
            top, left = step.corner(before)
            batch = batch[..., top : top + height, left : left + width]
        elif (height, width) != before:
            batch = functional.interpolate(
                batch,
                size=(height, width),
                mode=step.filter,
                antialias=step.antialias,
                align_corners=False,
            )
    return batch
