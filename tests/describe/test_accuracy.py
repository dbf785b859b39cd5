"""Plain and fast networks are both held against float64; what is the worse is not used."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.describe import accuracy, engine, fusion, speedup
from bench.describe.accuracy import Accuracy
from bench.describe.quickened import Quickened
from bench.errors import BenchError
from bench.pipeline.contract_check import judged_accuracy
from bench.types import MethodInfo, Preprocess

PIXELS = [np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8) for i in range(3)]


class Steep(nn.Module):
    """Eight means, and two waves of them, as steep as asked."""

    def __init__(self, steepness: float) -> None:
        """Take the factor inside the sine."""
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.steepness = steepness

    def forward(self, batch: Tensor) -> Tensor:
        x = self.conv(batch).mean(dim=(2, 3))
        return torch.cat([x, (self.steepness * x[:, :2]).sin()], dim=1)


def loaded(network: nn.Module, quick: bool = False) -> engine.Loaded:
    """Return a method with this network, as if it had been loaded; `quick`: called made fast."""
    method: Any = SimpleNamespace(describe=network, network=network)
    dim = int(network(torch.zeros(1, 3, 24, 32)).shape[1])
    info = MethodInfo("a", "b", "1", dim, {}, {})
    done = Quickened() if quick else None
    return engine.Loaded(method, info, Preprocess(), "cpu", quickened=done)


def drawn(steepness: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    return Steep(steepness).eval().requires_grad_(False)


def by_formula(network: nn.Module, rule: Preprocess) -> list[np.ndarray]:
    """Return what float64 gives, worked out from a copy of the network: the oracle."""
    exact = copy.deepcopy(network).double()
    rows = []
    for pixels in PIXELS:
        normal = (pixels.astype(np.float32) - np.float32(rule.mean)) / np.float32(rule.std)
        batch = torch.from_numpy(normal.transpose(2, 0, 1)[None]).double()
        rows.append(functional.normalize(exact(batch), dim=1)[0].numpy())
    return rows


def test_the_figures_are_differences_from_float64() -> None:
    network = drawn()
    plain = loaded(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = accuracy.measure(plain, plain, PIXELS)
    rows = [engine.describe(plain, [item])[0] for item in PIXELS]
    exact = by_formula(network, plain.rule)
    off = max(float(np.abs(a - b).max()) for a, b in zip(rows, exact, strict=True))
    assert found.plain == found.fast == pytest.approx(off, rel=0.05)
    assert 0 < found.plain < 1e-6
    assert 0 < found.moved < 1e-7
    assert found.kept
    assert found.well_conditioned
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_several_scales_are_combined_in_float64() -> None:
    plain = loaded(drawn())
    plain = replace(plain, rule=replace(plain.rule, scales=(0.5, 1.0)))
    found = accuracy.measure(plain, plain, PIXELS)
    assert 1e-9 < found.plain < 1e-6


def test_a_steep_function_is_called_ill_conditioned() -> None:
    gentle, steep = (
        accuracy.measure(loaded(drawn(by)), loaded(drawn(by)), PIXELS) for by in (1.0, 3e4)
    )
    assert gentle.well_conditioned
    assert not steep.well_conditioned
    assert steep.moved > 20 * gentle.moved
    assert steep.plain > 20 * gentle.plain


def test_a_fast_network_that_is_the_worse_is_found() -> None:
    good, worse = drawn(), drawn()
    worse.conv.weight.mul_(1 + 1e-4 * torch.randn(worse.conv.weight.shape))
    found = accuracy.measure(loaded(good), loaded(worse, quick=True), PIXELS)
    assert found.fast > 10 * found.plain
    assert not found.kept


def test_what_names_no_network_or_other_numbers_is_refused() -> None:
    bare = loaded(drawn())
    bare = replace(bare, method=SimpleNamespace(describe=bare.method.describe))
    with pytest.raises(BenchError, match="network"):
        accuracy.measure(bare, bare, PIXELS)
    mixed = drawn().double()
    with pytest.raises(BenchError, match=r"torch\.float64"), accuracy.in_float64(mixed):
        pass


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (Accuracy(3e-8, 5e-8, 2e-9), "ok", "5e-08 from float64, 3e-08 before"),
        (Accuracy(3e-8, 9e-7, 2e-9), "ok", "9e-07 from float64"),  # nearer than is judged
        (Accuracy(3e-6, 7e-6, 2e-7), "FAILS", "allowed 6e-06"),
        (Accuracy(3e-5, 4e-5, 2e-7), "FAILS", "allowed 2e-05"),
        (Accuracy(6e-5, 1e-4, 3e-5), "note", "ill-conditioned"),
        (Accuracy(6e-5, 1.8e-4, 3e-5), "FAILS", "allowed 0.00012"),
    ],
)
def test_twice_the_plain_network_is_the_most(found: Accuracy, state: str, words: str) -> None:
    judged, text = judged_accuracy(found, "a processor")
    assert judged == state
    assert words in text
    assert "(a processor)" in text


class Folded(nn.Module):
    """A convolution and a normalisation, which `speedup` makes one."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)

    def forward(self, batch: Tensor) -> Tensor:
        return self.bn(self.conv(batch)).mean(dim=(2, 3))


@pytest.mark.parametrize(("wrong", "folded"), [(0.0, 1), (1e-7, 1), (8e-6, 0), (1e-3, 0)])
def test_a_step_that_is_farther_from_float64_is_undone(
    monkeypatch: pytest.MonkeyPatch, wrong: float, folded: int
) -> None:
    """8e-6 is within the tolerance of float32 answers, and far more than twice the plain error."""
    torch.manual_seed(0)
    network = Folded().eval().requires_grad_(False)
    fold = speedup.fuse_conv_bn_eval

    def off(conv: Any, norm: Any) -> Any:
        made = fold(conv, norm)
        made.weight.data[:4] *= 1 + wrong
        return made

    monkeypatch.setattr(speedup, "fuse_conv_bn_eval", off)
    monkeypatch.setenv(fusion.SWITCH, "0")
    done = speedup.quicken(network, lambda x: [functional.normalize(network(x))], "cpu")
    assert done.folded == folded
    assert isinstance(network.bn, nn.Identity if folded else nn.BatchNorm2d)
    assert network.conv.weight.dtype == torch.float32


def test_modules_are_put_aside_and_back_in_their_order() -> None:
    outer = nn.Sequential(nn.Conv2d(3, 8, 1))
    first, done = outer[0], Quickened()
    second, third = nn.Identity(), nn.ReLU()
    done.put(outer, "0", second)
    done.put(outer, "0", third)
    with done.aside():
        assert outer[0] is first
    assert outer[0] is third
    done.undo()
    assert outer[0] is first
