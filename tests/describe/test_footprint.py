"""Parameters and memory: counted by hand, then by the code."""

from __future__ import annotations

import platform
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bench import methods
from bench.describe import engine, flops, footprint, loading
from bench.settings import Settings
from bench.system import memory


@pytest.mark.parametrize(
    "method",
    [
        SimpleNamespace(network=nn.Linear(3, 2)),
        SimpleNamespace(network=nn.Linear(3, 2, bias=False), whitening=nn.Linear(2, 1, bias=False)),
        SimpleNamespace(describe=nn.Linear(3, 2)),
    ],
)
def test_the_networks_that_a_method_names_are_counted(method: Any) -> None:
    assert footprint.parameters(method) == {"parameters": 8, "parameter_bytes": 32}


def test_a_method_that_names_no_network_has_no_known_parameters() -> None:
    unknown = {"parameters": None, "parameter_bytes": None}
    net = nn.Linear(3, 2)
    for other in (None, 5, "text", [net], {"a": net}, np.zeros(3), torch.zeros(3), nn, nn.Linear):
        method = SimpleNamespace(describe=lambda batch: net(batch), network=None, other=other)
        assert footprint.parameters(method) == unknown
    assert footprint.parameters(methods.load("random-unit")[1]) == unknown


def test_a_parameter_in_two_places_counts_once_and_buffers_do_not() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))  # 18 + 2, 2 + 2
    twice = SimpleNamespace(describe=net, network=net[0], again=net[0])
    assert footprint.parameters(twice) == {"parameters": 24, "parameter_bytes": 96}
    half = SimpleNamespace(describe=nn.Linear(3, 2).to(torch.bfloat16))
    assert footprint.parameters(half) == {"parameters": 8, "parameter_bytes": 16}


def test_the_whitening_of_delg_is_counted_with_its_backbone() -> None:
    _, method, _ = methods.load("delg.untrained")
    _, gem, _ = methods.load("gem.untrained")
    more = footprint.parameters(method)["parameters"] - footprint.parameters(gem)["parameters"]
    assert more == 1280 * 384 + 384


@pytest.mark.slow
def test_what_the_harness_does_to_a_network_changes_no_count() -> None:
    info, method, rule = methods.load("gem.untrained")
    content, pixels = footprint.parameters(method), np.ones((64, 96, 3), dtype=np.uint8)
    plain = engine.Loaded(method, info, rule, "cpu")
    counted = flops.count(lambda: engine.describe(plain, [pixels]))
    assert counted is not None
    fast = loading.ready(method, info, rule, "cpu", Settings())
    assert fast.parameters == content
    assert flops.count(lambda: engine.describe(fast, [pixels])) == counted


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
    content = memory.held_bytes("cpu")
    assert large["resident_bytes"] > small["resident_bytes"] + (150 << 20)
    assert small["resident_bytes"] < content + (100 << 20)
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
