"""Weights: identity by content, reading without running code, strict loading."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bench import weights
from bench.errors import BenchError
from tests.support.traps import Trap


def test_sha256_is_of_content_not_of_order() -> None:
    a, b = torch.arange(6.0).reshape(2, 3), torch.tensor(3)
    whole = weights.state_sha256({"a": a, "b": b})
    assert len(whole) == 64
    assert weights.state_sha256({"b": b, "a": a.T.contiguous().T}) == whole
    different = [
        {"a": a, "c": b},
        {"a": a.reshape(3, 2), "b": b},
        {"a": a.double(), "b": b},
        {"a": a + 1, "b": b},
        {"a": a.bfloat16(), "b": b},
        {"a": a},
        {},
    ]
    assert len({weights.state_sha256(state) for state in different} | {whole}) == 8


def test_both_formats_and_wrapped_states(tmp_path: Path) -> None:
    state = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    torch.save({"epoch": 3, "model_state": state}, tmp_path / "b.pth")
    parallel = {f"module.{name}": value for name, value in state.items()}
    torch.save({"state_dict": parallel}, tmp_path / "c.pth")
    for name in ("a.safetensors", "a.pth", "b.pth", "c.pth"):
        read = weights.read_state(tmp_path / name)
        assert weights.state_sha256(read) == weights.state_sha256(state)


def test_a_prefix_is_taken_off_only_where_every_name_has_it(tmp_path: Path) -> None:
    mixed = {"module.weight": torch.ones(2), "bias": torch.zeros(2)}
    torch.save(mixed, tmp_path / "a.pth")
    assert set(weights.read_state(tmp_path / "a.pth")) == set(mixed)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_web_page_is_called_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n<!DOCTYPE html><title>Quota exceeded</title>")
    with pytest.raises(BenchError, match=r"is a web page \(HTML\)"):
        weights.read_state(tmp_path / name)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    torch.save({"state_dict": Trap(touched)}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Trap(touched)))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(BenchError, match="could run code") as caught:
            weights.read_state(tmp_path / name)
        assert "weights_only" not in str(caught.value)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("kept", [0, 7, 200, -100])
def test_truncated_files(tmp_path: Path, name: str, kept: int) -> None:
    state = {"weight": torch.ones(40, 30)}
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(state, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BenchError, match=r"truncated|damaged"):
        weights.read_state(path)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no\.pth does not exist"):
        weights.read_state(tmp_path / "no.pth")
    with pytest.raises(BenchError, match="is a folder"):
        weights.read_state(tmp_path)
    torch.save({"epoch": 3, "loss": 0.1}, tmp_path / "odd.pth")
    with pytest.raises(BenchError, match="holds the keys epoch, loss, not a mapping"):
        weights.read_state(tmp_path / "odd.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(BenchError, match="an object of type list"):
        weights.read_state(tmp_path / "list.pth")


def test_strict_loading_lists_every_difference() -> None:
    layer = nn.Linear(3, 2)
    weights.load_strict(layer, {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, "good")
    assert layer.weight.sum() == 6
    with pytest.raises(BenchError) as caught:
        weights.load_strict(layer, {"weight": torch.ones(3, 2), "scale": torch.ones(1)}, "bad.pth")
    assert str(caught.value) == (
        "the weights bad.pth do not fit Linear: 1 missing: bias; 1 unexpected: scale; "
        "1 of another shape: weight is (3, 2) instead of (2, 3)."
    )
