"""timm's models: five networks with random weights against timm's own forward; sizes; names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from bench.describe import engine, loading, pyramid
from bench.errors import BenchError

CASES = [
    ("vit_tiny_patch16_224", "cls"),
    ("vit_small_patch16_dinov3.lvd1689m", "avg"),
    ("deit_tiny_patch16_224", "gem"),
    ("resnet18", "avg"),
    ("convnext_atto", "gem"),
    ("vit_base_patch32_clip_quickgelu_224.openai", "head"),
    ("swin_tiny_patch4_window7_224", "avg"),
]
SLOW = ("vit_base_patch32_clip_quickgelu_224.openai", "swin_tiny_patch4_window7_224",
        "vit_small_patch16_dinov3.lvd1689m")  # fmt: skip


def random(name: str, pool: str, folder: Path) -> tuple[Any, Path]:
    """Return timm's model with random weights, whole as timm has it, and the file of its state."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    if pool != "head":  # a file may have the classifier or not
        model.reset_classifier(0)
    path = folder / "random.pth"
    torch.save(model.state_dict(), path)
    return model, path


def pooled(model: Any, pool: str, batch: torch.Tensor) -> torch.Tensor:
    """Pool what timm's `forward_features` gives, written for one image, by loops over positions."""
    if pool == "head":
        return model(batch)
    features = model.forward_features(batch)
    if features.ndim == 3:
        if pool == "cls":
            return features[:, 0]
        positions = features[0, model.num_prefix_tokens :]
    else:
        last = features.shape[-1] == model.num_features
        positions = (features[0] if last else features[0].permute(1, 2, 0)).flatten(0, 1)
    rows = [p.double() if pool == "avg" else p.double().clamp(min=1e-6) ** 3 for p in positions]
    mean = torch.stack(rows).mean(0)
    return (mean if pool == "avg" else mean ** (1 / 3))[None]


@pytest.mark.parametrize(
    ("name", "pool"),
    [pytest.param(*case, marks=pytest.mark.slow if case[0] in SLOW else ()) for case in CASES],
)
def test_descriptors_are_timms_own(name: str, pool: str, tmp_path: Path) -> None:
    model, path = random(name, pool, tmp_path)
    loaded = loading.load(f"timm.{name}-{pool}", str(path), "cpu")
    native = replace(loaded, rule=replace(loaded.rule, resize="native"))
    sides = model.pretrained_cfg["input_size"][1:]
    noise = np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8)
    row = engine.describe(native, [noise])[0]
    with torch.inference_mode():
        own = pooled(model, pool, pyramid.to_batch([noise], native.rule, "cpu"))[0]
    assert loaded.info.dim == len(own)
    assert np.abs(row - (own / own.norm()).numpy()).max() < 2e-5


def test_pixels_are_the_models_own(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    _, path = random(name, "cls", tmp_path)
    loaded = loading.load(f"timm.{name}-cls", str(path), "cpu")
    config = timm.get_pretrained_cfg(name)
    assert loaded.rule.resize == "pillow-bicubic:248+centre-crop:224x224"  # 224 / 0.9, down
    np.testing.assert_allclose(loaded.rule.mean, [255 * x for x in config.mean])
    assert loaded.method.timm_resize == loaded.rule.resize  # type: ignore[attr-defined]
    assert engine.refusal(loaded, (224, 240)) is None, "any size that the patch allows"
    assert "multiples of 16" in str(engine.refusal(loaded, (224, 230)))


def test_a_model_of_one_size_says_which(tmp_path: Path) -> None:
    _, path = random("mixer_s32_224", "avg", tmp_path)
    loaded = loading.load("timm.mixer_s32_224-avg", str(path), "cpu")
    assert engine.refusal(loaded, (224, 224)) is None
    assert "224 x 224 alone" in str(engine.refusal(loaded, (256, 224)))


@pytest.mark.parametrize(
    ("variant", "part"),
    [
        ("resnet18", "timm.resnet18 does not say its pooling"),
        ("resnet18-max", "-cls, -avg, -gem, -head"),
        ("resnet18-cls", "no class token"),
        ("resnet81-avg", "did you mean"),
        ("resnet18.nobody-avg", "no model called"),
    ],
)
def test_names_that_are_refused(variant: str, part: str, tmp_path: Path) -> None:
    path = tmp_path / "any.pth"
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(BenchError) as raised:
        loading.load(f"timm.{variant}", str(path), "cpu")
    assert part in str(raised.value)
