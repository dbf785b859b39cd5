"""The ResNet of DELG's open TensorFlow 2 code, from timm's by its differences.

1. Stride 2 is on the first 1x1 convolution of a stage's first block, as in He et al., CVPR 2016,
   instead of on the 3x3.
2. Every convolution has a bias, and batch normalisation the epsilon of Keras, 1e-3.
3. The first convolution pads as TensorFlow's SAME (2 before and 3 after an even side), and the
   max-pooling not at all.

The code's switch `block3_strides` takes every second position of the third stage before local
features and before the fourth stage, which then has no stride: the same global descriptor.

Source: tensorflow/models, research/delf/delf/python/training/model/resnet50.py.
"""

from __future__ import annotations

import re
from typing import Any

from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from bench.methods._delg import tf
from bench.methods._nets import resnet

EPS = 1e-3
HEADS = {
    "whitening": "embedding_layer",
    "encode": "autoencoder/autoenc_conv1",
    "decode": "autoencoder/autoenc_conv2",
    "attention1": "attention/attn_conv1",
    "attention_bn": "attention/bn_conv1",
    "attention2": "attention/attn_conv2",
}
_LEAVES = {
    "weight": "gamma", "bias": "beta",
    "running_mean": "moving_mean", "running_var": "moving_variance",
}  # fmt: skip


def backbone(depth: int) -> tf.Stages:
    """Return ResNet-50 (the open code has no other) with what differs in Keras."""
    trunk = resnet.resnet(depth)
    for stage in (trunk.layer2, trunk.layer3, trunk.layer4):
        first: Any = stage[0]
        first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
    trunk.conv1 = Conv2dSame(3, 64, 7, stride=2, bias=True)
    trunk.maxpool = nn.MaxPool2d(3, 2)
    for part in trunk.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = EPS
        elif isinstance(part, nn.Conv2d):
            part.bias = nn.Parameter(part.weight.new_zeros(part.out_channels))
    return tf.Stages(trunk, subsampled=False)


def name_in_graph(name: str, _depth: int = 50) -> str:
    """Return the Keras variable of a parameter of `backbone`.

    >>> name_in_graph("conv1.bias"), name_in_graph("layer3.5.bn2.running_var")
    ('conv1/bias', 'bn4f_branch2b/moving_variance')
    >>> name_in_graph("layer1.0.downsample.0.weight"), name_in_graph("bn1.weight")
    ('res2a_branch1/kernel', 'bn_conv1/gamma')
    """
    found = re.fullmatch(r"(?:layer(\d)\.(\d+)\.)?(conv|bn|downsample\.)(\d)\.(\w+)", name)
    if found is None:
        raise ValueError(name)
    layer, block, kind, number, leaf = found.groups()
    branch = f"branch2{'abc'[int(number) - 1]}"
    if kind == "downsample.":
        kind, branch = ("conv", "bn")[int(number)], "branch1"
    leaf = {"weight": "kernel"}.get(leaf, leaf) if kind == "conv" else _LEAVES[leaf]
    if layer is None:
        return f"{'bn_' if kind == 'bn' else ''}conv1/{leaf}"
    letter = chr(ord("a") + int(block))
    return f"{'res' if kind == 'conv' else 'bn'}{int(layer) + 1}{letter}_{branch}/{leaf}"
