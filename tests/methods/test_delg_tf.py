"""DELG's TensorFlow models: what they give is the official answer, and what the record keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.describe import engine, extract, loading, pyramid
from bench.images import decode
from bench.methods._delg import convert
from bench.types import Image
from tests.support.delg_models import OFFICIAL

TOLERANCE = 2e-5


@pytest.fixture(scope="module", params=OFFICIAL)
def case(request: pytest.FixtureRequest, files: Any, shared: Any) -> tuple[engine.Loaded, Any]:
    """Return a loaded method and the official answers."""
    variant, path = files(request.param)
    loaded = loading.load(f"delg.{variant}", str(path), "cpu")
    with np.load(shared(f"parity/{request.param}.npz"), allow_pickle=False) as stored:
        answers = dict(stored)
    return loaded, answers


def boxed(case: str) -> Image:
    name, _, box = case.partition("@")
    return Image(case, f"{name}.png", tuple(float(x) for x in box.split("x")) if box else None)


def described(loaded: engine.Loaded, folder: Path, wanted: list[Image]) -> np.ndarray:
    parts, _ = extract.extract(loaded, folder, wanted, "describe", force=True)
    return np.concatenate([part.open() for part in parts])


@pytest.mark.slow
def test_global_descriptors_are_the_official_ones(case: Any, shared: Any) -> None:
    loaded, answers = case
    rows = described(loaded, shared("parity/images"), [boxed(str(x)) for x in answers["cases"]])
    difference = np.abs(rows - answers["descriptors"]).max(axis=1)
    assert (difference < TOLERANCE).all(), difference


@pytest.mark.slow
def test_each_scale_is_the_official_one_and_another_rule_is_seen(case: Any, shared: Any) -> None:
    loaded, answers = case
    folder, wanted = shared("parity/images"), [boxed(str(x)) for x in answers["cases"]]
    for at, scale in enumerate(loaded.rule.scales if "per_scale" in answers else ()):
        rows = described(
            replace(loaded, rule=replace(loaded.rule, scales=(scale,))), folder, wanted
        )
        official = answers["per_scale"][:, at]
        official = official / np.linalg.norm(official, axis=1, keepdims=True)
        assert np.abs(rows - official).max() < TOLERANCE
    legacy = loaded.rule.scale_sampling == "legacy-corner"
    other = replace(loaded.rule, scale_sampling="size-ratio" if legacy else "legacy-corner")
    rows = described(replace(loaded, rule=other), folder, wanted[:1])
    assert np.abs(rows[0] - answers["descriptors"][0]).max() > 3 * TOLERANCE


def dense(loaded: engine.Loaded, folder: Path, name: str, scale: float = 1.0) -> Any:
    """Return what the method's `local` gives for a case: (h, w, 128) and (h, w)."""
    image = boxed(name)
    pixels = decode.load(folder / image.file, image.box, loaded.rule)
    batch = pyramid.to_batch([pixels], loaded.rule, "cpu")
    with torch.inference_mode():
        features, attention = loaded.method.local(pyramid.at_scale(batch, scale, loaded.rule))
    assert features.shape[2:] == attention.shape[2:]
    return features[0].permute(1, 2, 0).numpy(), attention[0, 0].numpy()


@pytest.mark.slow
def test_dense_local_features_are_the_official_ones(case: Any, shared: Any) -> None:
    loaded, answers = case
    if "reduced_a" not in answers:
        pytest.skip("the answers of this model are selected features: see the next test")
    for name in answers["cases"]:
        features, attention = dense(loaded, shared("parity/images"), str(name))
        assert np.abs(features - answers[f"reduced_{name}"]).max() < TOLERANCE
        assert np.abs(attention - answers[f"attention_{name}"]).max() < TOLERANCE


@pytest.mark.slow
def test_selected_local_features_are_the_official_ones(case: Any, shared: Any) -> None:
    """The strongest 150 over seven scales: the same places, and there the same descriptors."""
    loaded, answers = case
    if "locations@@a" not in answers:
        pytest.skip("the answers of this model are dense: see the test before")
    rule = loaded.method.local_rule
    for name in map(str, answers["cases"]):
        parts: dict[str, list[np.ndarray]] = {"locations": [], "descriptors": [], "attention": []}
        for scale in rule["scales"]:
            features, attention = dense(loaded, shared("parity/images"), name, scale)
            places = np.argwhere(np.ones_like(attention)) * rule["stride_px"] / scale
            parts["locations"].append(np.c_[places, np.full(len(places), 1 / scale)])
            rows = features.reshape(-1, 128)
            parts["descriptors"].append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
            parts["attention"].append(attention.ravel())
        ours = {key: np.concatenate(value) for key, value in parts.items()}
        order = np.argsort(-ours["attention"], kind="stable")[:150]
        theirs = {key: answers[f"{key}@@{name}"] for key in (*parts, "scales")}
        expected = np.c_[theirs["locations"], theirs["scales"]]
        for key, official in {**theirs, "locations": expected}.items():
            if key != "scales":
                assert np.abs(ours[key][order] - official).max() < 1e-4, (name, key)


def test_what_the_record_keeps(case: Any) -> None:
    loaded, _ = case
    info = loaded.info
    assert info.weights["source"].endswith(
        f"converted from model (sha256 {'0' * 64}); {convert.UNPROVEN}"
    )
    slim = info.variant == "r50-gldv2clean"
    assert info.weights["training_set"].startswith("GLDv2-clean" if slim else "not stated")
    assert info.config["local_stride"] == loaded.method.local_rule["stride_px"]
    assert loaded.method.local_rule["threshold"] == (454.6 if slim else 0.0)
