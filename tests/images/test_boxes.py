"""One box means one place, whatever turns the photograph; and what lies outside of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from bench import datasets
from bench.data import boxes as boxes_of_sets
from bench.describe import extract, loading
from bench.errors import BenchError
from bench.images import boxes, decode, inspect
from bench.types import Preprocess
from tests.support.miniatures_places import photographs

IGNORE = Preprocess(max_side_px=None)
APPLY = Preprocess(max_side_px=None, orientation="apply")
BOX = (3.5, 6.0, 20.4, 17.5)


def stored(path: Path, orientation: int | None, size: tuple[int, int] = (48, 30)) -> Path:
    """Write noise with an orientation tag; return the path."""
    draw = np.random.default_rng(7)
    picture = Image.fromarray(draw.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", [None, *range(10)])
@pytest.mark.parametrize("ending", ["png", "webp", "jpg", "tif"])
def test_a_box_is_one_place(ending: str, orientation: int | None, tmp_path: Path) -> None:
    path = stored(tmp_path / f"a.{ending}", orientation)
    plain = stored(tmp_path / f"b.{ending}", None)
    cut = Image.fromarray(decode.load(plain, BOX, IGNORE))
    exif = cut.getexif()
    exif[0x0112] = orientation or 1
    upright = np.asarray(ImageOps.exif_transpose(cut))
    wanted = upright if ending == "tif" else np.asarray(cut)  # Pillow turns a TIFF itself
    np.testing.assert_array_equal(decode.load(path, BOX, APPLY), upright)
    np.testing.assert_array_equal(decode.load(path, BOX, IGNORE), wanted)
    for rule in (APPLY, IGNORE):
        assert decode.shape(path, BOX, rule) == decode.load(path, BOX, rule).shape[:2]
        assert decode.shape(path, None, rule) == decode.load(path, None, rule).shape[:2]
        turned = orientation in range(2, 9) and (rule is APPLY or ending == "tif")
        assert decode.turns(path, rule) == turned
    assert decode.stored_size(path) == (48, 30)


@pytest.mark.parametrize("rounding", ["round", "truncate"])
@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((40.2, 3.0, 48.9, 30.99), (40, 3, 48, 30)),
        ((-0.99, -0.2, 5.0, 4.0), (0, 0, 5, 4)),
        ((0.0, 0.0, 48.0, 30.0), (0, 0, 48, 30)),
    ],
)
def test_less_than_a_pixel_outside_is_cut(rounding, box, cut, tmp_path: Path) -> None:
    rule = Preprocess(crop_rounding=rounding)
    assert boxes.corners((48, 30), box, rule, tmp_path) == cut


@pytest.mark.parametrize(
    "box",
    [(-1.0, 0, 5, 5), (0, -3, 20, 15), (10, 10, 49.0, 20), (0, 0, 4, 31), (100, 100, 200, 200),
     (-0.9, 0, 0.3, 5), (47.9, 2, 48.8, 9)],
)  # fmt: skip
def test_a_pixel_outside_is_refused(box, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="box"):
        boxes.corners((48, 30), box, IGNORE, tmp_path)


def own(folder: Path, wanted: list[list[float] | None]) -> Path:
    """Write a data set with one query per box, all of 60 x 48 pixels."""
    photographs(folder / "jpg", ["d0.png", "d1.png", *(f"q{i}.png" for i in range(len(wanted)))])
    made = {
        "name": "own", "images": "jpg", "database": ["d0.png", "d1.png"],
        "queries": [{"file": f"q{i}.png", "box": box} for i, box in enumerate(wanted)],
        "protocols": {"all": [{"positive": [0]}] * len(wanted)},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(made))
    return folder


def test_verify_and_run_refuse_the_same_boxes(workspace, cli: Callable) -> None:
    good, beyond, outside = [5, 5, 30, 40], [5, 5, 60.4, 48.9], [50, 5, 70, 40]
    folder = own(workspace.folder / "set", [good, beyond, outside, None])
    result = cli("data", "verify", folder)
    problems = [line for line in result.out.splitlines() if line.startswith("PROBLEM")]
    assert len(problems) == 1
    assert "query 2, q2.png: the box (50, 5, 70, 40) extends beyond" in problems[0]
    assert (
        "1 boxes extend less than a pixel beyond the image, and are clipped: q1.png" in result.out
    )
    result = cli("run", "--method", "random-unit", "--dataset", folder)
    assert result.status == 1
    assert "query 2, q2.png" in result.err
    assert "describe" not in result.err
    for option in (("--no-crop",), ("--allow-missing",)):
        result = cli("run", "--method", "random-unit", "--dataset", folder, *option)
        assert result.status == 0, result.err
    folder = own(workspace.folder / "other", [good, beyond])
    result = cli("run", "--method", "random-unit", "--dataset", folder)
    assert result.status == 0, result.err
    assert "own: 1 boxes extend less than a pixel beyond the image" in result.err


def test_only_lists_with_a_turned_box_have_another_key(tmp_path: Path) -> None:
    folder = own(tmp_path / "set", [[5, 5, 20, 20], None])
    dataset = datasets.load(str(folder))
    loaded = loading.load("random-unit", device="cpu")
    applied = loaded.__class__(**{**loaded.__dict__, "rule": APPLY})

    def keys() -> list[bool]:
        listed = extract.look_at(dataset.folder, dataset.queries)
        return ["pixels" in extract.key_of(item, listed) for item in (loaded, applied)]

    assert keys() == [False, False]
    stored(dataset.folder / "q1.png", 6, (60, 48))  # the one without a box
    assert keys() == [False, False]
    stored(dataset.folder / "q0.png", 6, (60, 48))
    assert keys() == [False, True]
    assert not boxes_of_sets.check(dataset).faults


def test_verify_counts_the_photographs_that_carry_an_orientation(workspace, cli: Callable) -> None:
    folder = own(workspace.folder / "set", [[5, 5, 20, 20], None])
    stored(folder / "jpg" / "q0.png", 8, (60, 48))
    stored(folder / "jpg" / "d1.png", 3, (60, 48))
    stored(folder / "jpg" / "d0.png", 1, (60, 48))
    assert "2 of 4 photographs have an EXIF orientation" in cli("data", "verify", folder).out


def kinds(folder: Path) -> list[Path]:
    """Write files of which decoders think differently."""
    draw = np.random.default_rng(3)
    pixels = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    made = {
        "float.tif": Image.fromarray(pixels[:, :, 0].astype(np.float32)),
        "int.tif": Image.fromarray(pixels[:, :, 0].astype(np.int32)),
        "deep.png": Image.fromarray(pixels[:, :, 0].astype(np.uint16) << 7),
        "grey.png": picture.convert("L"), "right.jpg": picture, "cmyk.jpg": picture.convert("CMYK"),
    }  # fmt: skip
    for name, image in made.items():
        image.save(folder / name)
    for form in ("ICO", "TGA", "PCX", "AVIF"):
        try:
            picture.save(folder / f"{form}.jpg", format=form)
        except (KeyError, OSError):
            continue
    whole = (folder / "right.jpg").read_bytes()
    (folder / "short.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><html></html>")
    (folder / "none.jpg").write_bytes(b"")
    (folder / "text.jpg").write_bytes(b"hello")
    return sorted(folder.iterdir())


def test_verify_and_run_agree_file_by_file(tmp_path: Path) -> None:
    agreed = {}
    for path in kinds(tmp_path):
        try:
            decode.load(path, None, IGNORE)
            usable = True
        except BenchError:
            usable = False
        seen = inspect.decode(path)
        assert isinstance(seen, str) != usable, f"{path.name}: {seen}"
        agreed[path.name] = usable
        if not usable or path.name == "short.jpg":
            assert isinstance(inspect.header(path), str), path.name
    assert agreed["right.jpg"]
    assert agreed["deep.png"]
    assert not agreed["float.tif"]
    assert not agreed["TGA.jpg"]
