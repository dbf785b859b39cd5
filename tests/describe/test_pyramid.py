"""Batches, scales by each sampling rule, and unit descriptors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.describe import pyramid
from bench.errors import BenchError
from bench.types import Preprocess

SCALES = (0.25, 0.35355338, 0.5, 0.70710677, 1.0, 1.4142135, 2.0)


def test_normalisation_by_hand_and_batch_of_one_equals_batch_of_many() -> None:
    draw = np.random.default_rng(0)
    pixels = [draw.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(6)]
    rule = Preprocess(mean=(127.0, 100.0, 50.0), std=(128.0, 64.0, 2.0))
    batch = pyramid.to_batch(pixels, rule, "cpu")
    assert batch.shape == (6, 3, 5, 7)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous()
    value = (int(pixels[4][2, 3, 1]) - 100) / 64
    assert batch[4, 1, 2, 3].item() == value
    for index, pixel in enumerate(pixels):
        assert torch.equal(pyramid.to_batch([pixel], rule, "cpu")[0], batch[index])
        for sampling in ("size-ratio", "scale-factor", "legacy-corner"):
            scaled = Preprocess(scale_sampling=sampling, scale_size="floor")
            many = pyramid.at_scale(batch, 1.4142135, scaled)[index]
            assert torch.equal(
                pyramid.at_scale(batch[index : index + 1], 1.4142135, scaled)[0], many
            )


# --- scales -------------------------------------------------------------------------------------


def slow_resize(image: np.ndarray, height: int, width: int, rule: str, scale: float) -> np.ndarray:
    """Bilinear resize of (c, h, w), pixel by pixel, by the formula of each sampling rule."""

    def source(position: int, size: int, out: int) -> tuple[int, int, float]:
        ratio = 1 / scale if rule == "scale-factor" else size / out
        at = position * ratio if rule == "legacy-corner" else (position + 0.5) * ratio - 0.5
        at = max(at, 0.0)
        low = min(math.floor(at), size - 1)
        return low, min(low + 1, size - 1), min(at - low, 1.0)

    result = np.empty((image.shape[0], height, width))
    for y in range(height):
        top, bottom, down = source(y, image.shape[1], height)
        for x in range(width):
            left, right, across = source(x, image.shape[2], width)
            upper = image[:, top, left] * (1 - across) + image[:, top, right] * across
            lower = image[:, bottom, left] * (1 - across) + image[:, bottom, right] * across
            result[:, y, x] = upper * (1 - down) + lower * down
    return result


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", [(16, 23), (9, 14), (31, 5)])
@pytest.mark.parametrize("sampling", ["size-ratio", "scale-factor", "legacy-corner"])
def test_scales_agree_with_loops(sampling, size, scale) -> None:
    image = np.random.default_rng(1).normal(size=(3, *size)).astype(np.float32)
    rounding = "floor" if sampling == "scale-factor" else "round"
    rule = Preprocess(scale_sampling=sampling, scale_size=rounding)
    got = pyramid.at_scale(torch.from_numpy(image)[None], scale, rule)[0]
    height, width = (
        max(1, math.floor(n * scale) if rounding == "floor" else round(n * scale)) for n in size
    )
    assert got.shape == (3, height, width)
    expected = slow_resize(image.astype(np.float64), height, width, sampling, scale)
    np.testing.assert_allclose(got.numpy(), expected, atol=2e-5)
    if scale == 1.0:
        np.testing.assert_array_equal(got.numpy(), image)


def test_scales_by_hand() -> None:
    """A row 0, 10, 20, 30 doubled and halved under each rule."""
    row = torch.tensor([0.0, 10.0, 20.0, 30.0]).view(1, 1, 1, 4).expand(1, 1, 4, 4)

    def scaled(sampling: str, scale: float) -> list[float]:
        rule = Preprocess(scale_sampling=sampling, scale_size="floor")
        return pyramid.at_scale(row, scale, rule)[0, 0, 0].tolist()

    assert scaled("size-ratio", 2.0) == [0.0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30.0]
    assert scaled("legacy-corner", 2.0) == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 30.0]
    assert scaled("legacy-corner", 0.5) == [0.0, 20.0]
    assert scaled("size-ratio", 0.5) == [5.0, 25.0]
    # 4 * 0.7 = 2.8 -> 2 pixels: the ratio of sizes is 2, the scale factor's is 1 / 0.7
    assert scaled("size-ratio", 0.7) == [5.0, 25.0]
    np.testing.assert_allclose(
        scaled("scale-factor", 0.7), [10 * (0.5 / 0.7 - 0.5), 10 * (1.5 / 0.7 - 0.5)], rtol=1e-5
    )


def test_sides_round_half_to_even_or_down() -> None:
    batch = torch.zeros(1, 1, 5, 7)
    assert pyramid.at_scale(batch, 0.5, Preprocess()).shape == (1, 1, 2, 4)
    assert pyramid.at_scale(batch, 0.5, Preprocess(scale_size="floor")).shape == (1, 1, 2, 3)
    assert pyramid.at_scale(batch, 0.01, Preprocess()).shape == (1, 1, 1, 1)
    rule = Preprocess(scale_size="floor", scale_sampling="scale-factor")
    with pytest.raises(BenchError, match=r"7 x 5 pixels vanishes at scale 0\.1"):
        pyramid.at_scale(batch, 0.1, rule)


# --- descriptors --------------------------------------------------------------------------------


def test_pyramid_by_hand() -> None:
    """Two scales answer (3, 4) and (0, 2): units (0.6, 0.8) and (0, 1), sum (0.6, 1.8)."""
    answers = iter([torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])])
    rule = Preprocess(scales=(1.0, 0.5))
    got = pyramid.describe_pyramid(lambda _: next(answers), torch.zeros(1, 3, 8, 8), rule)
    np.testing.assert_allclose(got.numpy(), np.array([[0.6, 1.8]]) / math.sqrt(3.6), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_unit_norm_at_any_magnitude(size: float) -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 512)).astype(np.float32))
    batch = torch.zeros(4, 3, 8, 8)
    unit = pyramid.describe_pyramid(lambda _: rows * size, batch, Preprocess(), 512)
    assert unit.dtype == torch.float32
    exact = rows.double().numpy()
    exact = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(unit.numpy(), exact, atol=2e-7)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (torch.zeros(2, 4), "2 of 2 descriptors are zero vectors at scale 1 of 8 x 6 pixels"),
        (torch.ones(3, 4), r"shape \(3, 4\) .* instead of \(2, 4\)"),
        (torch.ones(2, 5), r"shape \(2, 5\) .* instead of \(2, 4\)"),
        (torch.ones(2, 4, 1), r"shape \(2, 4, 1\)"),
        (torch.ones(2, 4, dtype=torch.int64), "int64 .* instead of floats"),
        (torch.tensor([[1.0] * 4, [math.nan] * 4]), "NaN or infinity in 1 of 2"),
        ("text", "returned str"),
    ],
)
def test_wrong_descriptors_are_named(answer, says) -> None:
    with pytest.raises(BenchError, match=says):
        pyramid.describe_pyramid(lambda _: answer, torch.zeros(2, 3, 6, 8), Preprocess(), 4)


def test_scales_that_cancel_are_named() -> None:
    answers = iter([torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])])
    rule = Preprocess(scales=(1.0, 0.5))
    with pytest.raises(BenchError, match="zero vectors as combined over the scales"):
        pyramid.describe_pyramid(lambda _: next(answers), torch.zeros(1, 3, 8, 8), rule)
