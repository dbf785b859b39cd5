"""The memory of a method in a process of its own: the same alone, third, and in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pillow

from bench.describe import loading
from bench.measure import alone
from bench.types import Image

MEGABYTE = 1 << 20

# A network of 40 MB whose first layer makes maps of 64 numbers a pixel.
PLUG_IN = """
from types import SimpleNamespace
VARIANTS = {{"one": "a network"}}

def load(variant, weights, device):
    import torch
    from torch import nn

    print("a plug-in may print")
    {fault}
    first, wide = nn.Conv2d(3, 64, 1), nn.Linear(64, {wide})
    network = nn.Sequential(first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), wide).to(device).eval()
    return SimpleNamespace(
        version="1", dim={wide}, config={{}}, network=network, describe=network, preprocess={{}},
        weights={{"source": "none", "licence": "none", "sha256": None, "training_set": "none",
                 "trained": None}},
    )
"""
WIDE = 40 * MEGABYTE // 4 // 65


def method(folder: Path, name: str, wide: int = WIDE, fault: str = "") -> str:
    path = folder / f"{name}.py"
    path.write_text(PLUG_IN.format(wide=wide, fault=fault), encoding="utf-8")
    return f"{path}:one"


@pytest.fixture
def photograph(tmp_path: Path) -> tuple[Path, Image]:
    Pillow.new("RGB", (640, 480), (90, 120, 150)).save(tmp_path / "a.png")
    return tmp_path, Image("a", "a.png")


def measured(text: str, photograph: tuple[Path, Image]) -> Any:
    loaded = loading.load(text, None, "cpu")
    return alone.measure(alone.asked(text, None, loaded, *photograph))


def total(content: dict[str, int]) -> int:
    return content["weights_bytes"] + content["activations_bytes"]


@pytest.mark.slow
def test_a_method_has_the_same_memory_alone_third_and_in_another_order(
    workspace, photograph, tmp_path: Path
) -> None:
    of = method(tmp_path, "large")
    others = [method(tmp_path, name, wide) for name, wide in (("other", 3 * WIDE), ("small", 8))]
    first = measured(of, photograph)
    if first["resident"] is None:
        pytest.skip("this system does not set the peak back")
    keep = [loading.load(text, None, "cpu") for text in others]  # what a command holds before
    ballast = torch.ones(100 * MEGABYTE // 4)
    third = measured(of, photograph)
    del keep
    contents = [item["resident"] for item in (first, third)]
    assert first["device"] is None
    for item in contents:
        assert item["weights_bytes"] == pytest.approx(40 * MEGABYTE, rel=0.1)
        # maps of 64 float32 a pixel, and an image of 3; both at once, and little else
        maps = 640 * 480 * (64 + 3) * 4
        assert maps < item["activations_bytes"] < 1.2 * maps + 8 * MEGABYTE
    assert total(contents[0]) == pytest.approx(total(contents[1]), rel=0.05)
    assert ballast.sum() > 0


@pytest.mark.slow
def test_a_process_that_fails_measures_nothing_and_costs_nothing(
    workspace, photograph, tmp_path: Path, capsys
) -> None:
    of = method(tmp_path, "plain", 8)
    loaded = loading.load(of, None, "cpu")
    method(tmp_path, "plain", 8, "raise RuntimeError('no room for 7')")
    assert alone.measure(alone.asked(of, None, loaded, *photograph)) is None
    assert "plain" in capsys.readouterr().err


def test_a_process_that_cannot_start_measures_nothing(photograph, monkeypatch, capsys) -> None:
    loaded = loading.load("random-unit", None, "cpu")
    monkeypatch.setattr(alone.sys, "executable", "/no/such/python")
    assert alone.measure(alone.asked("random-unit", None, loaded, *photograph)) is None
    assert "/no/such/python" in capsys.readouterr().err
