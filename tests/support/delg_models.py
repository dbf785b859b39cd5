"""What the tests of DELG's TensorFlow models share: variables by formula, files made of them.

The methods are imported when they are needed: every test imports this module, by conftest.py.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

OFFICIAL = {
    "delg_slim_r50": ("r50-gldv2clean", "legacy-corner", "block3", 32),
    "delg_tf_r50": ("r50-tf2", "size-ratio", "decoder", 32),
}


@pytest.fixture(scope="session")
def variables(shared: Callable[[str], Path]) -> Callable[[str], dict[str, np.ndarray]]:
    """Return a function that makes the variables of a conformance model from their formula."""
    spec = importlib.util.spec_from_file_location("_recipe", shared("parity/recipe.py"))
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    made: dict[str, dict[str, np.ndarray]] = {}

    def make(name: str) -> dict[str, np.ndarray]:
        if name not in made:
            content = json.loads(shared(f"parity/{name}.json").read_text(encoding="utf-8"))
            made[name] = {}
            for key, shape in content["entries"]:
                leaf = key.replace("/weights", "/kernel").replace("/biases", "/bias")
                tensor = recipe.tensor(content["seed"], leaf, tuple(shape))
                made[name][key.removesuffix(":0")] = tensor
        return dict(made[name])

    return make


def matched(named: dict[str, np.ndarray], variant: str) -> tuple[dict[str, Any], list[str]]:
    """Return the state that variables make, and the variables that are left."""
    from bench.methods._delg import model_file, models, variables

    model = models.MODELS[variant]
    with torch.device("meta"):
        network = model_file.build(model, "decoder", 32)
    return variables.state_of(named, network, model.family, model.depth, "model")


def metadata(variant: str, sampling: str, feed: str, stride: int) -> dict[str, str]:
    """Return the metadata of a file that was converted without proof."""
    from bench.methods._delg import convert, model_file

    proof = convert.UNPROVEN
    return model_file.metadata(variant, ("model", "0" * 64), sampling, feed, stride, proof)


@pytest.fixture(scope="session")
def files(
    variables: Any, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[str, Path]]:
    """Return a function that gives the variant and the converted file of a conformance model."""
    folder = tmp_path_factory.mktemp("converted")

    def find(name: str) -> tuple[str, Path]:
        variant, path = OFFICIAL[name][0], folder / f"{name}.safetensors"
        if not path.exists():
            state, unused = matched(variables(name), variant)
            assert unused == []
            save_file(state, path, metadata(*OFFICIAL[name]))
        return variant, path

    return find
