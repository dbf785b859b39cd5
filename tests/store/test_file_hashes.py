"""Fingerprints: what changed is seen, what did not is not read, and the table may be lost."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from bench.store import file_hashes
from tests.support.checkout import ROOT


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Let any file count as at rest, and return the list of those that are read."""
    seen: list[Path] = []
    read = file_hashes._read

    def counted(path: Path) -> object:
        seen.append(path)
        return read(path)

    monkeypatch.setattr(file_hashes, "_read", counted)
    monkeypatch.setattr(file_hashes, "RECENT_S", -1.0)
    return seen


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return three files."""
    paths = [tmp_path / name for name in ("a", "b", "c d\udce9")]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 300_000)
    return paths


def digests(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_they_are_the_sha256_and_files_are_read_once(tmp_path, files, reads) -> None:
    for _ in range(3):
        assert file_hashes.of_files(files, tmp_path / "cache") == digests(files)
    assert sorted(reads) == sorted(files)


def test_a_byte_in_the_middle_is_seen_even_with_the_old_date(tmp_path, files, reads) -> None:
    file_hashes.of_files(files, tmp_path / "cache")
    about = files[1].stat()
    with files[1].open("r+b") as file:
        file.seek(150_000)
        file.write(b"x")
    os.utime(files[1], ns=(about.st_atime_ns, about.st_mtime_ns))
    reads.clear()
    assert file_hashes.of_files(files, tmp_path / "cache") == digests(files)
    assert reads == [files[1]]


def test_another_file_under_the_name_is_seen(tmp_path, files, reads) -> None:
    file_hashes.of_files(files, tmp_path / "cache")
    files[2].replace(files[0])
    reads.clear()
    assert file_hashes.of_files(files[:2], tmp_path / "cache") == digests(files[:2])
    assert reads == [files[0]]


def test_a_file_changed_just_now_is_read_again(tmp_path, files, reads, monkeypatch) -> None:
    """Its next change might carry the same date."""
    monkeypatch.setattr(file_hashes, "RECENT_S", 3600.0)
    for _ in range(2):
        file_hashes.of_files(files, tmp_path / "cache")
    assert len(reads) == 6


def test_what_is_no_file_has_none(tmp_path, files) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    paths = [tmp_path / "absent", files[0], tmp_path / "folder", tmp_path / "pipe", files[0] / "x"]
    found = file_hashes.of_files(paths, tmp_path / "cache")
    assert found == [None, *digests(files[:1]), None, None, None]
    assert file_hashes.of_files([], tmp_path / "cache") == []


def spoil(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + 2000] = b"\xff" * 2000
    path.write_bytes(content[: max(len(content), at)])


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no table" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: spoil(path, 0),
        lambda path: spoil(path, 4096),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_table_costs_reading_and_mends_itself(tmp_path, files, reads, damage) -> None:
    table = tmp_path / "cache" / "fingerprints.sqlite"
    for _ in range(2):
        file_hashes.of_files(files, tmp_path / "cache")
    damage(table)
    assert file_hashes.of_files(files, tmp_path / "cache") == digests(files)
    file_hashes.of_files(files, tmp_path / "cache")
    reads.clear()
    assert file_hashes.of_files(files, tmp_path / "cache") == digests(files)
    assert reads == []


def test_a_table_of_another_form_is_not_believed(tmp_path, files) -> None:
    (tmp_path / "cache").mkdir()
    with sqlite3.connect(tmp_path / "cache" / "fingerprints.sqlite") as other:
        other.execute("CREATE TABLE files (path TEXT)")
    other.close()
    assert file_hashes.of_files(files, tmp_path / "cache") == digests(files)


def test_a_folder_that_cannot_be_made_does_not_matter(tmp_path, files) -> None:
    assert file_hashes.of_files(files, files[0] / "cache") == digests(files)


def test_two_processes_share_the_table(tmp_path, files) -> None:
    many = []
    for i in range(300):
        many.append(tmp_path / f"{i}.bin")
        many[-1].write_bytes(b"%d" % i)
    code = (
        "import sys; from pathlib import Path; from bench.store import file_hashes\n"
        "file_hashes.RECENT_S, file_hashes.AT_ONCE = -1, 7\n"
        "files = sorted(Path(sys.argv[1]).glob('*.bin'))\n"
        "print('\\n'.join(file_hashes.of_files(files, Path(sys.argv[1]) / 'cache')))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in both:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out.split() == digests(sorted(many))
