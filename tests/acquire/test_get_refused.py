"""`data get` against hostile archives, wrong hashes, full disks: nothing half in place."""

from __future__ import annotations

import errno
import io
import json
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.errors import BenchError
from bench.system import archives, download
from tests.support.hosts import (
    ALL,
    GOOD,
    PHOTOS,
    Page,
    Streets,
    tar_of,
)


def entry(name: str, kind: bytes, target: str = "p0.jpg") -> tarfile.TarInfo:
    """Return an entry that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# --- what does not ------------------------------------------------------------------------------

HOSTILE = {
    "outside": tar_of([*PHOTOS, ("../evil.jpg", b"x")]),
    "absolute": tar_of([*PHOTOS, ("/tmp/evil.jpg", b"x")]),
    "backslash": tar_of([*PHOTOS, ("..\\evil.jpg", b"x")]),
    "drive": tar_of([*PHOTOS, ("C:/evil.jpg", b"x")]),
    "outside folder": tar_of([*PHOTOS, entry("../evil", tarfile.DIRTYPE)]),
    "symbolic link": tar_of([*PHOTOS, entry("evil.jpg", tarfile.SYMTYPE, "/etc/passwd")]),
    "hard link": tar_of([*PHOTOS, entry("evil.jpg", tarfile.LNKTYPE)]),
    "device": tar_of([*PHOTOS, entry("evil", tarfile.CHRTYPE)]),
    "pipe": tar_of([*PHOTOS, entry("evil", tarfile.FIFOTYPE)]),
    "bomb": tar_of([*PHOTOS, ("big.jpg", bytes(80_000_000))]),
    "many": tar_of([(f"{i}.jpg", b"") for i in range(6000)]),
    "cut": GOOD[:-100],
    "checksum": GOOD[:-6] + bytes([GOOD[-6] ^ 1]) + GOOD[-5:],
    "not an archive": b"nothing of the kind" * 100,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_or_damaged_archive_leaves_nothing(streets: Streets, refused, kind: str) -> None:
    for host in streets.hosts:
        host.pages["/photos.tgz"] = Page(HOSTILE[kind])
    says = {
        "symbolic link": "is a link", "hard link": "is a link", "device": "is a device",
        "pipe": "is a device or special file", "bomb": "unpacks to more than 6",
        "many": "unpacks to more than 2", "cut": "is damaged", "checksum": "is damaged",
        "not an archive": "is damaged or not an archive",
    }  # fmt: skip
    text = refused(streets.get())
    assert says.get(kind, "points outside the folder or has an invalid name") in text
    assert "no file was unpacked" in text
    assert streets.images() == []
    assert not list(streets.folder.rglob("*evil*"))
    assert not list(streets.folder.parent.glob("*evil*"))
    assert streets.left() == []
    for host in streets.hosts:
        host.pages["/photos.tgz"] = Page()
    assert streets.get().status == 0  # the hash of the bad one does not hold
    assert streets.images() == ALL


def zip_of(names: list[tuple[str, bytes, int]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as record:
        for name, content, mode in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            record.writestr(info, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a/p.jpg", b"x", 0o100644), ("b/", b"", 0o040755)], None),
        ([("../p.jpg", b"x", 0o100644)], "points outside"),
        ([("/p.jpg", b"x", 0)], "points outside"),
        ([("p.jpg", b"/etc/passwd", 0o120777)], "is a link"),
        ([("p.jpg", b"", 0o010644)], "is a device"),
        ([("p.jpg", bytes(80_000_000), 0)], "unpacks to more than"),
    ],
)
def test_zip_archives(tmp_path: Path, members: list[Any], says: str | None) -> None:
    archive, target = tmp_path / "x.zip", tmp_path / "out"
    archive.write_bytes(zip_of(members))
    if says is None:
        assert archives.unpack(archive, target) == archives.Unpacked(1, 1, ())
        assert (target / "a" / "p.jpg").read_bytes() == b"x"
        return
    with pytest.raises(BenchError, match=says):
        archives.unpack(archive, target)
    assert list(target.iterdir()) == []


def test_a_zip_whose_checksum_is_wrong(tmp_path: Path) -> None:
    content = bytearray(zip_of([("p.jpg", b"0123456789" * 100, 0)]))
    content[40] ^= 1
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(BenchError, match="is damaged"):
        archives.unpack(tmp_path / "x.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_empty_members_are_counted(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_of([("a.jpg", b""), ("b.jpg", b"1")], "w"))
    content = archives.unpack(tmp_path / "x.tar", tmp_path / "out")
    assert content == archives.Unpacked(2, 1, ("a.jpg",))


def test_no_host_has_it(streets: Streets, refused) -> None:
    for host in streets.hosts:
        host.pages.clear()
    text = refused(streets.get())
    assert "failed at all 2 addresses: (1) " in text
    assert all(host.url in text for host in streets.hosts)
    assert "404" in text
    assert "--from PATH" in text
    assert streets.images() == []


def test_the_hash_of_the_first_download_holds(streets: Streets, refused) -> None:
    assert streets.get().status == 0
    for host in streets.hosts:
        host.pages["/photos.tgz"] = Page(tar_of([*PHOTOS, ("p9.jpg", b"new")]))
    (streets.folder / "jpg" / "p1.jpg").unlink()
    note = streets.folder / ".get" / "photos.tgz.json"
    content = json.loads(note.read_text())
    note.write_text(json.dumps(content | {"unpacked": None}))
    assert "that of its first download; to accept the new file, delete" in refused(streets.get())
    assert streets.images() == [name for name in ALL if name != "jpg/p1.jpg"]
    assert streets.get("--force").status == 0
    assert "jpg/p9.jpg" in streets.images()


def test_a_hash_that_only_others_report_is_enforced_too(streets: Streets, refused) -> None:
    streets.write(reported="0" * 32)
    assert f"third parties report {'0' * 32}" in refused(streets.get())
    assert streets.images() == []


def test_a_full_disk_is_said_before_anything_is_fetched(streets: Streets, refused) -> None:
    streets.write(size=10**16)
    text = refused(streets.get())
    assert "takes about 20000000.0 GB" in text
    assert "RETRIEVAL_BENCH_DATA" in text
    assert streets.hosts[0].pages["/photos.tgz"].asked == []


def test_a_disk_that_fills_while_downloading(streets: Streets, monkeypatch, refused) -> None:
    real = download.shutil.disk_usage
    monkeypatch.setattr(
        download, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=10))
    )
    assert "has no room for the file" in refused(streets.get())
    assert streets.hosts[1].pages["/photos.tgz"].asked == []  # another host would not help
    assert streets.images() == []
    monkeypatch.setattr(download, "shutil", SimpleNamespace(disk_usage=real))
    assert streets.get().status == 0


def test_a_disk_that_fills_while_unpacking(streets: Streets, monkeypatch, refused) -> None:
    real, calls = archives._write, []

    def full(path: Path, *more: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, *more)

    monkeypatch.setattr(archives, "_write", full)
    assert "has no room for the files of photos.tgz" in refused(streets.get())
    assert streets.images() == []
    assert streets.left() == ["photos.tgz"]  # kept: it need not be fetched again
    assert streets.get().status == 0
    assert streets.images() == ALL
    assert len(streets.hosts[0].pages["/photos.tgz"].asked) == 1


@pytest.mark.parametrize("when", ["before", "halfway", "after"])
def test_a_process_that_is_stopped_while_unpacking(streets: Streets, monkeypatch, when) -> None:
    """What was in place by then is whole, and the next call ends the work without a download."""
    real = Path.replace
    places = []

    def stopped(path: Path, target: Path) -> Path:
        if Path(target).suffix == ".jpg":
            places.append(target)
            if len(places) == {"before": 1, "halfway": 3, "after": 5}[when]:
                raise KeyboardInterrupt
        if when == "after" and Path(target).name == "photos.tgz.json" and len(places) == 4:
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "replace", stopped)
    assert streets.get().status == 130
    monkeypatch.setattr(Path, "replace", real)
    assert streets.images() == ALL[: {"before": 0, "halfway": 2, "after": 4}[when]]
    for name in streets.images():
        assert (streets.folder / name).read_bytes() == dict(PHOTOS)[Path(name).name]
    assert streets.get().status == 0
    assert streets.images() == ALL
    assert streets.left() == []
    assert len(streets.hosts[0].pages["/photos.tgz"].asked) == 1
