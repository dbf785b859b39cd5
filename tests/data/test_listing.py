"""Lists that are made from a disk: what counts as an image, links, order, and what is left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.data import listing
from bench.errors import BenchError
from bench.images import decode


def touch(folder: Path, *names: str) -> None:
    """Make empty files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def link(place: Path, target: Path) -> None:
    """Make a link, and the folder that it is in."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def test_every_ending_that_is_decoded_counts(tmp_path: Path) -> None:
    names = ["a.JPG", "b.webp", "c.tiff", "d.Tif", "e.bmp", "f.jp2", "g.pgm", "h.jpeg", "i/j.gif"]
    touch(tmp_path, *names, "boxes.txt", "list.csv", "Thumbs.db")
    found = listing.images(tmp_path)
    assert found.files == tuple(sorted(names))
    assert found.notes == ()


def test_the_endings_are_those_of_the_formats_that_are_decoded() -> None:
    from PIL import Image

    Image.init()
    known = {ending for ending, kind in Image.EXTENSION.items() if kind in decode.FORMATS}
    assert set(listing.IMAGES) <= known
    assert known - set(listing.IMAGES) <= {".pfm", ".jpx", ".j2c"}
    assert not set(listing.OTHERS) & set(listing.IMAGES)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "in/._a.jpg", "in/.b.png", "in/.DS_Store", "in/c.heic", "in/IMG_1",
          "in/.thumbnails/a.jpg", "in/@eaDir/a.jpg/SYNOFILE_THUMB_M.jpg", "in/d.avif")  # fmt: skip
    found = listing.images(tmp_path, "in")
    assert found.files == ("in/a.jpg",)
    assert len(found.notes) == 4
    text = "\n".join(found.notes)
    assert "in: 2 hidden files" in text
    assert "in: 2 image files have formats that cannot be decoded: in/c.heic, in/d.avif" in text
    assert "in: 1 files without a suffix are skipped: in/IMG_1" in text
    assert "in: 2 hidden or system folders" in text


def test_linked_folders_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    place, other = tmp_path / "set" / "database", tmp_path / "disk2"
    touch(place, "a.jpg", "z/b.jpg")
    touch(tmp_path / "set" / "queries", "q.jpg")
    touch(other, "c.jpg", "deep/d.jpg")
    link(place / "more", other)
    link(other / "back", tmp_path / "set")  # above the place
    link(other / "deep" / "self", other / "deep")
    link(place / "again", place / "z")  # a folder listed already: it keeps its own name
    link(place / "nowhere", tmp_path / "gone")
    found = listing.images(tmp_path / "set", "database")
    wanted = ("a.jpg", "more/c.jpg", "more/deep/d.jpg", "z/b.jpg")
    assert found.files == tuple(f"database/{name}" for name in wanted)
    assert "database: 3 links are skipped" in "\n".join(found.notes)


def test_a_place_that_is_a_link_itself(tmp_path: Path) -> None:
    touch(tmp_path / "real", "a.jpg", "b/c.jpg")
    link(tmp_path / "set" / "database", tmp_path / "real")
    assert listing.images(tmp_path / "set", "database").files == (
        "database/a.jpg", "database/b/c.jpg",
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "shut/b.jpg")
    (tmp_path / "shut").chmod(0)
    assert listing.images(tmp_path).files == ("a.jpg",)
    (tmp_path / "shut").chmod(0o755)


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=40), st.integers(0, 6))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_numbers_order_names_as_padding_does(numbers: set[int], width: int) -> None:
    bare = [f"ref/{number}.jpg" for number in numbers]
    padded = [f"ref/{number:06}.jpg" for number in numbers]
    assert listing.by_numbers(padded) == sorted(padded)
    got = [int(Path(name).stem) for name in listing.by_numbers(sorted(bare))]
    assert got == sorted(numbers)


@pytest.mark.parametrize(
    "pair", [("1.jpg", "01.jpg"), ("a7b.png", "a007b.png"), ("3.jpg", "3.png")]
)
def test_two_names_of_one_number_have_no_order(pair: tuple[str, str]) -> None:
    with pytest.raises(BenchError, match="have the same number") as caught:
        listing.by_numbers(pair)
    assert all(name in str(caught.value) for name in pair)


def test_folders_that_hold_what_is_wanted(tmp_path: Path) -> None:
    touch(tmp_path, "top/in/side/database/a.jpg", "top/in/side/queries/b.jpg", "top/queries/c.jpg")
    pair, side = ("database", "queries"), tmp_path / "top/in/side"
    assert listing.holding([tmp_path / "no", tmp_path], pair) == (side, 0)
    assert listing.holding([side, tmp_path], pair) == (side, 0)
    assert listing.holding([tmp_path], ("gallery",), ("side/database",), pair) == (side.parent, 1)
    assert listing.holding([tmp_path], ("database", "gallery")) is None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of photographs, one of them behind a link, one hidden, one as .heic."""
    from tests.support.miniatures_places import photograph

    for i, name in enumerate(("a/1.jpg", "b/2.png", "b/._2.png")):
        photograph(tmp_path / "photos" / name, i)
    photograph(tmp_path / "disk" / "3.jpg", 9)
    link(tmp_path / "photos" / "b" / "more", tmp_path / "disk")
    touch(tmp_path / "photos", "a/4.heic")
    return tmp_path / "photos"


def test_extract_and_train_list_folders_alike(folder: Path, tmp_path: Path, cli: Callable) -> None:
    import numpy as np

    from bench.training import photographs

    result = cli("extract", "--method", "random-unit", "--images", folder, "--output",
               tmp_path / "out.npz")  # fmt: skip
    assert result.status == 0, result.err
    assert "1 hidden files" in result.err
    assert "a/4.heic" in result.err
    wanted = ["a/1.jpg", "b/2.png", "b/more/3.jpg"]
    with np.load(tmp_path / "out.npz") as made:
        assert made["ids"].tolist() == wanted
    assert photographs.read(folder).files == tuple(wanted)
