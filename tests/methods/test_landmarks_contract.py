"""Methods of places and landmarks with random weights keep the contract that `check` tries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from bench.describe import engine, loading
from bench.pipeline import contract_check
from bench.settings import Settings
from tests.methods.test_landmarks_files import FILES
from tests.support import conformance
from tests.support.conformance import Find

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(request: pytest.FixtureRequest) -> ModuleType:
    find: Find = request.getfixturevalue("shared")
    spec = importlib.util.spec_from_file_location("_recipe2", find("parity2/recipe.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_file(method: str, recipe: ModuleType, path: Path) -> None:
    """Write a file of the method whose numbers follow from the formula of the conformance data."""
    state: conformance.State = {
        name: torch.from_numpy(recipe.tensor(7, name, tuple(tensor.shape)))
        for name, tensor in FILES[method]().items()
    }
    variance = "pca.explained_variance_"
    if variance in state:
        state[variance] = state[variance].abs() + 0.1
    torch.save(state, path)


def small(folder: Path) -> list[tuple[str, bool]]:
    """Write the odd images of `check` without the huge one."""
    return [pair for pair in ODD(folder) if pair[0] != "huge.jpg"]


ODD = contract_check.write_odd_images


QUICK = "eigenplaces.resnet18-256"


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=() if m == QUICK else pytest.mark.large) for m in FILES]
)
def test_the_contract(
    method: str, recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer depends on its batch, odd images are described or named, bf16 is near."""
    path = tmp_path / "w.pth"
    random_file(method, recipe, path)
    fine = loading.load(method, str(path), "cpu")
    monkeypatch.setattr(contract_check, "SAMPLES", 3)
    monkeypatch.setattr(contract_check, "write_odd_images", small)

    def pair() -> tuple[engine.Loaded, engine.Loaded]:
        raise Done

    findings: list[contract_check.Finding] = []
    with pytest.raises(Done):
        findings.extend(
            contract_check.check(
                fine, pair, lambda: loading.load(method, str(path), "cpu", fast=False)
            )
        )
    assert [text for state, text in findings if state == "FAILS"] == []
    measured = [state for state, text in findings if "float64" in text]
    assert measured == ["ok"] or (len(measured) == 1 and method != QUICK)
    refused = {text.partition(" ")[0] for _, text in findings if " is refused" in text}
    assert refused <= {"1-row.png", "1-column.png", "tiny.png"}
    below = ("superglobal", "netvlad", "cirtorch")  # sizes that vanish, or that a layer refuses
    assert bool(refused) == (method.partition(".")[0] in below or "vgg16" in method)
    assert len(findings) >= 12
    rough = loading.load(method, str(path), "cpu", Settings(precision="bf16"))
    assert rough.quickened is not None
    assert rough.quickened.parts > 0
    assert fine.quickened is not None
    assert fine.quickened.channels_last
    draw = np.random.default_rng(0).integers(0, 256, (320, 320, 3), dtype=np.uint8)
    first, two = (engine.describe(loaded, [draw])[0] for loaded in (fine, rough))
    assert 0.98 < float(first @ two) < 1.0 + 1e-6


class Done(Exception):  # noqa: N818
    """Raised where `check` would describe all of mini in two precisions."""
