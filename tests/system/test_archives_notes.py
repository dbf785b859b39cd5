"""Archives write photographs, and none of our notes: hidden members and our names are left out."""

from __future__ import annotations

import json
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.system import archives

MEMBERS = {
    "a/1.jpg": b"photograph",
    "own-copy.json": json.dumps({"folder": "/etc"}).encode(),
    "a/own-copy.json": b"{}",
    ".get/data.tgz.json": b'{"unpacked": {}}',
    "a/.hidden/2.jpg": b"x",
    "a/._1.jpg": b"x",
}


def packed(path: Path, members: dict[str, bytes]) -> Path:
    """Write an archive of either kind."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_our_notes_are_left_out_and_named(tmp_path: Path, name: str) -> None:
    done = archives.unpack(packed(tmp_path / name, MEMBERS), tmp_path / "town")
    files = [p.relative_to(tmp_path / "town").as_posix()
             for p in (tmp_path / "town").rglob("*") if p.is_file()]  # fmt: skip
    assert files == ["a/1.jpg"]
    assert done.files == 1
    assert set(done.left_out) == MEMBERS.keys() - {"a/1.jpg"}


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz"])
def test_an_archive_of_notes_alone_is_refused(tmp_path: Path, name: str) -> None:
    notes = {key: content for key, content in MEMBERS.items() if key != "a/1.jpg"}
    with pytest.raises(BenchError, match="contains no photographs"):
        archives.unpack(packed(tmp_path / name, notes), tmp_path / "town")
    assert list((tmp_path / "town").iterdir()) == []
