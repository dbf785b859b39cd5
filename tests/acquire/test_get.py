"""`data get` against real servers: moved, cut, slow; terms, own copies, parts, mirrors."""

from __future__ import annotations

import hashlib
import io
import re
import time
from types import SimpleNamespace

import pytest

from bench.acquire import downloads
from bench.facts import Download
from bench.system import download
from tests.support.hosts import (
    ALL,
    GOOD,
    NAMES,
    PHOTOS,
    Page,
    Streets,
    tar_of,
)
from tests.support.miniatures import jpeg

PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"


# --- what goes well -----------------------------------------------------------------------------


def test_the_first_host_is_enough(streets: Streets) -> None:
    text = streets.get()
    assert text.status == 0, text.err
    assert streets.images() == ALL
    assert (streets.folder / "jpg" / "p2.jpg").read_bytes() == PHOTOS[2][1]
    assert "free for research (http://example.org/terms)" in text.out
    assert "complete, 4 images" in text.out
    assert streets.left() == []
    content = streets.state()
    assert content["sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert content["source"] == f"{streets.hosts[0].url}/photos.tgz"
    assert content["unpacked"] == {"files": 4, "bytes": sum(len(c) for _, c in PHOTOS), "empty": []}
    assert streets.hosts[1].pages["/photos.tgz"].asked == []
    assert streets.get().status == 0
    assert len(streets.hosts[0].pages["/photos.tgz"].asked) == 1  # nothing is fetched again


def test_the_archive_is_kept_if_one_wants(streets: Streets) -> None:
    assert streets.get("--keep-archives").status == 0
    assert streets.left() == ["photos.tgz"]


@pytest.mark.parametrize("fault", ["404", "html", "html by its bytes", "hash", "damaged size"])
def test_another_host_is_tried(streets: Streets, fault: str) -> None:
    first = streets.hosts[0].pages
    if fault == "404":
        del first["/photos.tgz"]
    elif fault == "html":
        first["/photos.tgz"] = Page(PAGE, kind="text/html; charset=utf-8")
    elif fault == "html by its bytes":
        first["/photos.tgz"] = Page(PAGE)
    elif fault == "hash":
        first["/photos.tgz"] = Page(GOOD[:-1] + b"x")
        streets.write(sha256=hashlib.sha256(GOOD).hexdigest())
    else:
        first["/photos.tgz"] = Page(GOOD[:-1])
        streets.write(size_bytes=len(GOOD))
    text = streets.get()
    assert text.status == 0, text.err
    assert streets.images() == ALL
    assert streets.state()["source"] == f"{streets.hosts[1].url}/photos.tgz"
    assert streets.left() == []


def test_a_host_that_moved_to_another_host(streets: Streets) -> None:
    first, other = streets.hosts
    first.pages["/photos.tgz"] = Page(moved=f"{other.url}/new/photos.tgz")
    other.pages["/new/photos.tgz"] = Page(faults=[len(GOOD) // 2])
    text = streets.get()
    assert text.status == 0, text.err
    assert streets.images() == ALL
    assert other.pages["/new/photos.tgz"].asked == [None, f"bytes={len(GOOD) // 2}-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_body_that_is_cut_is_continued_or_fetched_anew(streets: Streets, ranges: bool) -> None:
    page = streets.hosts[0].pages["/photos.tgz"] = Page(ranges=ranges, faults=[1000, 2000])
    assert streets.get().status == 0
    assert streets.images() == ALL
    expected = ["bytes=1000-", "bytes=3000-"] if ranges else ["bytes=1000-", "bytes=2000-"]
    assert page.asked == [None, *expected]


def test_a_broken_download_goes_on_in_the_next_call(streets: Streets, monkeypatch, refused) -> None:
    monkeypatch.setattr(download, "TRIES", 1)
    for host in streets.hosts:
        host.pages["/photos.tgz"].faults = [1500]
    assert "ended after 1500" in refused(streets.get())
    assert streets.images() == []
    assert len([name for name in streets.left() if name.endswith(".part")]) == 2
    assert streets.get().status == 0
    assert streets.hosts[0].pages["/photos.tgz"].asked == [None, "bytes=1500-"]
    assert streets.images() == ALL
    assert streets.left() == []


def test_a_slow_drip_is_given_up(streets: Streets, monkeypatch) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_TIMEOUT_S", "0.3")
    monkeypatch.setattr(download, "TRIES", 2)
    streets.hosts[0].pages["/photos.tgz"] = Page(pause_s=0.05, block=10)
    start = time.monotonic()
    text = streets.get()
    assert text.status == 0
    assert re.search(r"sent \d+ bytes in 0 s; trying again", text.err)
    assert time.monotonic() - start < 20
    assert streets.state()["source"].startswith(streets.hosts[1].url)


def test_a_slow_but_honest_host_is_not_given_up(streets: Streets, monkeypatch) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_TIMEOUT_S", "0.3")
    page = streets.hosts[0].pages["/photos.tgz"] = Page(pause_s=0.05, block=1000)
    assert streets.get().status == 0
    assert page.asked == [None]


@pytest.mark.parametrize("value", ["soon", "0", "-3", "nan"])
def test_a_time_limit_that_is_none(streets: Streets, monkeypatch, refused, value: str) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_TIMEOUT_S", value)
    assert "must be a number of seconds above 0" in refused(streets.get())


def test_much_progress_gives_new_tries(streets: Streets, monkeypatch) -> None:
    monkeypatch.setattr(download, "TRIES", 2)
    monkeypatch.setattr(download, "MUCH_BYTES", 1000)
    page = streets.hosts[0].pages["/photos.tgz"] = Page(faults=[1200] * 5)
    assert streets.get().status == 0
    assert len(page.asked) == 6


# --- terms, own copies, parts -------------------------------------------------------------------


def test_terms_are_asked_for_once(streets: Streets, cli, monkeypatch, refused) -> None:
    get = ("data", "get", streets.path)
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    text = refused(cli(*get))  # not a terminal
    assert "http://example.org/terms, then add --accept-licence" in text
    answers = io.StringIO("no\nyes\n")
    answers.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", answers)
    assert "were not accepted; nothing was downloaded" in refused(cli(*get))
    assert streets.hosts[0].pages["/photos.tgz"].asked == []
    assert cli(*get).status == 0
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert cli(*get, "--force").status == 0  # agreed to before
    streets.path.write_text(streets.path.read_text().replace("free for", "not free for"))
    from bench import plugins

    for name in [name for name in plugins.sys.modules if name.startswith("_bench_data set_")]:
        del plugins.sys.modules[name]
    assert "were not accepted" in refused(cli(*get, "--force"))  # other terms


def test_what_no_program_may_fetch(streets: Streets, cli, workspace, refused) -> None:
    streets.write(ask="Write to street@example.org and say what for.")
    text = streets.get()
    assert "cannot be downloaded by a program" in refused(text)
    assert "Write to street@example.org" in text.out
    own = workspace.folder / "mine" / "deep"
    own.mkdir(parents=True)
    for name, content in PHOTOS:
        (own / name).write_bytes(content)
    assert streets.get("--from", own.parent).status == 0
    assert streets.images() == ["own-copy.json"]  # used where it lies
    assert (
        f"folder {own.parent} (given with --from): found" in cli("data", "where", streets.path).out
    )
    assert cli("run", "--dataset", streets.path, "--method", "random-unit").status == 0
    assert streets.get().status == 0


def test_a_copy_in_an_archive_of_another_name(streets: Streets, workspace) -> None:
    archive = workspace.folder / "from-a-friend.tar"
    archive.write_bytes(tar_of([(f"some/{name}", content) for name, content in PHOTOS], "w"))
    text = streets.get("--from", archive)
    assert text.status == 0
    assert "complete, 4 images" in text.out
    assert archive.is_file()
    assert streets.images() == [f"some/{name}" for name in NAMES]


def test_copies_that_are_none(streets: Streets, workspace, refused) -> None:
    assert "does not exist" in refused(streets.get("--from", workspace.folder / "x"))
    other = workspace.folder / "notes.doc"
    other.write_text("x")
    assert "give a folder, an archive" in refused(streets.get("--from", other))
    text = workspace.folder / "list.txt"
    text.write_text("x")
    assert streets.get("--from", text).status == 0
    assert streets.images() == ["list.txt"]
    assert text.is_file()


def many(streets: Streets) -> dict[str, Page]:
    """Give the data set an archive per photograph, and a list that only the second host has."""
    first, other = streets.hosts
    files = [Download("list.txt", (f"{first.url}/l", f"{other.url}/l"), kind="ground truth")]
    other.pages["/l"] = Page(b"the list")
    for i, photo in enumerate(PHOTOS, 1):
        first.pages[f"/{i}.tar"] = Page(tar_of([photo], "w"))
        files.append(Download(f"{i}.tar", (f"{first.url}/{i}.tar",), into="jpg"))
    streets.write_all(files)
    return first.pages


def test_one_archive_that_fails_does_not_stop_the_others(streets: Streets, cli, refused) -> None:
    pages = many(streets)
    pages["/2.tar"].faults = [503] * 10
    text = refused(streets.get())
    assert "1 of 5 downloads failed, the others are complete" in text
    assert "503" in text
    assert streets.images() == ["jpg/p0.jpg", "jpg/p2.jpg", "jpg/p3.jpg", "list.txt"]
    assert len(pages["/2.tar"].asked) == download.TRIES
    checked = cli("data", "verify", streets.path)
    assert checked.status == 1
    assert "1 of 4 archives not unpacked: 2.tar" in checked.out
    pages["/2.tar"].faults = []
    assert streets.get().status == 0
    assert [len(pages[f"/{i}.tar"].asked) for i in (1, 2, 3, 4)] == [1, download.TRIES + 1, 1, 1]
    assert cli("data", "verify", streets.path).status == 0


def test_a_file_that_is_not_needed_may_fail(streets: Streets) -> None:
    first, _ = streets.hosts
    extra = Download("extra.zip", (f"{first.url}/extra.zip",), kind="ground truth", optional=True)
    streets.write_all([extra, Download("photos.tgz", (f"{first.url}/photos.tgz",), into="jpg")])
    text = streets.get()
    assert text.status == 0
    assert "404" in text.err
    assert "This file is optional. Continuing" in text.err
    assert streets.images() == ALL


def test_everything_comes_anew_if_one_wants(streets: Streets) -> None:
    pages = many(streets)
    assert streets.get("--keep-archives").status == 0
    pages["/1.tar"].content = tar_of([("p0.jpg", jpeg("new"))], "w")
    streets.hosts[1].pages["/l"].content = b"another list"
    assert streets.get("--force").status == 0
    assert (streets.folder / "jpg" / "p0.jpg").read_bytes() == jpeg("new")
    assert (streets.folder / "list.txt").read_text() == "another list"
    assert streets.left() == [f"{i}.tar.json" for i in (1, 2, 3, 4)] + ["list.txt.json"]


def test_a_part_of_the_archives(streets: Streets, refused) -> None:
    pages = many(streets)
    text = streets.get("--archives", "2-3")
    assert text.status == 0
    assert streets.images() == ["jpg/p1.jpg", "jpg/p2.jpg", "list.txt"]
    assert "partial, 2 of 4 images" in text.out
    assert pages["/1.tar"].asked == []
    assert "numbered 1 to 4" in refused(streets.get("--archives", "2-5"))
    assert "FIRST-LAST" in refused(streets.get("--archives", "x"))


def test_photographs_that_are_there_are_not_fetched(streets: Streets) -> None:
    (streets.folder / "elsewhere").mkdir(parents=True)
    for name, content in PHOTOS:
        (streets.folder / "elsewhere" / name).write_bytes(content)
    assert streets.get().status == 0
    assert streets.hosts[0].pages["/photos.tgz"].asked == []


# --- a mirror, and the genuine addresses --------------------------------------------------------


def test_a_mirror_is_asked_first(streets: Streets, monkeypatch, refused) -> None:
    mirror, other = streets.hosts
    place = other.url.removeprefix("http://")
    streets.write_all([Download("photos.tgz", (f"{other.url}/photos.tgz",), into="jpg")])
    mirror.pages[f"/copies/{place}/photos.tgz"] = Page()
    monkeypatch.setenv(downloads.MIRROR, f"{mirror.url}/copies/")
    assert streets.get().status == 0
    assert streets.state()["source"] == f"{mirror.url}/copies/{place}/photos.tgz"
    assert other.pages["/photos.tgz"].asked == []
    mirror.pages.clear()
    assert streets.get("--force").status == 0
    assert streets.state()["source"] == f"{other.url}/photos.tgz"
    monkeypatch.setenv(downloads.MIRROR, "/srv/copies")
    assert "is not the address of a web server" in refused(streets.get("--force"))


def test_distractors_archive_by_archive(host, cli, workspace, monkeypatch) -> None:
    mirror, place = host(), "/ptak.felk.cvut.cz/revisitop/revisitop1m"
    room = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=10**12))
    monkeypatch.setattr(
        "bench.acquire.get.shutil", room
    )  # not of this test, but of the genuine set
    monkeypatch.setenv(downloads.MIRROR, mirror.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    names = [f"{i:03x}/{i:032x}.jpg" for i in range(8)]
    lines = "".join(f"{name}\n" for name in names)
    mirror.pages[f"{place}/revisitop1m.txt"] = Page(lines.encode(), kind="text/plain")
    for i in range(4):
        part = [(name, jpeg(name)) for name in names[2 * i : 2 * i + 2]]
        mirror.pages[f"{place}/jpg/revisitop1m.{i + 1}.tar.gz"] = Page(tar_of(part))
    get = ("data", "get", "revisitop1m", "--accept-licence", "--archives")
    assert "partial, 4 of 8 images" in cli(*get, "1-2").out
    assert "partial, 6 of 8 images" in cli(*get, "2-3").out
    assert "complete, 8 images" in cli(*get, "4").out
    assert all(page.asked == [None] for page in mirror.pages.values())  # nothing came twice
    assert (workspace.data / "revisitop1m" / "jpg" / names[5]).is_file()
    result = cli("data", "verify", "revisitop1m", "--quick")
    assert "all 8 images are present" in result.out
    assert result.status == 0
    assert "note  96 of 100 archives not unpacked: revisitop1m.5.tar.gz" in result.out
    assert cli("data", "get", "revisitop1m", "--accept-licence").status == 0  # all are there


def test_addresses_of_the_genuine_files() -> None:
    from bench import datasets

    for name in ("roxford5k", "rparis6k", "oxford5k", "paris6k", "revisitop1m"):
        facts = datasets.entry_of(name).facts
        assert facts is not None
        for file in facts.downloads:
            assert all(re.match(r"https?://[a-z.]+/\S+[^/]$", url) for url in file.urls)
            assert all(url.endswith(file.file) for url in file.urls)
            if name != "revisitop1m":
                assert len(file.urls) >= 2 or "/test/" in file.urls[0]
        images = [d.file for d in facts.downloads if d.kind == "images"]
        if name == "revisitop1m":
            assert images == [f"revisitop1m.{n}.tar.gz" for n in range(1, 101)]
    assert download.TIMEOUT_S == 60
