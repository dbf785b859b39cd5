"""Photographs with labels, in folders and lists, and what augmentation makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.errors import BenchError
from bench.training import augment, photographs, views
from bench.training.augment import STRONG, Augmentation, augmented, generator

Pixels = NDArray[np.uint8]


def save(path: Path, shade: int = 0, size: tuple[int, int] = (20, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 90, 160)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/1.png", "a/x/2.png", "a/1.jpg", "c/1.png"):
        save(tmp_path / "town" / name, len(name))
    (tmp_path / "town" / "LICENCE.txt").write_text("\nCC0 1.0\nmore\n")
    return tmp_path / "town"


def test_a_folder_of_folders(folder: Path) -> None:
    found = photographs.read(folder)
    assert found.files == ("a/1.jpg", "a/x/2.png", "b/1.png", "c/1.png")
    assert found.labels.tolist() == [0, 0, 1, 2]
    assert (found.classes, found.licence, found.name) == (("a", "b", "c"), "CC0 1.0", "town")
    assert photographs.about(found) == (
        "town: 4 photographs of 3 classes, 2 of them with one photograph"
    )
    assert photographs.read(folder).sha256 == found.sha256
    each = photographs.read(folder, "photograph")
    assert each.labels.tolist() == [0, 1, 2, 3]
    assert each.sha256 != found.sha256
    save(folder / "b/1.png", 77)
    assert photographs.read(folder).sha256 != found.sha256


def test_classes_are_left_out(folder: Path) -> None:
    save(folder / "d-0/1.png")
    save(folder / "d-1/1.png")
    whole, text = photographs.read(folder), folder.parent / "out.txt"
    text.write_text("b\n\nd\n")  # of d all parts
    left, rows = photographs.without(whole, text)
    assert rows.tolist() == [0, 1, 3]
    assert left.files == tuple(whole.files[row] for row in rows)
    assert (left.labels.tolist(), left.classes) == ([0, 0, 1], ("a", "c"))
    assert len({whole.sha256, left.sha256}) == 2
    text.write_text("b\nd-1\n")
    assert photographs.without(whole, text)[0].classes == ("a", "c", "d-0")
    for lines, what in (("b\ne\n", "no class of town: e"), ("a\nb\nd\n", "leaves 1 classes")):
        text.write_text(lines)
        with pytest.raises(BenchError, match=what):
            photographs.without(whole, text)


def test_views_of_a_part_are_those_of_the_whole(tmp_path: Path) -> None:
    files = [tmp_path / "0.npy", tmp_path / "1.npy"]
    for view, file in enumerate(files):
        np.save(file, np.arange(8, dtype=np.float16).reshape(4, 2) + 10 * view)
    placings = np.arange(72, dtype=np.float32).reshape(2, 4, 9)
    part = views.Views(files, np.arange(4), placings).part(np.array([1, 3]), np.array([0, 1]))
    assert torch.cat(list(part.first(2))).tolist() == [[2, 3], [6, 7], [12, 13], [16, 17]]
    ((outputs, labels),) = part.batches([[(1, 1), (1, 0)]])
    assert labels.tolist() == [1, 0]
    assert outputs[:, :2].tolist() == [[16, 17], [12, 13], [6, 7], [2, 3]]
    np.testing.assert_array_equal(outputs[:, 2:].numpy(), placings[[1, 1, 0, 0], [3, 1, 3, 1]])


def listed(folder: Path, text: str) -> Path:
    (folder / "train_clean.csv").write_text(text)
    return folder / "train_clean.csv"


@pytest.mark.parametrize("inner", ["", "train/"])
def test_the_list_of_gldv2(tmp_path: Path, inner: str) -> None:
    for name in ("0123abcd", "02aa", "ffff01"):
        save(tmp_path / f"{inner}{name[0]}/{name[1]}/{name[2]}/{name}.jpg")
    file = listed(tmp_path, "landmark_id,images\n10,0123abcd ffff01\n9,02aa\n")
    found = photographs.read(file)
    assert found.files == ("0/1/2/0123abcd.jpg", "f/f/f/ffff01.jpg", "0/2/a/02aa.jpg")
    assert found.classes == ("9", "10")
    assert found.labels.tolist() == [1, 1, 0]
    (tmp_path / f"{inner}f/f/f/ffff01.jpg").unlink()
    with pytest.raises(
        BenchError, match=r"1 of the 3 images .* do not exist below .*: f/f/f/ffff01"
    ):
        photographs.read(file)


def test_what_is_no_training_set_is_refused(tmp_path: Path, folder: Path) -> None:
    def refused(path: Path, words: str, classes: photographs.Classes = "folder") -> None:
        with pytest.raises(BenchError, match=words):
            photographs.read(path, classes)

    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "contains no photographs")
    refused(tmp_path / "none", "does not exist")
    save(tmp_path / "one" / "a" / "1.png")
    refused(tmp_path / "one", "contains one class")
    save(folder / "loose.png")
    refused(folder, r"1 photographs are in .* itself, .*: loose.png")
    for text, words in (
        ("id,url\n", "has the columns id, url"),
        ("", "is empty"),
        ("landmark_id,images\n", "names no images"),
        ("landmark_id,images\n1,../../etc\n", "not ids of GLDv2: line 2: '../../etc'"),
        ("landmark_id,images\n,0123\n", "not ids of GLDv2: line 2"),
    ):
        refused(listed(tmp_path, text), words)
    refused(tmp_path / "train_clean.csv", "--classes photograph needs a folder", "photograph")


def noise(size: tuple[int, int]) -> Pixels:
    return np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def test_randomness_follows_from_seed_epoch_and_index_alone() -> None:
    pixels = noise((90, 70))
    first = augmented(pixels, STRONG, 32, generator(1, 2, 3))[0]
    assert first.shape == (32, 32, 3)
    assert np.array_equal(first, augmented(pixels, STRONG, 32, generator(1, 2, 3))[0])
    for other in ((0, 2, 3), (1, 1, 3), (1, 2, 4)):
        assert not np.array_equal(first, augmented(pixels, STRONG, 32, generator(*other))[0])


NOTHING = Augmentation(area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0)
PIECES = {
    "flip": {"flip": 1.0}, "rotation": {"rotation_deg": 30.0}, "tilt": {"tilt": 0.2},
    "jitter": {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 1.0}, "gamma": {"gamma": 1.0},
    "temperature": {"temperature": 0.5}, "grey": {"grey_p": 1.0},
    "blur": {"blur_px": 3.0, "blur_p": 1.0}, "jpeg": {"jpeg": 10, "jpeg_p": 1.0},
    "noise": {"noise": 20.0}, "occlusion": {"occlusion": 0.5, "occlusion_p": 1.0},
    "area": {"area": (0.1, 0.2)}, "aspect": {"aspect": (0.5, 0.6)},
}  # fmt: skip


def test_nothing_changes_nothing() -> None:
    pixels = noise((32, 32))
    made, shift = augmented(pixels, NOTHING, 32, generator(0, 0, 0))
    assert np.array_equal(made, pixels)
    assert not shift.any()


@pytest.mark.parametrize("piece", PIECES)
def test_every_piece_does_something_and_keeps_the_shape(piece: str) -> None:
    pixels, how = noise((32, 32)), replace(NOTHING, **PIECES[piece])  # type: ignore[arg-type]
    made, _ = augmented(pixels, how, 32, generator(0, 0, 1))
    assert made.shape == (32, 32, 3)
    assert made.dtype == np.uint8
    assert not np.array_equal(made, pixels)
    if piece == "flip":
        assert np.array_equal(made, pixels[:, ::-1])
    if piece == "grey":
        assert (made[:, :, 0] == made[:, :, 2]).all()


@pytest.mark.parametrize("size", [(300, 200), (31, 400), (1, 1), (900, 2)])
def test_crops_lie_inside_and_have_area_and_aspect(size: tuple[int, int]) -> None:
    draw = np.random.default_rng(0)
    parts = []
    for _ in range(200):
        left, top, right, bottom = augment.crop_box(size, (0.2, 0.5), (3 / 4, 4 / 3), draw)
        assert 0 <= left < right <= size[0]
        assert 0 <= top < bottom <= size[1]
        parts.append((right - left) * (bottom - top) / (size[0] * size[1]))
        if size == (300, 200):
            assert 0.73 < (right - left) / (bottom - top) < 1.37
    if size == (300, 200):
        assert 0.19 < min(parts) < 0.25
        assert 0.45 < max(parts) < 0.52


def test_a_homography_takes_corners_to_corners() -> None:
    corners = np.array([[3.0, 4.0], [50.0, 7.0], [44.0, 60.0], [1.0, 40.0]])
    a, b, c, d, e, f, g, h = augment.homography(10, corners)
    for (x, y), (u, v) in zip([(0, 0), (10, 0), (10, 10), (0, 10)], corners, strict=True):
        w = g * x + h * y + 1
        assert ((a * x + b * y + c) / w, (d * x + e * y + f) / w) == pytest.approx((u, v))


def test_a_turned_crop_of_a_large_photograph_is_the_same_scene() -> None:
    ramp = np.tile(np.linspace(0, 255, 800).astype(np.uint8)[None, :, None], (600, 1, 3))
    how = replace(NOTHING, area=(0.3, 0.3), tilt=1e-9)
    straight = replace(how, tilt=0.0)
    turned = augmented(ramp, how, 40, generator(0, 0, 0))[0].astype(int)
    usual = augmented(ramp, straight, 40, generator(0, 0, 0))[0].astype(int)
    assert np.abs(turned - usual).max() <= 3


def test_lighting_has_the_components_of_imagenet() -> None:
    draw = np.random.default_rng(0)
    shifts = np.array([augment.lighting(0.1, draw) for _ in range(20_000)])
    expected = (
        augment.PCA_VECTORS @ np.diag((25.5 * augment.PCA_VALUES) ** 2) @ augment.PCA_VECTORS.T
    )
    assert np.abs(np.cov(shifts.T) - expected).max() < 0.5


def test_a_sample_has_the_channels_of_the_network_and_replaces_what_is_broken(
    folder: Path,
) -> None:
    save(folder / "a/1.jpg", 10)
    (folder / "b/1.png").write_bytes(b"no image")
    found = photographs.read(folder)
    how = replace(NOTHING, pca=0.1)
    rgb = photographs.Augmented(found, how, 16, 0, "rgb")
    bgr = photographs.Augmented(found, how, 16, 0, "bgr")
    pixels, shift, label, faults = rgb[0, 0]
    assert (tuple(pixels.shape), label, faults) == ((3, 16, 16), 0, [])
    assert bgr[0, 0][0].tolist() == pixels.flip(0).tolist()
    assert bgr[0, 0][1].tolist() == shift.flip(0).tolist()
    _, _, label, faults = rgb[0, 2]
    assert label == 2
    assert len(faults) == 1
    assert "b/1.png has an unknown image format" in faults[0]
    for name in found.files:
        (folder / name).write_bytes(b"")
    with pytest.raises(BenchError, match="is empty"):
        rgb[0, 0]


def test_steps_share_an_epoch_between_processes() -> None:
    def steps(**more: int) -> list[list[tuple[int, int]]]:
        return list(photographs.Steps(10, 4, 7, **{"first": 0, "last": 5, **more}))

    usual = steps()
    assert [len(step) for step in usual] == [4] * 5
    assert [step[0][0] for step in usual] == [0, 0, 1, 1, 2]
    assert len({index for step in usual[:2] for _, index in step}) == 8
    assert steps(first=3) == usual[3:]
    halves = [steps(rank=rank, processes=2) for rank in (0, 1)]
    for whole, item, two in zip(usual, *halves, strict=True):
        assert sorted(whole) == sorted(item + two)
        assert len(item) == len(two)


def test_pairs_are_views_of_one_photograph_mirrored_alike(tmp_path: Path) -> None:
    """Five views of two photographs; views 1 and 3 of the first are mirrored, none of the other."""
    files = []
    for view in range(5):
        files.append(tmp_path / f"{view}.npy")
        np.save(files[-1], np.array([[10 * view], [10 * view + 1]], dtype=np.float16))
    placings = np.tile(np.eye(3, dtype=np.float32).reshape(9), (5, 2, 1))
    placings[[1, 3], 0, 0] = -1
    content = views.Views(files, np.array([7, 8]), placings)
    partners: dict[int, set[float]] = {}
    for turn in range(4):
        for view in range(5):
            ((rows, labels),) = content.batches([[(5 * turn + view, 1), (5 * turn + view, 0)]])
            assert rows.shape == (4, 10)
            assert labels.tolist() == [8, 7]
            assert rows[:2, 0].tolist() == [10 * view + 1, 10 * view]
            assert rows[2, 0] % 10 == 1
            assert torch.equal(torch.sign(rows[1, 1:]), torch.sign(rows[3, 1:]))
            partners.setdefault(view, set()).add(float(rows[3, 0]))
    assert partners == {0: {20, 40}, 1: {30}, 2: {0, 40}, 3: {10}, 4: {0, 20}}
    ((alone, _),) = views.Views(files, np.array([7, 8])).batches([[(6, 0)]])
    assert alone.tolist() == [[10]]
