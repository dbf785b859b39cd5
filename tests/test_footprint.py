"""Parameters, operations and memory: counted by hand, then by the code."""

from __future__ import annotations

import functools
import platform
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench import engine, footprint, loading, memory, methods
from bench.types import Settings


class Slotted:
    __slots__ = ("net",)

    def __init__(self, net: nn.Module) -> None:
        self.net = net


class Bound:
    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def describe(self, batch: Any) -> Any:
        return self.net(batch)


def closing_over(net: nn.Module) -> Any:
    return lambda batch: net(batch)


def applied(net: nn.Module, batch: Any) -> Any:
    return net(batch)


@pytest.mark.parametrize(
    "make",
    [
        lambda net: SimpleNamespace(describe=net),
        lambda net: SimpleNamespace(describe=net.forward),
        lambda net: SimpleNamespace(describe=closing_over(net)),
        lambda net: SimpleNamespace(describe=functools.partial(applied, net)),
        lambda net: SimpleNamespace(describe=Bound(net).describe),
        lambda net: SimpleNamespace(describe=closing_over([{"a": Bound(net)}])),
        lambda net: SimpleNamespace(describe=None, config={}, inner=Slotted(net)),
        lambda net: SimpleNamespace(describe=None, network=net),
        Bound,
        lambda net: net,
    ],
)
def test_a_network_is_found_wherever_a_method_may_hold_it(make: Any) -> None:
    net = nn.Linear(3, 2)
    method = make(net)
    assert footprint.parameters(method) == {"parameters": 8, "parameter_bytes": 32}


def test_what_holds_no_network_has_no_known_parameters() -> None:
    unknown = {"parameters": None, "parameter_bytes": None}
    for held in (None, 5, "text", [1, {"a": 2}], np.zeros(3), torch.zeros(3), nn, nn.Linear):
        method = SimpleNamespace(describe=lambda batch: batch, held=held)
        assert footprint.parameters(method) == unknown
    assert footprint.parameters(methods.load("random-unit")[1]) == unknown


def test_a_circle_of_objects_ends() -> None:
    one = SimpleNamespace(describe=None)
    one.other = SimpleNamespace(back=one, net=nn.Linear(1, 1))
    assert footprint.parameters(one)["parameters"] == 2


def test_a_parameter_in_two_places_counts_once_and_buffers_do_not() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))  # 18 + 2, 2 + 2
    twice = SimpleNamespace(describe=net, network=net[0], again=[net, net[0]])
    assert footprint.parameters(twice) == {"parameters": 24, "parameter_bytes": 96}
    half = SimpleNamespace(describe=nn.Linear(3, 2).to(torch.bfloat16))
    assert footprint.parameters(half) == {"parameters": 8, "parameter_bytes": 16}


def test_the_whitening_of_delg_is_counted_with_its_backbone() -> None:
    _, method, _ = methods.load("delg.untrained")
    _, gem, _ = methods.load("gem.untrained")
    more = footprint.parameters(method)["parameters"] - footprint.parameters(gem)["parameters"]
    assert more == 1280 * 384 + 384


def test_what_the_harness_does_to_a_network_changes_no_count() -> None:
    info, method, rule = methods.load("gem.untrained")
    held, pixels = footprint.parameters(method), np.ones((64, 96, 3), dtype=np.uint8)
    plain = engine.Loaded(method, info, rule, "cpu")
    counted = footprint.flops(lambda: engine.describe(plain, [pixels]))
    fast = loading.ready(method, info, rule, "cpu", Settings())
    assert fast.parameters == held
    assert footprint.flops(lambda: engine.describe(fast, [pixels])) == counted


def test_operations_are_those_of_the_textbook() -> None:
    grouped = nn.Conv2d(4, 6, (3, 5), groups=2, stride=2)
    image, rows = torch.randn(2, 4, 9, 11), torch.randn(5, 7)
    cases = [
        (lambda: grouped(image), 2 * (2 * 6 * 4 * 4) * (2 * 3 * 5)),
        (lambda: nn.Linear(7, 3)(rows), 2 * 5 * 7 * 3),
        (lambda: rows @ rows.T, 2 * 5 * 7 * 5),
        (lambda: rows + rows, None),
        (lambda: rows.numpy() @ rows.numpy().T, None),
    ]
    for work, wanted in cases:
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert footprint.flops(work) == wanted


def test_attention_is_counted_though_torch_has_one_operation_for_it() -> None:
    tokens, dim = 6, 16
    attention = nn.MultiheadAttention(dim, 2, batch_first=True).eval()
    x = torch.randn(1, tokens, dim)
    before = torch.backends.mha.get_fastpath_enabled()
    with torch.inference_mode():
        counted = footprint.flops(lambda: attention(x, x, x, need_weights=False))
    projections, products = 4 * 2 * tokens * dim * dim, 2 * 2 * tokens * tokens * dim
    assert counted == projections + products
    assert torch.backends.mha.get_fastpath_enabled() == before


@pytest.mark.skipif(not footprint._fused_operations(), reason="this torch has no oneDNN")
def test_a_convolution_fused_by_onednn_counts_as_a_convolution() -> None:
    conv, x = nn.Conv2d(4, 8, 3, padding=1, groups=2), torch.randn(1, 4, 6, 7)
    how = (conv.padding, conv.stride, conv.dilation, conv.groups)
    end = ("relu", [], "")
    other = torch.randn(1, 8, 6, 7)
    wanted = 2 * (8 * 6 * 7) * (2 * 3 * 3)
    with torch.inference_mode():
        plain = torch.ops.mkldnn._convolution_pointwise
        added = torch.ops.mkldnn._convolution_pointwise_.binary
        weight = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *how, [1, 4, 6, 7])
        assert footprint.flops(lambda: conv(x)) == wanted
        assert footprint.flops(lambda: plain(x, weight, conv.bias, *how, *end)) == wanted
        sums = footprint.flops(lambda: added(other, x, weight, conv.bias, *how, "add", 1.0, *end))
        assert sums == wanted


def test_peaks_of_a_phase_are_its_own_and_the_total_is_kept() -> None:
    before = memory.peak_resident_bytes()
    peaks = memory.Peaks("cpu")
    with peaks.phase() as large:
        np.ones(200 << 20, dtype=np.uint8).sum()
    with peaks.phase() as small:
        pass
    assert large["device_allocated_bytes"] is None
    assert large["device_reserved_bytes"] is None
    if small["resident_bytes"] == large["resident_bytes"]:
        pytest.skip("this system does not set the peak back")
    held = memory.held_bytes("cpu")
    assert large["resident_bytes"] > small["resident_bytes"] + (150 << 20)
    assert small["resident_bytes"] < held + (100 << 20)
    assert peaks.total()["resident_bytes"] >= max(before, large["resident_bytes"])


def test_free_memory_is_read_where_the_system_says_it() -> None:
    free = memory.free_bytes("cpu")
    if free is not None:
        assert 0 < free < 1 << 50
    assert memory._number_in("/no/such/file", "X:") is None


def test_memory_that_was_freed_between_pieces_in_use_is_given_back() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("this is about glibc, which keeps such memory")
    pieces = [np.ones(64 << 10, dtype=np.uint8) for _ in range(3200)]
    full = memory.held_bytes("cpu")
    del pieces[:-1]  # the last one keeps the heap from shrinking by itself
    kept = memory.held_bytes("cpu")
    memory.give_back()
    assert kept > full - (50 << 20)
    assert memory.held_bytes("cpu") < full - (150 << 20)
