"""Images of which a method makes nothing: named, the rest described, and a run may go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.describe import pyramid
from bench.errors import BenchError
from bench.types import Preprocess

PLUG_IN = '''"""The spread of each channel, which one colour does not have."""

from types import SimpleNamespace
import torch

VARIANTS = {"only": "no weights"}


def load(variant, weights, device):
    def describe(batch):
        spread = ((batch - batch.mean((2, 3), keepdim=True)).abs() - 0.1).relu().mean((2, 3))
        return SPREAD

    return SimpleNamespace(
        version="1", config={}, dim=3, preprocess={"max_side_px": 64}, describe=describe,
        weights=dict(source="none", licence="none", sha256=None, training_set="none", trained=None),
    )
'''
ZEROS, NAN = "spread", "torch.where(spread.sum(1, keepdim=True) == 0, torch.nan, spread)"


@pytest.fixture(params=[ZEROS, NAN])
def method(request, tmp_path: Path) -> Path:
    """Return a method that has no descriptor for an image of one colour."""
    path = tmp_path / "spread.py"
    path.write_text(PLUG_IN.replace("SPREAD", request.param))
    return path


def own(folder: Path) -> Path:
    """Write six images, of which d2 and q1 are of one colour."""
    draw = np.random.default_rng(5)
    (folder / "jpg").mkdir(parents=True)
    for name in ("d0", "d1", "d2", "d3", "q0", "q1"):
        pixels = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        pixels[:] = {"d2": 90, "q1": 140}.get(name, pixels)
        Image.fromarray(pixels).save(folder / "jpg" / f"{name}.png")
    made = {
        "name": "own", "images": "jpg", "database": [f"d{i}.png" for i in range(4)],
        "queries": [{"file": "q0.png"}, {"file": "q1.png"}],
        "protocols": {"all": [{"positive": [0]}, {"positive": [2]}]},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(made))
    return folder


def test_they_are_named_after_all_others_are_described(
    method: Path, workspace, cli: Callable
) -> None:
    folder = own(workspace.folder / "set")
    run = ("run", "--method", method, "--dataset", folder)
    result = cli(*run)
    assert result.status == 1
    assert "2 of 6 images cannot be used" in result.err
    for name in ("d2.png", "q1.png"):
        assert f"{name} has no descriptor: the method spread" in result.err
    result = cli(*run, "--allow-missing")
    assert result.status == 0, result.err
    record = json.loads(workspace.records()[0].read_text())
    assert record["card"]["missing"] == {"rule": "last", "database": [2], "queries": [1]}
    assert [item["file"] for item in record["missing"]] == ["d2.png", "q1.png"]


@pytest.mark.slow
def test_check_tries_an_image_of_one_colour(method: Path, workspace, cli: Callable) -> None:
    result = cli("check", method)
    assert result.status == 1
    lines = [line for line in result.out.splitlines() if "FAILS" in line]
    assert any("one-colour.png" in line for line in lines)
    assert any("black.png" in line for line in lines)


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
def test_the_other_rows_are_what_they_are_alone(scales: tuple[float, ...]) -> None:
    draw = torch.Generator().manual_seed(1)
    batch = torch.randn(4, 3, 8, 8, generator=draw)
    rule = Preprocess(scales=scales)

    def describe(images: torch.Tensor) -> torch.Tensor:
        rows = images.mean((2, 3))
        rows[1], rows[2, 0] = 0, torch.inf
        return rows

    got = pyramid.describe_pyramid(describe, batch, rule, 3, strict=False)
    alone = pyramid.describe_pyramid(lambda b: b.mean((2, 3)), batch, rule, 3)
    assert torch.equal(got[[0, 3]], alone[[0, 3]])
    assert torch.isnan(got[[1, 2]]).any(dim=1).all()
    with pytest.raises(BenchError):
        pyramid.describe_pyramid(describe, batch, rule, 3)
