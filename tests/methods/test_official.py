"""The official descriptors: from an image file and an official checkpoint to the same vector.

The conformance data hold the answers of the authors' programs, on checkpoints that follow from a
formula. Here these are written in the layouts of the published files and go the public way: the
method by its name with a path of weights, a dataset.json with boxes, the stage `extract`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench import datasets
from bench.describe import engine, extract, loading, pyramid
from bench.images import decode
from bench.types import Image

pytestmark = pytest.mark.slow

TOLERANCE = 2e-5  # of unit vectors, float32 on a processor
State = dict[str, torch.Tensor]


def pycls_file(state: State, path: Path) -> None:
    """Write a checkpoint as pycls does, with the learning rate of a cosine schedule."""
    rate = 0.05 * (1.0 + np.cos(np.pi * 0.5))
    optimizer = {"state": {}, "param_groups": [{"lr": rate, "params": [0, 1]}]}
    torch.save({"epoch": 99, "model_state": state, "optimizer_state": optimizer, "cfg": "A: 1"},
               path)  # fmt: skip


def published_dolg(state: State, path: Path) -> None:
    """Write a checkpoint with the GeM exponent under the name that the published files have."""
    classifier = {"desc_cls.weight": torch.zeros(7, 512), "desc_cls.t": torch.zeros(1)}
    exponent = {"pool1.p": torch.tensor([2.5])}
    kept = {key: tensor for key, tensor in state.items() if key != "pool_g.p"}
    pycls_file({**kept, **exponent, **classifier}, path)


def with_optimiser(state: State, path: Path) -> None:
    """Write a checkpoint as the training program of Token does."""
    torch.save({"epoch": 30, "state_dict": state, "optim": {"state": {}}}, path)


@dataclass(frozen=True)
class Official:
    """One pair of conformance files: the method it is for, and how its checkpoint is written."""

    name: str
    method: str
    file: str
    write: Callable[[State, Path], None]
    crop: str = "box"

    def __str__(self) -> str:
        return self.name


OFFICIAL = (
    Official("dolg_r50_aspp", "dolg.r50", "r50.pyth", pycls_file),
    Official("dolg_r101_noaspp", "dolg.r101", "r101_dolg_512.pyth", published_dolg),
    Official("token_r50", "token.r50", "R50-Token.pth", torch.save),
    Official("token_r101", "token.r101", "R101-Token.pth", with_optimiser),
    Official("solar_r101", "solar.r101-token", "solar.safetensors", save_file),
    Official("delg_token_r101", "delg.r101-token", "R101-DELG.pth", torch.save),
    Official("delg_torch_r50", "delg.r50-port", "r50_delg.pyth", pycls_file, crop="whole"),
)


@dataclass(frozen=True)
class Case:
    """A loaded method with the answers that it must give."""

    official: Official
    loaded: engine.Loaded
    answers: dict[str, Any]
    images: Path

    def rows(self, wanted: list[Image], **changes: Any) -> np.ndarray:
        """Describe images under the method's rule, with changes."""
        loaded = replace(self.loaded, rule=replace(self.loaded.rule, **changes))
        parts, _ = extract.extract(loaded, self.images, wanted, "describe", force=True)
        return np.concatenate([part.open() for part in parts])

    def answer(self, case: str, kind: str = "descriptors") -> np.ndarray:
        """Return what the official program answered for a case."""
        return self.answers[kind][list(self.answers["cases"]).index(case)]


def only(*names: str) -> list[Official]:
    """Return some of the programs, for a test that is not about all."""
    return [official for official in OFFICIAL if official.name in names]


@pytest.fixture(scope="module", params=OFFICIAL, ids=str)
def case(
    request: pytest.FixtureRequest, shared: Any, tmp_path_factory: pytest.TempPathFactory
) -> Case:
    """Build the checkpoint of one program from its formula, and load it like a published file."""
    official: Official = request.param
    described = json.loads(shared(f"parity/{official.name}.json").read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("_recipe", shared("parity/recipe.py"))
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    state = {
        key: torch.from_numpy(recipe.tensor(described["seed"], key, tuple(shape)))
        for key, shape in described["entries"]
    }
    path = tmp_path_factory.mktemp(official.name) / official.file
    official.write(state, path)
    loaded = loading.load(official.method, str(path), "cpu")
    path.unlink()
    with np.load(shared(f"parity/{official.name}.npz"), allow_pickle=False) as stored:
        answers = dict(stored)
    return Case(official, loaded, answers, shared("parity/images"))


def image(case: str) -> Image:
    """Return file and box of a case: "a" or "a@40.7x30.2x250.9x199.6"."""
    name, _, box = case.partition("@")
    return Image(name, f"{name}.png", tuple(float(x) for x in box.split("x")) if box else None)


def test_descriptors_are_the_official_ones(case: Case, tmp_path: Path) -> None:
    """Whole images as the database; boxes as queries; or queries shown whole, boxes or not."""
    cases = [str(name) for name in case.answers["cases"]]
    boxes = [image(name) for name in cases if "@" in name]
    files = [f"{name}.png" for name in cases if "@" not in name]
    if case.official.crop == "whole":
        boxes = [Image(file, file, (20.5, 30.5, 90.2, 99.9)) for file in files]
    queries = [{"file": query.file, "box": query.box} for query in boxes] or [{"file": files[0]}]
    described = {
        "name": "parity",
        "images": str(case.images),
        "database": files,
        "queries": queries,
        "protocols": {"any": [{"positive": [0]}] * len(queries)},
    }
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(described), encoding="utf-8")
    dataset = replace(datasets.load(str(path)), crop=case.official.crop)
    rows = [case.rows(list(dataset.database))]
    names = [name for name in cases if "@" not in name]
    if case.official.crop == "whole":
        rows, names = [*rows, case.rows(list(datasets.shown_queries(dataset)))], names * 2
    elif boxes:
        rows.append(case.rows(list(datasets.shown_queries(dataset))))
        names += [name for name in cases if "@" in name]
    official = np.stack([case.answer(name) for name in names])
    difference = np.abs(np.concatenate(rows) - official).max(axis=1)
    assert (difference < TOLERANCE).all(), list(zip(names, difference, strict=True))


def test_each_scale_is_the_official_one(case: Case) -> None:
    """The network apart from the average over the scales."""
    scales: tuple[float, ...] = (1.0,)
    if "single_scale" in case.answers:
        official = case.answer("a", "single_scale")[None]
    else:
        scales, official = case.loaded.rule.scales, case.answer("a", "per_scale")
    for scale, answer in zip(scales, official, strict=True):
        row = case.rows([image("a")], scales=(scale,))[0]
        assert np.abs(row - answer / np.linalg.norm(answer)).max() < TOLERANCE, scale


# One wrong line of the preprocessing each; the last two need an image above the size cap.
CROP, LARGE = "a@40.7x30.2x250.9x199.6", "d@100.4x50.6x1250.5x580.2"
CHANGES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "dolg_r50_aspp": [
        (CROP, {"channels": "rgb"}),
        (CROP, {"crop_rounding": "round"}),
        (CROP, {"scales": (0.7071, 1.0, 1.4142)}),
    ],
    "token_r101": [
        (CROP, {"channels": "bgr"}),
        (CROP, {"crop_rounding": "truncate"}),
        (CROP, {"scale_sampling": "size-ratio"}),
        (LARGE, {"scales": (1.0,), "query_cap": "own"}),
        (LARGE, {"scales": (1.0,), "cap_filter": "bilinear"}),
    ],
}


@pytest.mark.parametrize("case", only(*CHANGES), ids=str, indirect=True)
def test_the_answers_would_show_a_wrong_rule(case: Case) -> None:
    """The tolerance is far below what one wrong line does."""
    for name, change in CHANGES[case.official.name]:
        kind = "single_scale" if change.get("scales") == (1.0,) else "descriptors"
        row = case.rows([image(name)], **change)[0]
        assert np.abs(row - case.answer(name, kind)).max() > 4 * TOLERANCE, change


@pytest.mark.parametrize("case", only("delg_torch_r50"), ids=str, indirect=True)
def test_local_features_of_the_port(case: Case) -> None:
    rule = case.loaded.rule
    for name in ("a", "c"):
        pixels = decode.load(case.images / f"{name}.png", None, rule)
        batch = pyramid.to_batch([pixels], rule, "cpu")
        with torch.inference_mode():
            features, attention = case.loaded.method.describe.local(batch)
        official = case.answers[f"attention_{name}"]
        np.testing.assert_allclose(attention[0, 0], official, atol=1e-4, rtol=1e-5)
        rows = features[0].flatten(1).T[:64]
        assert np.abs(rows.numpy() - case.answers[f"local_{name}"]).max() < TOLERANCE


def test_what_the_record_keeps(case: Case) -> None:
    info = case.loaded.info
    assert f"{info.name}.{info.variant}" == case.official.method
    assert info.weights["trained"] is True
    assert info.weights["source"].startswith(f"file {case.official.file}, in the layout of ")
    assert "GLDv2-clean" in info.weights["training_set"]
    if info.name == "dolg":
        multi_atrous, stored = case.official.name == "dolg_r50_aspp", info.config["stored_p"]
        assert info.config["multi_atrous"] is multi_atrous
        assert (info.config["p"], stored) == (3.0, 3.0 if multi_atrous else 2.5)
