"""The published networks, written down a second time from papers and keys, without our modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.methods._nets import backbones, dolg, resnet, token, token_baselines

State = dict[str, torch.Tensor]


def resnet_by_hand(state: State, block: str, batch: torch.Tensor) -> list[torch.Tensor]:
    """Return the outputs of the four stages (He et al. 2016), from the keys of a checkpoint.

    `block` is the pattern of a block's prefix: "s{}.b{}." counts from 1, "block{}.{}." from 2 and
    0. Stride 2 is on the 3x3 convolution.
    """
    pycls = block.startswith("s")

    def norm(x: torch.Tensor, key: str) -> torch.Tensor:
        parts = (state[f"{key}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts, eps=1e-5)

    stem, bn = ("stem.conv.weight", "stem.bn") if pycls else ("block1.0.weight", "block1.1")
    x = functional.relu(norm(functional.conv2d(batch, state[stem], stride=2, padding=3), bn))
    x = functional.max_pool2d(x, 3, stride=2, padding=1)
    out = []
    for stage in range(4):
        number = 0
        while (
            p := block.format(*((stage + 1, number + 1) if pycls else (stage + 2, number)))
        ) and (any(key.startswith(p) for key in state)):
            stride = 2 if stage > 0 and number == 0 else 1
            names = ("f.a", "f.b", "f.c") if pycls else ("conv1", "conv2", "conv3")
            norms = ("f.a_bn", "f.b_bn", "f.c_bn") if pycls else ("bn1", "bn2", "bn3")
            y = functional.conv2d(x, state[f"{p}{names[0]}.weight"])
            y = functional.relu(norm(y, f"{p}{norms[0]}"))
            y = functional.conv2d(y, state[f"{p}{names[1]}.weight"], stride=stride, padding=1)
            y = functional.relu(norm(y, f"{p}{norms[1]}"))
            y = norm(functional.conv2d(y, state[f"{p}{names[2]}.weight"]), f"{p}{norms[2]}")
            if number == 0:
                proj, bn = ("proj", "bn") if pycls else ("downsample.0", "downsample.1")
                x = functional.conv2d(x, state[f"{p}{proj}.weight"], stride=stride)
                x = norm(x, f"{p}{bn}")
            x = functional.relu(x + y)
            number += 1
        out.append(x)
    return out


@pytest.mark.parametrize("depth", [50, 101])
def test_the_resnet_of_timm_is_that_of_both_families(depth: int) -> None:
    network = resnet.blank(lambda: resnet.resnet(depth))
    backbones.randomise(network, seed=depth)
    batch = torch.randn(1, 3, 67, 98, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = resnet.stages(network, batch)
        for name_in_file, block in ((resnet.pycls, "s{}.b{}."), (resnet.token, "block{}.{}.")):
            state = {name_in_file(name): value for name, value in network.state_dict().items()}
            assert len(state) == len(network.state_dict())
            hand = resnet_by_hand(state, block, batch)[2:]
            for a, b in zip(ours, hand, strict=True):
                torch.testing.assert_close(a / a.abs().max(), b / a.abs().max())


def dolg_by_hand(state: State, batch: torch.Tensor, p: float) -> torch.Tensor:
    """Return DOLG's output as section 3.3 writes it: every position projected, then averaged."""
    backbone = {
        key.removeprefix("globalmodel."): value
        for key, value in state.items()
        if key.startswith("globalmodel.")
    }
    third, fourth = resnet_by_hand(backbone, "s{}.b{}.", batch)[2:]
    pooled = fourth.clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)
    whole = functional.linear(pooled, state["fc_t.weight"], state["fc_t.bias"])
    y = functional.conv2d(third, state["localmodel.conv1.weight"], state["localmodel.conv1.bias"])
    parts = (state[f"localmodel.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    y = functional.batch_norm(y, *parts, eps=1e-5)
    weights, bias = state["localmodel.conv2.weight"], state["localmodel.conv2.bias"]
    attention = functional.softplus(functional.conv2d(y.relu(), weights, bias))
    local = attention * y / y.norm(dim=1, keepdim=True)
    g = whole[:, :, None, None]
    apart = (
        local
        - (local * g).sum(dim=1, keepdim=True) / whole.square().sum(1)[:, None, None, None] * g
    )
    both = torch.cat([whole, apart.mean(dim=(2, 3))], dim=1)
    return functional.linear(both, state["fc.weight"], state["fc.bias"])


@pytest.mark.parametrize("p", [3.0, 2.5])
def test_averaging_before_projecting_changes_nothing(p: float) -> None:
    network = resnet.blank(lambda: dolg.Dolg(50, False))
    backbones.randomise(network, seed=3)
    network.p = p
    state = {dolg.name_in_file(name): value for name, value in network.state_dict().items()}
    batch = torch.randn(2, 3, 67, 98, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours, hand = network(batch), dolg_by_hand(state, batch, p)
    difference = functional.normalize(ours) - functional.normalize(hand)
    assert difference.abs().max() < 1e-6


def test_attention_is_that_of_torch() -> None:
    ours = token.Attention().eval()
    theirs = nn.MultiheadAttention(1024, 8, batch_first=True).eval()
    three = (ours.q, ours.k, ours.v)
    theirs.load_state_dict(
        {
            "in_proj_weight": torch.cat([layer.weight for layer in three]),
            "in_proj_bias": torch.cat([layer.bias for layer in three]),
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    asking, asked = torch.randn(2, 4, 1024), torch.randn(2, 15, 1024)
    with torch.no_grad():
        torch.testing.assert_close(ours(asking, asked), theirs(asking, asked, asked)[0])


def test_second_order_attention_position_by_position() -> None:
    block = token_baselines.SecondOrderAttention().eval()
    features = torch.randn(1, 2048, 2, 3)
    with torch.no_grad():
        f, g, h = (layer(features)[0].flatten(1) for layer in (block.f, block.g, block.h))
        gathered = torch.zeros(1024, 6)
        for i in range(6):
            shares = torch.stack([f[:, i] @ g[:, j] / 32.0 for j in range(6)]).softmax(dim=0)
            gathered[:, i] = sum(shares[j] * h[:, j] for j in range(6))
        expected = features + block.v(gathered.view(1, 1024, 2, 3))
        torch.testing.assert_close(block(features), expected)
