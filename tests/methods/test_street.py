"""A street as a data set: views of a panorama, and which of them show the same."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import datasets
from bench.errors import BenchError
from bench.methods.weights import street


def test_a_view_shows_the_azimuths_and_heights_around_its_axis() -> None:
    """A panorama whose red is the azimuth and whose green is the height, in degrees / 2."""
    rows, columns = np.mgrid[:180, :360]
    panorama = np.stack([columns // 2, rows, rows * 0], axis=2).astype(np.uint8)
    made = street.view(panorama, 0)
    assert made.shape == (street.SIZE[1], street.SIZE[0], 3)
    centre = made[street.SIZE[1] // 2, street.SIZE[0] // 2]
    assert centre.tolist() == [90, 90 - street.UP_DEG, 0]
    across = 2 * np.ptp(made[:, :, 0].astype(int)[street.SIZE[1] // 2])
    assert across == pytest.approx(street.FIELD_DEG, abs=3)
    turned = street.view(panorama, 90)
    assert turned[street.SIZE[1] // 2, street.SIZE[0] // 2, 0] == 135
    assert made[0, 240, 1] < made[-1, 240, 1]  # the zenith is above


def test_what_a_view_asks_for() -> None:
    views = {"a": (1, 0), "b": (1, 90), "c": (2, 330), "d": (2, 40), "e": (2, 120), "f": (3, 0)}
    assert street.truth(1, 0, views) == {"positive": [2], "ignored": [0, 3, 5]}
    assert street.truth(3, 0, views) == {"positive": [2], "ignored": [0, 3, 5]}
    assert [street.apart(*pair) for pair in ((0, 350), (10, 200), (90, 90))] == [10, 170, 0]


def test_it_is_made_from_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(street, "SIDES_PX", (72, 36))
    monkeypatch.setattr(street, "SIZE", (24, 18))
    with pytest.raises(BenchError, match=r"no file of geovisio 2\.15\.1"):
        street.write(tmp_path, tmp_path / "out")
    with tarfile.open(tmp_path / "geovisio-2.15.1.tar.gz", "w:gz") as tape:
        for number in street.PANORAMAS:
            stream = io.BytesIO()
            Image.new("RGB", (144, 72), (40 * number, 90, 30)).save(stream, "JPEG")
            member = tarfile.TarInfo(f"geovisio-2.15.1/tests/data/{number}.jpg")
            member.size = stream.tell()
            stream.seek(0)
            tape.addfile(member, stream)
    with pytest.raises(BenchError, match=r"another file than geovisio 2\.15\.1"):
        street.write(tmp_path, tmp_path / "out")
    content = (tmp_path / "geovisio-2.15.1.tar.gz").read_bytes()
    monkeypatch.setattr(street, "SHA256", hashlib.sha256(content).hexdigest())
    assert street.write(tmp_path, tmp_path / "out") == 60
    data = datasets.load(str(tmp_path / "out" / "street.json"))
    assert (len(data.database), len(data.queries)) == (60, 60)
    counts = [len(truth.positive) for truth in data.protocols[0].truth]
    assert counts == [3] * 12 + [6] * 36 + [3] * 12
