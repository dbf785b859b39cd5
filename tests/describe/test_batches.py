"""Planning: the shape of an image from its header alone, and which images go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from bench.describe import engine
from bench.images import decode
from bench.types import Image, Preprocess

SIDES = st.integers(1, 90)
CAPS = st.one_of(st.none(), st.integers(1, 100))


@st.composite
def cases(draw: Any) -> tuple[tuple[int, int], Any, Preprocess]:
    """Return a size, a box within it or none, and a rule."""
    width, height = draw(SIDES), draw(SIDES)
    box = None
    if draw(st.booleans()):
        left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
        box = (float(left), float(top), float(right), float(bottom))
    rule = Preprocess(
        max_side_px=draw(CAPS),
        cap_filter=draw(st.sampled_from(["bilinear", "thumbnail-lanczos"])),
        query_cap=draw(st.sampled_from(["own", "relative"])),
    )
    return (width, height), box, rule


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(cases())
def test_the_planned_shape_is_that_of_the_pixels(
    tmp_path_factory: pytest.TempPathFactory, case: Any
) -> None:
    size, box, rule = case
    path = tmp_path_factory.getbasetemp() / "planned.bmp"
    Pillow.new("RGB", size).save(path)
    assert decode.shape(path, box, rule) == decode.load(path, box, rule).shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("turn", ["apply", "ignore"])
def test_the_planned_shape_is_turned_as_the_pixels_are(
    tmp_path: Path, orientation: int, kind: str, turn: Any
) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{kind}"
    Pillow.new("RGB", (40, 30)).save(path, exif=exif)
    rule = Preprocess(orientation=turn, max_side_px=20)
    assert decode.shape(path, None, rule) == decode.load(path, None, rule).shape[:2]
    if turn == "apply" or kind == "tif":
        assert decode.shape(path, None, rule) == ((20, 15) if orientation > 4 else (15, 20))


@pytest.mark.slow
def test_large_photographs_and_fractional_boxes(tmp_path: Path) -> None:
    path, draw = tmp_path / "large.png", np.random.default_rng(0)
    for _ in range(40):
        width, height = draw.integers(700, 1500, 2).tolist()
        Pillow.new("L", (width, height)).save(path)
        left, top = draw.uniform(0, 300, 2)
        box = (left, top, left + draw.uniform(50, 300), top + draw.uniform(50, 300))
        for rule in (
            Preprocess(cap_filter="thumbnail-lanczos"),
            Preprocess(crop_rounding="truncate"),
            Preprocess(cap_filter="thumbnail-lanczos", query_cap="own", max_side_px=200),
        ):
            assert decode.shape(path, box, rule) == decode.load(path, box, rule).shape[:2]
            assert decode.shape(path, None, rule) == decode.load(path, None, rule).shape[:2]


def test_what_cannot_be_read_has_no_shape(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 6)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("<html>")
    wanted = [
        Image("a", "good.png"), Image("b", "bad.png"), Image("c", "none.png"),
        Image("d", "good.png", (0, 0, 99, 99)), Image("e", "good.png", (1, 1, 5, 4)),
    ]  # fmt: skip
    assert engine.shapes(tmp_path, wanted, Preprocess()) == [(6, 8), None, None, None, (3, 4)]


def test_equal_shapes_go_together_within_both_limits() -> None:
    wide, tall = (3, 4), (4, 3)
    known = [wide, tall, None, wide, tall, wide, wide, None]
    assert engine.plan(known, 8, 10**6) == [[0, 3, 5, 6], [1, 4], [2], [7]]
    assert engine.plan(known, 3, 10**6) == [[0, 3, 5], [6], [1, 4], [2], [7]]
    assert engine.plan(known, 8, 25) == [[0, 3], [5, 6], [1, 4], [2], [7]]
    assert engine.plan(known, 8, 1) == [[0], [3], [5], [6], [1], [4], [2], [7]]
    assert engine.plan([], 8, 1) == []


@given(
    st.lists(st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 3)))),
    st.integers(1, 5),
    st.integers(1, 20),
)
def test_every_image_is_in_one_batch_of_its_shape(known: Any, most: int, pixels: int) -> None:
    planned = engine.plan(known, most, pixels)
    assert sorted(i for batch in planned for i in batch) == list(range(len(known)))
    for batch in planned:
        assert len(batch) <= most
        assert len({known[i] for i in batch}) == 1
        shape = known[batch[0]]
        if len(batch) > 1:
            assert shape is not None
            assert len(batch) * shape[0] * shape[1] <= pixels


def test_a_header_that_differs_from_the_pixels_is_planned_by_the_header(tmp_path: Path) -> None:
    """The premise of what tests/describe/test_engine.py does with such a file."""
    path = tmp_path / "a.png"
    Pillow.new("RGB", (8, 6)).save(path)
    rule = replace(Preprocess(), orientation="apply")
    assert decode.shape(path, None, rule) == (6, 8)
