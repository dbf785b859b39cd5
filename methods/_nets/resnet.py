"""ResNets of timm, and the names that families of checkpoints give their layers.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with stride 2 on the 3x3
convolution of a stage's first block ("V1.5"). pycls (with STRIDE_1X1 off: DOLG, DELG's PyTorch
port, CVNet) and torchvision (all others) build the same network: 7x7 stem of stride 2, 3x3
max-pooling of stride 2, 3-4-6-3, 3-4-23-3 or 3-8-36-3 bottlenecks (ResNet-18: 2-2-2-2 pairs of 3x3
convolutions), convolutions without bias, batch normalisation with epsilon 1e-5, a projection in the
first block of every stage. Only names differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar, cast

import timm
import torch
from torch import Tensor, nn

BLOCKS = {18: 2, 50: 6, 101: 23, 152: 36}  # of the third stage
CHANNELS = {18: 512, 50: 2048, 101: 2048, 152: 2048}  # of the fourth

Network = TypeVar("Network", bound=nn.Module)


class ResNet(nn.Module):
    """The parts of timm's ResNet that are used here: a type, of which no object is made."""

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    act1: nn.Module
    maxpool: nn.Module
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential


def resnet(depth: int, stages: int = 4) -> ResNet:
    """Return the convolutional part of a ResNet, all four stages or three, under timm's names."""
    model = cast(ResNet, timm.create_model(f"resnet{depth}", pretrained=False, num_classes=0))
    if stages == 3:
        model.layer4 = nn.Sequential()  # which changes nothing
    return model


def last(model: ResNet, batch: Tensor) -> Tensor:
    """Return the output of the last stage that the model has, (n, channels, height, width)."""
    return stages(model, batch)[1]


def stages(model: ResNet, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs of the last two stages of a normalised batch (n, 3, height, width).

    They are (n, 1024, ceil(height / 16), ceil(width / 16)), and 2048 channels at half that size.
    """
    x = model.maxpool(model.act1(model.bn1(model.conv1(batch))))
    third = model.layer3(model.layer2(model.layer1(x)))
    return third, model.layer4(third)


def blank(build: Callable[[], Network]) -> Network:
    """Return the network that `build` makes, in eval mode, its weights not set: load them all."""
    with torch.device("meta"):
        network = build()
    return network.to_empty(device="cpu").eval()


def pycls(name: str) -> str:
    """Return the name in a pycls checkpoint for a name of timm's.

    >>> pycls("bn1.bias"), pycls("layer3.0.downsample.1.bias"), pycls("layer3.22.conv2.weight")
    ('stem.bn.bias', 's3.b1.bn.bias', 's3.b23.f.b.weight')
    """
    found = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", name)
    if not found:
        return f"stem.{name.replace('conv1', 'conv').replace('bn1', 'bn')}"
    layer = found[3].replace("downsample.0", "proj").replace("downsample.1", "bn")
    for number, letter in zip("123", "abc", strict=True):
        layer = layer.replace(f"conv{number}", f"f.{letter}")
        layer = layer.replace(f"bn{number}", f"f.{letter}_bn")
    return f"s{found[1]}.b{int(found[2]) + 1}.{layer}"


def token(name: str) -> str:
    """Return the name in a checkpoint of Token's authors for a name of timm's.

    >>> token("conv1.weight"), token("bn1.bias"), token("layer4.0.downsample.0.weight")
    ('block1.0.weight', 'block1.1.bias', 'block5.0.downsample.0.weight')
    """
    found = re.fullmatch(r"layer(\d)\.(.+)", name)
    if found:
        return f"block{int(found[1]) + 1}.{found[2]}"
    return f"block1.{name.replace('conv1', '0').replace('bn1', '1')}"


def sequential(name: str) -> str:
    """Return the name of a layer of timm's where a program kept torchvision's layers in a list.

    >>> sequential("conv1.weight"), sequential("bn1.bias"), sequential("layer4.0.bn1.weight")
    ('0.weight', '1.bias', '7.0.bn1.weight')
    """
    found = re.fullmatch(r"layer(\d)\.(.+)", name)
    if found:
        return f"{int(found[1]) + 3}.{found[2]}"
    return name.replace("conv1", "0").replace("bn1", "1")


def renamed(name: str, prefix: str, rename: Callable[[str], str]) -> str | None:
    """Return `prefix` and the renamed layer for a name below `backbone.`, None for any other.

    >>> renamed("backbone.bn1.bias", "features.", sequential), renamed("fc.bias", "", sequential)
    ('features.1.bias', None)
    """
    if name.startswith("backbone."):
        return prefix + rename(name.removeprefix("backbone."))
    return None
