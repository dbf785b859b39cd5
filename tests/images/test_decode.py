"""One image: orientation, colour, crop, cap and hostile files."""

from __future__ import annotations

import math
import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.errors import BenchError
from bench.images import decode
from bench.types import Preprocess

WHOLE = Preprocess(max_side_px=None)


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return a smooth colour image with no symmetry."""
    draw = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(draw).resize((width, height), Image.Resampling.BICUBIC)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    """Save `image` and return the path."""
    image.save(path, **options)
    return path


# --- colour -------------------------------------------------------------------------------------


def test_rgb_and_bgr_are_the_same_pixels_in_either_order(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGB", (3, 2), (10, 20, 30)))
    rgb = decode.load(path, None, WHOLE)
    bgr = decode.load(path, None, Preprocess(max_side_px=None, channels="bgr"))
    assert rgb.shape == (2, 3, 3)
    assert rgb.dtype == np.uint8
    assert rgb[0, 0].tolist() == [10, 20, 30]
    assert bgr[0, 0].tolist() == [30, 20, 10]
    assert bgr.flags.c_contiguous
    assert bgr.flags.writeable
    assert rgb.flags.writeable


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 77, [77, 77, 77]),
        ("1", 1, [255, 255, 255]),
        ("LA", (77, 0), [77, 77, 77]),
        ("RGBA", (10, 20, 30, 0), [10, 20, 30]),
        ("I;16", 65535, [255, 255, 255]),
        ("I;16", 0x4DFF, [77, 77, 77]),
    ],
)
def test_every_kind_of_png_becomes_rgb(tmp_path: Path, mode, colour, expected) -> None:
    path = saved(tmp_path / "a.png", Image.new(mode, (4, 3), colour))
    assert decode.load(path, None, WHOLE)[2, 3].tolist() == expected


def test_palette_with_transparency_becomes_rgb_without_a_warning(tmp_path: Path) -> None:
    picture = photograph(20, 10).quantize(16)
    path = saved(tmp_path / "a.png", picture, transparency=bytes(range(16)))
    np.testing.assert_array_equal(
        decode.load(path, None, WHOLE), np.asarray(picture.convert("RGB"))
    )


def test_cmyk_sixteen_bit_and_animated_files(tmp_path: Path) -> None:
    cmyk = saved(tmp_path / "cmyk.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95)
    red, green, blue = decode.load(cmyk, None, WHOLE)[4, 4].tolist()
    assert red > 230
    assert green < 30
    assert blue < 30
    (tmp_path / "deep.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">HH", 65535, 0x4DFF))
    assert decode.load(tmp_path / "deep.pgm", None, WHOLE)[0, :, 0].tolist() == [255, 77]
    frames = [Image.new("RGB", (4, 4), c) for c in ((255, 0, 0), (0, 255, 0))]
    moving = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert decode.load(moving, None, WHOLE)[0, 0].tolist() == [255, 0, 0]


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.new("F", (4, 4), 0.5))
    with pytest.raises(BenchError, match=r"a\.tif has pixels of 32 bits"):
        decode.load(path, None, WHOLE)


# --- orientation and crop -----------------------------------------------------------------------


def test_orientation_is_applied_only_where_asked_and_turns_the_box(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    picture = photograph(40, 20)
    path = saved(tmp_path / "a.png", picture, exif=exif)
    stored = np.asarray(picture)
    upright = np.rot90(stored, k=-1)
    turn = Preprocess(max_side_px=None, orientation="apply")
    np.testing.assert_array_equal(decode.load(path, None, WHOLE), stored)
    np.testing.assert_array_equal(decode.load(path, None, turn), upright)
    box = (21.0, 2.0, 38.0, 9.0)  # of stored pixels
    np.testing.assert_array_equal(decode.load(path, box, WHOLE), stored[2:9, 21:38])
    np.testing.assert_array_equal(decode.load(path, box, turn), upright[21:38, 11:18])
    for rule in (WHOLE, turn):  # inside the upright image only
        with pytest.raises(BenchError, match=r"extends beyond .* 40 x 20 pixels without its EXIF"):
            decode.load(path, (2.0, 21.0, 19.0, 38.0), rule)
    assert decode.header_size(path) == (40, 20)


@pytest.mark.parametrize("box", [(1.5, 2.5, 30.5, 19.5), (0.4, 0.6, 39.6, 19.51), (3, 4, 9, 8)])
def test_crop_rounds_as_pillow_does_or_truncates(tmp_path: Path, box) -> None:
    picture = photograph(40, 20)
    path = saved(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(decode.load(path, box, WHOLE), np.asarray(picture.crop(box)))
    left, top, right, bottom = map(int, box)
    cut = Preprocess(max_side_px=None, crop_rounding="truncate")
    np.testing.assert_array_equal(
        decode.load(path, box, cut), np.asarray(picture)[top:bottom, left:right]
    )


def test_crop_by_hand(tmp_path: Path) -> None:
    """0.5 rounds to 0 and 1.5 to 2: half to even, so the two rules differ at the right."""
    path = saved(tmp_path / "a.png", photograph(5, 5))
    box = (0.5, 0.5, 1.5, 2.5)
    assert decode.load(path, box, WHOLE).shape == (2, 2, 3)
    cut = Preprocess(max_side_px=None, crop_rounding="truncate")
    assert decode.load(path, box, cut).shape == (2, 1, 3)


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((-1, 0, 5, 5), "extends beyond"),
        ((0, 0, 41, 5), "extends beyond"),
        ((3, 3, 3.4, 9), "is empty"),
        ((9, 0, 3, 5), "is empty"),
        ((math.nan, 0, 3, 5), "must be four finite numbers"),
        ((0, 0, math.inf, 5), "must be four finite numbers"),
    ],
)
def test_bad_boxes_are_refused(tmp_path: Path, box, says) -> None:
    path = saved(tmp_path / "a.png", photograph(40, 20))
    with pytest.raises(BenchError, match=says):
        decode.load(path, box, WHOLE)


# --- cap ----------------------------------------------------------------------------------------


def test_bilinear_cap_by_hand(tmp_path: Path) -> None:
    """100 x 33 to 50: factor 0.5, 16.5 rounds to even 16; a small image is not enlarged."""
    picture = photograph(100, 33)
    path = saved(tmp_path / "a.png", picture)
    small = decode.load(path, None, Preprocess(max_side_px=50))
    expected = picture.resize((50, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(small, np.asarray(expected))
    assert decode.load(path, None, Preprocess(max_side_px=101)).shape == (33, 100, 3)


def test_a_very_long_image_keeps_one_pixel(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", photograph(1000, 1))
    for filter_ in ("bilinear", "thumbnail-lanczos"):
        rule = Preprocess(max_side_px=100, cap_filter=filter_)
        assert decode.load(path, None, rule).shape == (1, 100, 3)


def test_relative_cap_by_hand(tmp_path: Path) -> None:
    """A crop of half the image may be half the cap: 100 px crop of 200, cap 80 -> 40."""
    path = saved(tmp_path / "a.png", photograph(200, 150))
    box = (10, 10, 110, 60)
    for filter_ in ("bilinear", "thumbnail-lanczos"):
        own = Preprocess(max_side_px=80, query_cap="own", cap_filter=filter_)
        relative = Preprocess(max_side_px=80, query_cap="relative", cap_filter=filter_)
        assert decode.load(path, box, own).shape == (40, 80, 3)
        assert decode.load(path, box, relative).shape == (20, 40, 3)
        assert decode.load(path, None, relative).shape == (60, 80, 3)


@pytest.mark.parametrize("seed", range(8))
def test_caps_agree_with_the_official_programs(tmp_path: Path, seed: int) -> None:
    """DELG's ResizeImage and Token's loader, written out from their descriptions, on JPEG."""
    draw = np.random.default_rng(seed)
    width, height = (int(x) for x in draw.integers(40, 400, 2))
    left, top = draw.uniform(0, width / 2), draw.uniform(0, height / 2)
    box = (left, top, draw.uniform(left + 8, width - 1), draw.uniform(top + 8, height - 1))
    path = saved(tmp_path / "a.jpg", photograph(width, height, seed), quality=90)
    cap = int(draw.integers(16, 120))
    whole = Image.open(path).convert("RGB")
    crop = whole.crop(box)

    factor = max(crop.size) / max(whole.size)
    delg = crop
    if max(crop.size) > factor * cap:
        scale = factor * cap / max(crop.size)
        size = (round(crop.width * scale), round(crop.height * scale))
        delg = crop.resize(size, resample=Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(
        decode.load(path, box, Preprocess(max_side_px=cap)), np.asarray(delg)
    )

    token = crop.copy()
    limit = cap * max(crop.size) / max(whole.size)
    token.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    rule = Preprocess(max_side_px=cap, cap_filter="thumbnail-lanczos")
    np.testing.assert_array_equal(decode.load(path, box, rule), np.asarray(token))
    full = whole.copy()
    full.thumbnail((cap, cap), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(decode.load(path, None, rule), np.asarray(full))


# --- hostile files ------------------------------------------------------------------------------


def bomb() -> bytes:
    """Return a PNG header that promises 40,000 x 40,000 pixels."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IEND", b"")


def half_a_jpeg(tmp_path: Path) -> bytes:
    content = saved(tmp_path / "whole.jpg", photograph(300, 200)).read_bytes()
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"\n <!DOCTYPE html><html>quota exceeded</html>", "is a web page"),
        (b"<html><body>404</body></html>", "is a web page"),
        (b'{"error": 404}', "text file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x00\x01\x02\x03 nothing known", "unknown image format .*00 01 02 03"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unknown image format"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a.jpg (cannot be decoded|has an unknown image format)"),
        (half_a_jpeg, r"a\.jpg cannot be decoded \(.*truncated.*damaged or incomplete"),
        (bomb(), "too large to be decoded safely"),
    ],
)
def test_hostile_files_end_in_one_sentence(tmp_path: Path, content, says) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content(tmp_path) if callable(content) else content)
    with pytest.raises(BenchError, match=says) as caught:
        decode.load(path, None, WHOLE)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_files_folders_and_the_header(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"no\.jpg does not exist"):
        decode.load(tmp_path / "no.jpg", None, WHOLE)
    with pytest.raises(BenchError, match="is a folder"):
        decode.header_size(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(BenchError, match="is not a file"):
            decode.load(tmp_path / "pipe.jpg", None, WHOLE)
    (tmp_path / "half.jpg").write_bytes(half_a_jpeg(tmp_path))
    assert decode.header_size(tmp_path / "half.jpg") == (300, 200)


@pytest.mark.parametrize("cut", range(20, 2000, 180))
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path, cut: int) -> None:
    for name in ("a.png", "a.gif", "a.webp", "a.tif", "a.bmp", "a.ppm"):
        path = saved(tmp_path / name, photograph(40, 30))
        whole = decode.load(path, None, WHOLE)
        path.write_bytes(path.read_bytes()[:cut])
        try:
            pixels = decode.load(path, None, WHOLE)
        except BenchError:
            continue
        np.testing.assert_array_equal(pixels, whole)


def test_many_threads_load_alike_and_leave_the_warning_filters_alone(tmp_path: Path) -> None:
    picture = photograph(30, 20).quantize(16)
    path = saved(tmp_path / "a.png", picture, transparency=bytes(range(16)))
    damaged = tmp_path / "a.tif"  # Pillow warns about the cut directory
    saved(damaged, photograph(30, 20))
    damaged.write_bytes(damaged.read_bytes()[:-40])
    before = list(warnings.filters)

    def item(index: int) -> bytes:
        if index % 3 == 0:
            with pytest.raises(BenchError):
                decode.load(damaged, None, WHOLE)
        return decode.load(path, None, WHOLE).tobytes()

    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(item, range(200)))
    assert len(results) == 1
    assert warnings.filters == before
