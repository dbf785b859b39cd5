"""Resizing of floats, combination of scales, options of pixels: oracles, refusals, keys."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from bench import contract, datasets
from bench.describe import engine, extract, pixels, pyramid
from bench.errors import BenchError
from bench.records import words
from bench.settings import Settings
from bench.system.progress import Progress
from bench.types import Image as Listed
from bench.types import MethodInfo, Preprocess

STATISTICS: dict[str, Any] = {"mean": (100.0, 90.0, 80.0), "std": (50.0, 60.0, 70.0)}
RNG = np.random.default_rng(5)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def floats(picture: NDArray[np.uint8], size: tuple[int, int], filter_: Any) -> NDArray[np.float32]:
    """Resize by Pillow's filters on 32-bit floats: another program with the same definition."""
    channels = [Image.fromarray(picture[:, :, c].astype(np.float32)) for c in range(3)]
    return np.stack([np.asarray(c.resize(size[::-1], filter_)) for c in channels])


@pytest.mark.parametrize(
    ("text", "filter_", "size"),
    [
        ("bilinear:40x56", Image.Resampling.BILINEAR, (40, 56)),
        ("bicubic:40x56", Image.Resampling.BICUBIC, (40, 56)),
        ("multiple-of-14", Image.Resampling.BILINEAR, (98, 56)),
        ("shorter:30", Image.Resampling.BILINEAR, (49, 30)),
        ("bicubic:200x120", Image.Resampling.BICUBIC, (200, 120)),
    ],
)
def test_floats_are_resized_as_pillow_resizes_floats(
    text: str, filter_: Any, size: tuple[int, int]
) -> None:
    picture = noise(97, 59)
    rule = Preprocess(resize=text, max_side_px=None, **STATISTICS)
    got = pyramid.to_batch([picture], rule, "cpu")[0].numpy()
    mean, std = (np.array(STATISTICS[key])[:, None, None] for key in ("mean", "std"))
    np.testing.assert_allclose(got, (floats(picture, size, filter_) - mean) / std, atol=5e-5)


def test_not_antialiased_is_between_the_two_nearest() -> None:
    picture = noise(64, 64)
    rule = Preprocess(resize="bilinear-no-antialias:16x16", max_side_px=None, mean=(0, 0, 0),
                      std=(1, 1, 1))  # fmt: skip
    got = pyramid.to_batch([picture], rule, "cpu")[0].numpy()
    # at (i + 0.5) * 4 - 0.5 = 4 i + 1.5: half of rows and columns 4 i + 1 and 4 i + 2
    middle = picture.astype(np.float32).reshape(16, 4, 16, 4, 3)[:, 1:3, :, 1:3].mean(axis=(1, 3))
    np.testing.assert_allclose(got, middle.transpose(2, 0, 1), atol=1e-4)


def test_images_of_several_shapes_share_a_batch_and_none_sees_the_others() -> None:
    pictures = [noise(30, 44), noise(61, 20), noise(30, 44)]
    rule = Preprocess(resize="bilinear:28x28", max_side_px=None)
    batch = pyramid.to_batch(pictures, rule, "cpu", torch.channels_last)
    assert batch.shape == (3, 3, 28, 28)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for picture, row in zip(pictures, batch, strict=True):
        assert torch.equal(pyramid.to_batch([picture], rule, "cpu")[0], row)


def test_the_crop_of_floats_is_that_of_bytes() -> None:
    picture = noise(41, 57)
    rule = Preprocess(resize="shorter:41+centre-crop:20x21", max_side_px=None)
    got = pyramid.to_batch([picture], rule, "cpu")
    same = pyramid.to_batch([np.ascontiguousarray(picture[10:30, 18:39])],
                            Preprocess(max_side_px=None), "cpu")  # fmt: skip
    assert torch.equal(got, same)


# Two scales with the units (0.6, 0.8) and (1, 0).
@pytest.mark.parametrize(
    ("combine", "power", "expected"),
    [
        ("sum-of-units", 1.0, (1.6, 0.8)),
        ("maximum", 1.0, (1.0, 0.8)),
        ("power-mean", 2.0, ((0.36 + 1) ** 0.5, 0.8)),
        ("power-mean", 1.0, (1.6, 0.8)),
    ],
)
def test_scales_are_combined(combine: Any, power: float, expected: tuple[float, float]) -> None:
    answers = iter([torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]])])
    rule = Preprocess(scales=(1.0, 0.5), combine=combine, combine_power=power)
    got = pyramid.describe_pyramid(lambda _: next(answers), torch.zeros(1, 3, 8, 8), rule)
    wanted = np.array(expected) / np.linalg.norm(expected)
    np.testing.assert_allclose(got[0].numpy(), wanted, rtol=1e-6)


def test_negative_entries_are_zero_in_a_power_mean_and_kept_in_a_maximum() -> None:
    def combined(combine: Any) -> list[float]:
        answers = iter([torch.tensor([[-1.0, 0.0]]), torch.tensor([[-0.6, 0.8]])])
        rule = Preprocess(scales=(1.0, 0.5), combine=combine)
        made = pyramid.describe_pyramid(lambda _: next(answers), torch.zeros(1, 3, 8, 8), rule)
        return made[0].tolist()

    assert combined("power-mean") == [0.0, 1.0]
    np.testing.assert_allclose(combined("maximum"), (-0.6, 0.8), rtol=1e-6)


def test_scales_by_opencv_and_antialiased() -> None:
    picture = noise(40, 60)
    rule = Preprocess(scale_sampling="opencv", **STATISTICS)
    batch = pyramid.to_batch([picture], rule, "cpu")
    small = pyramid.at_scale(batch, 0.5, rule)[0].numpy()
    mean, std = (np.array(STATISTICS[key])[:, None, None] for key in ("mean", "std"))
    grey = small * std + mean
    np.testing.assert_allclose(grey, np.rint(grey), atol=1e-4)
    blocks = picture.astype(np.float64).reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    assert np.abs(grey.transpose(1, 2, 0) - blocks).max() <= 0.5 + 1e-4
    rule = Preprocess(scale_sampling="antialias", scale_size="floor", **STATISTICS)
    got = pyramid.at_scale(batch, 0.7071, rule)[0].numpy()
    wanted = (floats(picture, (28, 42), Image.Resampling.BILINEAR) - mean) / std
    np.testing.assert_allclose(got, wanted, atol=2e-5)


def method(**more: Any) -> Any:
    def describe(batch: torch.Tensor) -> torch.Tensor:
        return torch.cat([batch.mean(dim=(2, 3)), batch.amax(dim=(2, 3))], dim=1)

    return SimpleNamespace(describe=describe, preprocess={}, **more)


def loaded(rule: Preprocess, **more: Any) -> engine.Loaded:
    info = MethodInfo("m", "v", "1", 6, {}, {"sha256": None})
    return engine.Loaded(method(**more), info, rule, "cpu", Settings())


def test_a_fixed_size_gives_full_batches(tmp_path: Path) -> None:
    listed = []
    for number, (height, width) in enumerate([(20, 30), (31, 17), (20, 30), (50, 51)]):
        Image.fromarray(noise(height, width)).save(tmp_path / f"{number}.png")
        listed.append(Listed(str(number), f"{number}.png"))
    shapes = []

    def describe(batch: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(batch.shape))
        return batch.flatten(2).std(dim=2).repeat(1, 2)

    ready = loaded(Preprocess(resize="bicubic:28x28", max_side_px=None))
    ready.method.describe = describe  # type: ignore[method-assign]
    with Progress("test", 4) as progress:
        rows, faults = engine.rows_of(ready, tmp_path, listed, progress)
    assert (shapes, faults) == ([(4, 3, 28, 28)], {})
    with Progress("test", 1) as progress:
        alone, _ = engine.rows_of(ready, tmp_path, listed[3:], progress)
    np.testing.assert_allclose(rows[3:], alone, atol=1e-6)


def test_batches_are_bounded_by_what_is_decoded() -> None:
    small, large = (28, 28), (4000, 3000)
    assert len(engine.plan([small] * 8, 32, 1_000_000, [large] * 8)) == 8
    assert len(engine.plan([small] * 8, 32, 4_000_000, [large] * 8)) == 2
    assert len(engine.plan([small] * 8, 32, 1_000_000, [(480, 640)] * 8)) == 1


def test_an_image_that_the_method_does_not_take_is_named_and_the_others_kept(
    tmp_path: Path,
) -> None:
    for name, side in (("good", 40), ("small", 20), ("broken", 30)):
        Image.fromarray(noise(side, side)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    listed = [Listed(name, f"{name}.png") for name in ("good", "small", "broken")]

    def refusal(height: int, width: int) -> str | None:
        return "it needs 16 pixels" if min(height, width) < 16 else None

    ready = loaded(Preprocess(scales=(1.0, 0.7)), refusal=refusal)
    with Progress("test", 3) as progress:
        rows, faults = engine.rows_of(ready, tmp_path, listed, progress)
    assert np.linalg.norm(rows[0]) == pytest.approx(1, abs=1e-6)
    assert not rows[1:].any()
    assert sorted(faults) == [1, 2]
    assert faults[1] == f"{tmp_path}/small.png has 14 x 14 pixels at the network: " \
                        "it needs 16 pixels."  # fmt: skip


def test_keys_have_codes_of_the_paths_that_are_used(tmp_path: Path) -> None:
    Image.fromarray(noise(20, 20)).save(tmp_path / "a.png")
    listed = extract.look_at(tmp_path, [Listed("a", "a.png")])

    def paths(**changes: Any) -> Any:
        return extract.key_of(loaded(Preprocess(**changes)), listed).get("pixels")

    assert paths() is None
    assert paths(scale_sampling="opencv") is None, "only at a scale"
    assert paths(scale_sampling="opencv", scales=(1.0, 0.5)) == [{"kind": "opencv", "code": 1}]
    assert paths(resize="pillow-bilinear:20+multiple-of-14") == [
        {"kind": "pillow", "code": 1}, {"kind": "float", "code": 1},
    ]  # fmt: skip
    plain = extract.key_of(loaded(Preprocess()), listed)
    assert "resize" not in plain["preprocess"]
    assert "combine_power" not in plain["preprocess"]
    assert extract.CODE_VERSION == plain["code"] == 2


@pytest.mark.parametrize(
    ("chosen", "part"),
    [
        ({"resize": "bilinear:28x28", "max_side": "512"}, "--max-side 512"),
        ({"resize": "bilinear:28x28", "query_crop": "crop-relative"}, "crop-relative"),
        ({"resize": "timm"}, "--resize timm"),
    ],
)
def test_options_that_would_do_nothing_are_refused(chosen: dict[str, Any], part: str) -> None:
    with pytest.raises(BenchError, match=part):
        pixels.Chosen(**chosen).rule(Preprocess(), method())


def test_options_replace_the_rule_of_the_method() -> None:
    own = Preprocess(max_side_px=480, query_cap="relative")
    exact = pixels.Chosen(resize="bilinear:28x28").rule(own, method())
    assert (exact.resize, exact.max_side_px, exact.query_cap) == ("bilinear:28x28", None, "own")
    both = pixels.Chosen(resize="native+multiple-of-14", max_side="none").rule(own, method())
    assert (both.resize, both.max_side_px) == ("multiple-of-14", None)
    named = pixels.Chosen(resize="timm").rule(own, method(timm_resize="pillow-bicubic:256"))
    assert named.resize == "pillow-bicubic:256"
    assert pixels.Chosen().rule(own, method()) == own


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"resize": "bilinear:28x28", "max_side_px": 512}, "max_side_px"),
        ({"resize": "huge"}, "'huge'"),
        ({"resize": 3}, "resize: must be a string, but is 3"),
        ({"scale_sampling": "opencv", "scale_size": "floor"}, "scale_size"),
        ({"combine_power": 2.0}, "combine_power"),
        ({"combine": "power-mean", "combine_power": 0}, "combine_power"),
    ],
)
def test_a_rule_of_a_plug_in_that_contradicts_itself(arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(BenchError, match="preprocess") as raised:
        contract.preprocess(arguments, "the method m.v")
    assert part in str(raised.value)


def test_an_exact_size_of_a_plug_in_needs_no_word_about_caps() -> None:
    rule = contract.preprocess({"resize": "pillow-bilinear:32x32"}, "m")
    assert (rule.max_side_px, rule.query_cap) == (None, "own")


@pytest.mark.slow
def test_extract_takes_the_options(tmp_path: Path, cli: Any, refused: Any) -> None:
    mini = datasets.load("mini")
    out = tmp_path / "out.npz"
    command = ["extract", "--method", "random-unit", "--dataset", "mini", "--which", "queries",
             "--output", out, "--resize", "pillow-bilinear:24x24"]  # fmt: skip

    def rows(*more: str) -> Any:
        assert cli(*command, *more).status == 0
        return np.load(out)["vectors"]

    boxed = [place for place, query in enumerate(mini.queries) if query.box is not None]
    assert boxed
    cropped, whole = rows(), rows("--query-crop", "whole")
    assert (np.abs(cropped - whole).max(axis=1) > 0.01)[boxed].all()
    assert "--max-side 100" in refused(cli(*command, "--max-side", "100"))
    assert "'huge'" in refused(cli(*command, "--resize", "huge"))
    checked = cli("check", "random-unit", "--resize", "bilinear:24x24", "--scales", "1,0.5")
    assert checked.status == 0, checked


def test_run_states_the_resizing(cli: Any, workspace: Any) -> None:
    assert (
        cli("run", "--method", "random-unit", "--resize", "shorter:50+multiple-of-14").status == 0
    )
    (path,) = workspace.records()
    card = json.loads(path.read_text(encoding="utf-8"))["card"]
    assert card["preprocess"]["resize"] == "shorter:50+multiple-of-14"
    assert "shorter side to 50, then both sides to multiples of 14" in words.gist(card)
    assert cli("verify", path).status == 0
