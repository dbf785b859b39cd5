"""The convolutions of VGG16, as place recognition uses them: up to conv5_3, without its ReLU.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015. Names are torchvision's numbers in its list of layers.
"""

from __future__ import annotations

from typing import cast

import timm
from torch import nn

CHANNELS, STRIDE = 512, 16


def vgg16() -> nn.Sequential:
    """Return the layers 0 to 28: (n, 3, h, w) to (n, 512, h / 16, w / 16), rounded down."""
    layers = cast(nn.Sequential, timm.create_model("vgg16", pretrained=False).features)
    return layers[:-2]


def refusal(height: int, width: int) -> str | None:
    """Return why VGG16 takes no image of this size, or None."""
    small = min(height, width) < STRIDE
    return f"VGG16 needs {STRIDE} pixels a side" if small else None
