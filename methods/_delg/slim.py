"""The ResNet of DELG's released models: `resnet_v1` of TF-Slim, from timm's by its differences.

1. A stage's stride 2 is in its last block instead of the next stage's first: there on the 3x3
   convolution, and on the shortcut as x[::2, ::2]. The fourth stage has none. So the third stage's
   output has stride 32, and so have local features.
2. The max-pooling pads as TensorFlow's SAME: nothing before an even side, which torch's 1 would
   shift by one pixel. The strided convolutions pad alike on both sides in both networks.

Source: tf_slim/nets/resnet_v1.py and resnet_utils.py (conv2d_same, subsample).
"""

from __future__ import annotations

import re
from typing import Any

from timm.layers.pool2d_same import MaxPool2dSame
from torch import nn

from bench.methods._delg import tf
from bench.methods._nets import resnet

EPS = 1e-5
HEADS: dict[str, str] = {}  # names not documented
_LEAVES = {
    "weight": "gamma", "bias": "beta",
    "running_mean": "moving_mean", "running_var": "moving_variance",
}  # fmt: skip


def backbone(depth: int) -> tf.Stages:
    """Return ResNet-50 or -101 with the strides and the pooling of TF-Slim."""
    trunk = resnet.resnet(depth)
    trunk.maxpool = MaxPool2dSame(3, stride=2)
    for stage in (trunk.layer2, trunk.layer3, trunk.layer4):
        first: Any = stage[0]
        first.conv2.stride = first.downsample[0].stride = (1, 1)
    for stage in (trunk.layer1, trunk.layer2, trunk.layer3):
        last: Any = stage[-1]
        last.conv2.stride = (2, 2)
        last.downsample = nn.MaxPool2d(1, 2)
    return tf.Stages(trunk, subsampled=True)


def name_in_graph(name: str, depth: int) -> str:
    """Return the TF-Slim variable of a parameter of `backbone`.

    >>> name_in_graph("conv1.weight", 50), name_in_graph("layer3.22.bn2.running_var", 101)[14:]
    ('resnet_v1_50/conv1/weights', 'block3/unit_23/bottleneck_v1/conv2/BatchNorm/moving_variance')
    """
    found = re.fullmatch(r"(?:layer(\d)\.(\d+)\.)?(conv|bn|downsample\.)(\d)\.(\w+)", name)
    if found is None:
        raise ValueError(name)
    layer, block, kind, number, leaf = found.groups()
    place = f"block{layer}/unit_{int(block) + 1}/bottleneck_v1/" if layer else ""
    if kind == "downsample.":
        place, kind = f"{place}shortcut", "conv" if number == "0" else "bn"
    else:
        place = f"{place}conv{number}"
    leaf = "weights" if kind == "conv" else f"BatchNorm/{_LEAVES[leaf]}"
    return f"resnet_v1_{depth}/{place}/{leaf}"
