"""Rules of resizing: sizes worked by hand, pixels against Pillow, refusals with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.errors import BenchError
from bench.images import decode, resize
from bench.types import Preprocess

NOISE = np.random.default_rng(3).integers(0, 256, (60, 91, 3), dtype=np.uint8)


def rule(text: str, **more) -> Preprocess:
    return Preprocess(resize=text, **{"max_side_px": None, **more})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Image.fromarray(NOISE).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("native", (60, 91), (60, 91)),
        ("bilinear:322x280", (60, 91), (322, 280)),
        ("shorter:100", (60, 91), (100, 151)),  # 151.67 is truncated
        ("shorter:100", (91, 60), (151, 100)),
        ("longer:100", (60, 91), (65, 100)),  # 65.93
        ("longer:10", (1, 3000), (1, 10)),
        ("multiple-of-14", (63, 91), (56, 84)),  # 4.5 and 6.5: half to even
        ("multiple-of-14", (77, 480), (84, 476)),
        ("multiple-of-14", (49, 105), (56, 112)),
        ("shorter:512+multiple-of-14", (480, 640), (518, 686)),
        ("pillow-bicubic:256+centre-crop:224x224", (480, 640), (224, 224)),
        ("native+multiple-of-16", (50, 50), (48, 48)),
    ],
)
def test_sizes(text: str, before: tuple[int, int], after: tuple[int, int]) -> None:
    assert resize.sized(resize.parse(text), before) == after


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("322", "322"),
        ("bilinear:322", "shorter:S"),
        ("bilinear:0x5", "'bilinear:0x5'"),
        ("shorter:3x5", "shorter takes one number"),
        ("centre-crop:5", "centre-crop takes HxW"),
        ("multiple-of-14+shorter:512", "multiple-of-N or centre-crop"),
        ("centre-crop:5x5+multiple-of-14", "centre crop must be the last"),
        ("multiple-of-14+multiple-of-16", "repeats the first"),
        ("lanczos:3x3", "rules are native"),
        ("shorter:5+multiple-of-2+centre-crop:2x2", "second of two rules must be"),
    ],
)
def test_what_is_no_rule(text: str, part: str) -> None:
    with pytest.raises(BenchError, match="is not a resizing rule") as raised:
        resize.parse(text)
    assert part in str(raised.value)


def test_pillow_rules_are_pillows_resize(path: Path) -> None:
    picture = Image.fromarray(NOISE)
    for name, filter_ in (("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)):
        got = decode.load(path, None, rule(f"pillow-{name}:33x50"))
        np.testing.assert_array_equal(got, np.asarray(picture.resize((50, 33), filter_)))
        got = decode.load(path, None, rule(f"pillow-{name}:30"))
        np.testing.assert_array_equal(got, np.asarray(picture.resize((45, 30), filter_)))


def test_box_and_cap_come_before_and_the_crop_after(path: Path) -> None:
    box = (10.0, 5.0, 90.0, 55.0)  # 80 x 50, under the cap 40 x 25
    got = decode.load(path, box, rule("pillow-bilinear:20+centre-crop:20x20", max_side_px=40,
                                      query_cap="own"))  # fmt: skip
    small = Image.fromarray(NOISE).crop((10, 5, 90, 55)).resize((40, 25), Image.BILINEAR)
    small = small.resize((32, 20), Image.BILINEAR).crop((6, 0, 26, 20))
    np.testing.assert_array_equal(got, np.asarray(small))


@pytest.mark.parametrize(
    "text",
    ["pillow-bilinear:33x50", "pillow-bicubic:30+multiple-of-14", "shorter:40", "multiple-of-14",
     "centre-crop:50x60", "bilinear:7x9"],
)  # fmt: skip
def test_the_shape_from_the_header_is_that_of_the_pixels(path: Path, text: str) -> None:
    item = rule(text)
    assert decode.shape(path, None, item) == decode.load(path, None, item).shape[:2]


@pytest.mark.parametrize(
    ("text", "part"),
    [("multiple-of-140", "91 x 60 pixels"), ("centre-crop:61x20", "20 x 61")],
)
def test_too_small_an_image_is_named(path: Path, text: str, part: str) -> None:
    for of in (decode.load, decode.shape):
        with pytest.raises(BenchError, match=r"noise\.png is too small") as raised:
            of(path, None, rule(text))
        assert part in str(raised.value)
