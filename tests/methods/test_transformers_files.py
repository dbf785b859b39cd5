"""Files of methods on DINOv2: what does not fit is refused with the reason, for every method.

The states have the keys and shapes of the conformance data and nearly no bytes: every tensor is
one number, repeated by its strides.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import methods
from bench.errors import BenchError
from tests.support.conformance import Find, State
from tests.support.traps import Trap

pytestmark = pytest.mark.slow

# The set with the keys of a file, what a file of it is called, and a key that must be there.
FILES = {
    "dinov2.vits14-reg": ("dinov2_vits14_reg", "with registers", "norm.bias"),
    "megaloc": ("megaloc_8448", "a MegaLoc checkpoint", "backbone.norm.bias"),
    "salad": ("salad_dinov2_8448", "SALAD", "backbone.model.norm.bias"),
    "cliquemining": ("cliquemining_dinov2_8448", "SALAD", "backbone.model.norm.bias"),
    "boq": ("boq_dinov2_12288", "a BoQ checkpoint of DINOv2", "aggregator.fc.weight"),
    "image-vpr": ("image_dinov2_6144", "ImAge", "backbone.norm.bias"),
    "supervlad": ("supervlad_dinov2_3072", "SuperVLAD", "aggregation.conv.weight"),
    "edtformer": ("edtformer_dinov2_4096", "EDTformer", "backbone.norm.bias"),
    "selavprpp": ("selavprpp_base", "SelaVPR++", "linear2.bias"),
    "selavprpp.base-rerank": ("selavprpp_base_rerank", "SelaVPR++", "linear4.bias"),
    "anyloc.vits14": ("anyloc_vits14", "AnyLoc", "norm.bias"),
}
QUICK = "anyloc.vits14"
METHODS = [pytest.param(m, marks=() if m == QUICK else pytest.mark.large) for m in FILES]
SAME = {"salad": "cliquemining", "cliquemining": "salad"}  # one network, two trainings


@pytest.fixture(scope="module")
def states(request: pytest.FixtureRequest) -> dict[str, State]:
    find: Find = request.getfixturevalue("shared")
    return {name: state_of(find, about[0]) for name, about in FILES.items()}


def state_of(find: Find, name: str) -> State:
    """Return a state with the keys and shapes of a set."""
    facts = json.loads(find(f"parity2/{name}.json").read_text(encoding="utf-8"))
    entries = [*facts["entries"]]
    if "centres" in facts:
        entries.append(["c_centers", facts["centres"]["shape"]])
    state = {}
    for key, shape in entries:
        counts = key.endswith("num_batches_tracked")
        value = torch.tensor(0 if counts else 3.0 if key.endswith(".p") else 0.5)
        state[key.removeprefix("module.")] = value.expand(tuple(shape)) if shape else value
    return state


def refused(method: str, content: Any, path: Path) -> str:
    """Return why a method does not load from a file with this in it."""
    torch.save(content, path)
    with pytest.raises(BenchError) as caught:
        methods.load(method, str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_is_refused(
    states: dict[str, State], method: str, tmp_path: Path
) -> None:
    """One key too few, one too many, another shape, NaN, another depth: each is named."""
    state, path = states[method], tmp_path / "w.pth"
    _, _, key = FILES[method]
    less = {name: value for name, value in state.items() if name != key}
    assert f"1 missing: {key}" in refused(method, less, path)
    assert "1 unexpected: head.odd" in refused(method, {**state, "head.odd": torch.ones(1)}, path)
    wide = torch.ones(1).expand(*state[key].shape, 2)
    assert f"1 of another shape: {key} is " in refused(method, {**state, key: wide}, path)
    bad = torch.tensor([torch.nan]).expand(state[key].shape)
    assert f"1 with NaN or infinity: {key}" in refused(method, {**state, key: bad}, path)
    short = {name: value for name, value in state.items() if "blocks.11." not in name}
    assert "11 blocks" in refused(method, short, path)


@pytest.mark.parametrize("method", METHODS)
def test_files_of_other_methods_are_refused(
    states: dict[str, State], method: str, tmp_path: Path
) -> None:
    for other, state in states.items():
        if other not in (method, SAME.get(method)):
            text = refused(method, state, tmp_path / "w.pth")
            assert FILES[other][1] in text.partition(";")[0]
            assert f"; {methods.full_name(method)} needs " in text


@pytest.mark.parametrize("method", METHODS)
def test_code_in_a_file_is_not_run(states: dict[str, State], method: str, tmp_path: Path) -> None:
    content = {"model_state_dict": states[method], "meta": Trap(tmp_path / "touched")}
    assert "could run code" in refused(method, content, tmp_path / "w.pth")
    assert not (tmp_path / "touched").exists()
