"""`data get` against real servers: moved, cut, slow, wrong, hostile; nothing half in place."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from types import SimpleNamespace
from typing import Any

import pytest

from bench import archives, fetch, sources, web
from bench.errors import BenchError
from bench.facts import Download
from tests.miniatures import jpeg

PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"
NAMES = [f"p{i}.jpg" for i in range(4)]


def tar_of(members: list[Any], mode: str = "w:gz") -> bytes:
    """Return a tar of (name, content) pairs and of finished entries."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def entry(name: str, kind: bytes, target: str = "p0.jpg") -> tarfile.TarInfo:
    """Return an entry that is no plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


PHOTOS = [(name, jpeg(name, (200, 150))) for name in NAMES]
GOOD = tar_of(PHOTOS)


# --- hosts that misbehave as told ---------------------------------------------------------------


@dataclass
class Page:
    """What is at one path; `faults` are spent one per request, then it behaves.

    A fault is a status, or the number of body bytes after which the connection ends.
    """

    content: bytes = GOOD
    moved: str | None = None
    ranges: bool = True
    kind: str = "application/octet-stream"
    pause_s: float = 0.0
    block: int = 50_000
    faults: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Answers as the pages of the server say."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *given: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Send the page, or what is wrong with it."""
        self.close_connection = True
        page: Page | None = self.server.pages.get(self.path)  # type: ignore[attr-defined]
        if page is None:
            self.send_error(404)
            return
        page.asked.append(self.headers.get("Range"))
        fault = page.faults.pop(0) if page.faults else None
        if fault is not None and 400 <= fault < 600:
            self.send_error(fault)
            return
        if page.moved is not None:
            self.send_response(301)
            self.send_header("Location", page.moved)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        first = int(asked[1]) if asked and page.ranges else 0
        body, size = page.content[first:], len(page.content)
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{hashlib.md5(page.content).hexdigest()}"')
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        body = body[:fault]
        for start in range(0, len(body), page.block):
            self.wfile.write(body[start : start + page.block])
            time.sleep(page.pause_s)


class Server(ThreadingMixIn, HTTPServer):
    """One thread per request; all have ended when it is closed."""

    pages: dict[str, Page]

    def handle_error(self, *given: Any) -> None:
        """Say nothing when the other side hangs up."""


@dataclass
class Host:
    """A server on this machine: its address and its pages by path."""

    url: str
    pages: dict[str, Page]


@pytest.fixture
def host() -> Iterator[Callable[[], Host]]:
    """Return a function that starts a host, which lasts as long as the test."""
    running = []

    def start() -> Host:
        server = Server(("127.0.0.1", 0), Handler)
        server.pages = {}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return Host(f"http://127.0.0.1:{server.server_port}", server.pages)

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


PLUG_IN = '''"""Streets: four photographs."""

from bench.facts import Download, Facts

FACTS = Facts(
    tier=2, headline="Recall@1", size_bytes=SIZE, licence="free for research",
    licence_url="http://example.org/terms", downloads=DOWNLOADS, ask=ASK, truth=("list.txt",),
)


def load(root):
    names = NAMES
    return {
        "name": "streets", "images": str(root / "streets" / "jpg"), "database": names[1:],
        "queries": [{"file": names[0]}], "protocols": {"all": [{"positive": [0]}]},
    }
'''


@dataclass
class Streets:
    """A data set with one archive on two hosts: how to change it, get it, and look at it."""

    path: Path
    folder: Path
    hosts: tuple[Host, Host]
    run: Callable[..., Any]

    def write(self, size: int = 100_000, ask: str = "", **facts: Any) -> None:
        """Write the plug-in; `facts` are those of the archive."""
        downloads = [
            Download(
                "photos.tgz",
                tuple(f"{host.url}/photos.tgz" for host in self.hosts),
                into="jpg",
                **facts,
            )
        ]
        self.write_all(downloads if not ask else [], size, ask)

    def write_all(self, downloads: list[Download], size: int = 100_000, ask: str = "") -> None:
        """Write the plug-in with these files."""
        text = PLUG_IN.replace("SIZE", str(size)).replace("NAMES", repr(NAMES))
        text = text.replace("DOWNLOADS", repr(tuple(downloads))).replace("ASK", repr(ask))
        self.path.write_text(text)

    def get(self, *more: object) -> Any:
        """Run `data get` on it."""
        return self.run("data", "get", self.path, "--accept-licence", *more)

    def images(self) -> list[str]:
        """Return what is in place: every file below the folder but what is hidden."""
        return sorted(
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and not path.relative_to(self.folder).parts[0].startswith(".")
        )

    def state(self) -> dict[str, Any]:
        """Return what was recorded of the archive."""
        place = sources.Place("streets", self.folder)
        return sources.state(place, "photos.tgz")

    def left(self) -> list[str]:
        """Return what else lies in the folder of the downloads."""
        known = {".lock", "licence.json", "photos.tgz.json"}
        return sorted(p.name for p in (self.folder / ".get").iterdir() if p.name not in known)


ALL = [f"jpg/{name}" for name in NAMES]


@pytest.fixture
def streets(host, cli, workspace, monkeypatch) -> Streets:
    """Return the data set, with the archive on both hosts."""
    monkeypatch.setattr(fetch, "WAIT_S", 0.0)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.delenv(sources.MIRROR, raising=False)
    made = Streets(
        workspace.folder / "streets.py", workspace.data / "streets", (host(), host()), cli
    )
    for one in made.hosts:
        one.pages["/photos.tgz"] = Page()
    made.write()
    return made


# --- what goes well -----------------------------------------------------------------------------


def test_the_first_host_is_enough(streets: Streets) -> None:
    said = streets.get()
    assert said.status == 0, said.err
    assert streets.images() == ALL
    assert (streets.folder / "jpg" / "p2.jpg").read_bytes() == PHOTOS[2][1]
    assert "free for research (http://example.org/terms)" in said.out
    assert "complete, 4 images" in said.out
    assert streets.left() == []
    held = streets.state()
    assert held["sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert held["source"] == f"{streets.hosts[0].url}/photos.tgz"
    assert held["unpacked"] == {"files": 4, "bytes": sum(len(c) for _, c in PHOTOS), "empty": []}
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
    said = streets.get()
    assert said.status == 0, said.err
    assert streets.images() == ALL
    assert streets.state()["source"] == f"{streets.hosts[1].url}/photos.tgz"
    assert streets.left() == []


def test_a_host_that_moved_to_another_host(streets: Streets) -> None:
    one, other = streets.hosts
    one.pages["/photos.tgz"] = Page(moved=f"{other.url}/new/photos.tgz")
    other.pages["/new/photos.tgz"] = Page(faults=[len(GOOD) // 2])
    said = streets.get()
    assert said.status == 0, said.err
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
    monkeypatch.setattr(fetch, "TRIES", 1)
    for one in streets.hosts:
        one.pages["/photos.tgz"].faults = [1500]
    assert "broke off after 1500" in refused(streets.get())
    assert streets.images() == []
    assert len([name for name in streets.left() if name.endswith(".part")]) == 2
    assert streets.get().status == 0
    assert streets.hosts[0].pages["/photos.tgz"].asked == [None, "bytes=1500-"]
    assert streets.images() == ALL
    assert streets.left() == []


def test_a_slow_drip_is_given_up(streets: Streets, monkeypatch) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_TIMEOUT_S", "0.3")
    monkeypatch.setattr(fetch, "TRIES", 2)
    streets.hosts[0].pages["/photos.tgz"] = Page(pause_s=0.05, block=10)
    start = time.monotonic()
    said = streets.get()
    assert said.status == 0
    assert re.search(r"sent \d+ bytes in 0 s; trying again", said.err)
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
    assert "is not a number of seconds above 0" in refused(streets.get())


def test_much_progress_gives_new_tries(streets: Streets, monkeypatch) -> None:
    monkeypatch.setattr(fetch, "TRIES", 2)
    monkeypatch.setattr(fetch, "MUCH_BYTES", 1000)
    page = streets.hosts[0].pages["/photos.tgz"] = Page(faults=[1200] * 5)
    assert streets.get().status == 0
    assert len(page.asked) == 6


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
    "no archive": b"nothing of the kind" * 100,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_or_damaged_archive_leaves_nothing(streets: Streets, refused, kind: str) -> None:
    for one in streets.hosts:
        one.pages["/photos.tgz"] = Page(HOSTILE[kind])
    says = {
        "symbolic link": "is a link", "hard link": "is a link", "device": "is a device",
        "pipe": "is a device or special file", "bomb": "unpacks to more than 6",
        "many": "unpacks to more than 2", "cut": "is damaged", "checksum": "is damaged",
        "no archive": "is damaged or no archive",
    }  # fmt: skip
    text = refused(streets.get())
    assert says.get(kind, "leads outside the folder or has an odd name") in text
    assert "nothing of it was kept" in text
    assert streets.images() == []
    assert not list(streets.folder.rglob("*evil*"))
    assert not list(streets.folder.parent.glob("*evil*"))
    assert streets.left() == []
    for one in streets.hosts:
        one.pages["/photos.tgz"] = Page()
    assert streets.get().status == 0  # the hash of the bad one does not hold
    assert streets.images() == ALL


def zip_of(names: list[tuple[str, bytes, int]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as held:
        for name, content, mode in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            held.writestr(info, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a/p.jpg", b"x", 0o100644), ("b/", b"", 0o040755)], None),
        ([("../p.jpg", b"x", 0o100644)], "leads outside"),
        ([("/p.jpg", b"x", 0)], "leads outside"),
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
    held = archives.unpack(tmp_path / "x.tar", tmp_path / "out")
    assert held == archives.Unpacked(2, 1, ("a.jpg",))


def test_no_host_has_it(streets: Streets, refused) -> None:
    for one in streets.hosts:
        one.pages.clear()
    text = refused(streets.get())
    assert "none of 2 addresses gave it: (1) " in text
    assert all(one.url in text for one in streets.hosts)
    assert "404" in text
    assert "--from PATH" in text
    assert streets.images() == []


def test_the_hash_of_the_first_download_holds(streets: Streets, refused) -> None:
    assert streets.get().status == 0
    for one in streets.hosts:
        one.pages["/photos.tgz"] = Page(tar_of([*PHOTOS, ("p9.jpg", b"new")]))
    (streets.folder / "jpg" / "p1.jpg").unlink()
    note = streets.folder / ".get" / "photos.tgz.json"
    held = json.loads(note.read_text())
    note.write_text(json.dumps(held | {"unpacked": None}))
    assert "as at its first download; to accept the new file, delete" in refused(streets.get())
    assert streets.images() == [name for name in ALL if name != "jpg/p1.jpg"]
    assert streets.get("--force").status == 0
    assert "jpg/p9.jpg" in streets.images()


def test_a_hash_that_only_others_report_is_said_and_not_enforced(streets: Streets) -> None:
    streets.write(reported="0" * 32)
    said = streets.get()
    assert said.status == 0
    assert f"third parties report {'0' * 32}" in said.err
    assert streets.state()["reported"] == f"others report {'0' * 32}"


def test_a_full_disk_is_said_before_anything_is_fetched(streets: Streets, refused) -> None:
    streets.write(size=10**16)
    text = refused(streets.get())
    assert "takes about 20000000.0 GB" in text
    assert "RETRIEVAL_BENCH_DATA" in text
    assert streets.hosts[0].pages["/photos.tgz"].asked == []


def test_a_disk_that_fills_while_downloading(streets: Streets, monkeypatch, refused) -> None:
    real = fetch.shutil.disk_usage
    monkeypatch.setattr(
        fetch, "shutil", SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=10))
    )
    assert "has no room for the file" in refused(streets.get())
    assert streets.hosts[1].pages["/photos.tgz"].asked == []  # another host would not help
    assert streets.images() == []
    monkeypatch.setattr(fetch, "shutil", SimpleNamespace(disk_usage=real))
    assert streets.get().status == 0


def test_a_disk_that_fills_while_unpacking(streets: Streets, monkeypatch, refused) -> None:
    real, calls = archives._write, []

    def full(path: Path, *more: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, *more)

    monkeypatch.setattr(archives, "_write", full)
    assert "has no room for what photos.tgz holds" in refused(streets.get())
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


# --- terms, own copies, parts -------------------------------------------------------------------


def test_terms_are_asked_for_once(streets: Streets, cli, monkeypatch, refused) -> None:
    get = ("data", "get", streets.path)
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    text = refused(cli(*get))  # not a terminal
    assert "http://example.org/terms, then give --accept-licence" in text
    answers = io.StringIO("no\nyes\n")
    answers.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stdin", answers)
    assert "were not agreed to; nothing was fetched" in refused(cli(*get))
    assert streets.hosts[0].pages["/photos.tgz"].asked == []
    assert cli(*get).status == 0
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert cli(*get, "--force").status == 0  # agreed to before
    streets.path.write_text(streets.path.read_text().replace("free for", "not free for"))
    from bench import plugins

    for name in [name for name in plugins.sys.modules if name.startswith("_bench_data set_")]:
        del plugins.sys.modules[name]
    assert "were not agreed to" in refused(cli(*get, "--force"))  # other terms


def test_what_no_program_may_fetch(streets: Streets, cli, workspace, refused) -> None:
    streets.write(ask="Write to street@example.org and say what for.")
    said = streets.get()
    assert "cannot be downloaded by a program" in refused(said)
    assert "Write to street@example.org" in said.out
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
    said = streets.get("--from", archive)
    assert said.status == 0
    assert "complete, 4 images" in said.out
    assert archive.is_file()
    assert streets.images() == [f"some/{name}" for name in NAMES]


def test_copies_that_are_none(streets: Streets, workspace, refused) -> None:
    assert "no such file or folder" in refused(streets.get("--from", workspace.folder / "x"))
    other = workspace.folder / "notes.doc"
    other.write_text("x")
    assert "a folder or an archive" in refused(streets.get("--from", other))
    text = workspace.folder / "list.txt"
    text.write_text("x")
    assert streets.get("--from", text).status == 0
    assert streets.images() == ["list.txt"]
    assert text.is_file()


def many(streets: Streets) -> dict[str, Page]:
    """Give the data set an archive per photograph, and a list that only the second host has."""
    one, other = streets.hosts
    files = [Download("list.txt", (f"{one.url}/l", f"{other.url}/l"), kind="ground truth")]
    other.pages["/l"] = Page(b"the list")
    for i, photo in enumerate(PHOTOS, 1):
        one.pages[f"/{i}.tar"] = Page(tar_of([photo], "w"))
        files.append(Download(f"{i}.tar", (f"{one.url}/{i}.tar",), into="jpg"))
    streets.write_all(files)
    return one.pages


def test_one_archive_that_fails_does_not_stop_the_others(streets: Streets, cli, refused) -> None:
    pages = many(streets)
    pages["/2.tar"].faults = [503] * 10
    text = refused(streets.get())
    assert "1 of 5 files could not be had, the others are there" in text
    assert "503" in text
    assert streets.images() == ["jpg/p0.jpg", "jpg/p2.jpg", "jpg/p3.jpg", "list.txt"]
    assert len(pages["/2.tar"].asked) == fetch.TRIES
    checked = cli("data", "verify", streets.path)
    assert checked.status == 1
    assert "1 of 4 archives not unpacked: 2.tar" in checked.out
    pages["/2.tar"].faults = []
    assert streets.get().status == 0
    assert [len(pages[f"/{i}.tar"].asked) for i in (1, 2, 3, 4)] == [1, fetch.TRIES + 1, 1, 1]
    assert cli("data", "verify", streets.path).status == 0


def test_a_file_that_is_not_needed_may_fail(streets: Streets) -> None:
    one, _ = streets.hosts
    extra = Download("extra.zip", (f"{one.url}/extra.zip",), kind="ground truth", optional=True)
    streets.write_all([extra, Download("photos.tgz", (f"{one.url}/photos.tgz",), into="jpg")])
    said = streets.get()
    assert said.status == 0
    assert "404" in said.err
    assert "It is not needed. Going on" in said.err
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
    said = streets.get("--archives", "2-3")
    assert said.status == 0
    assert streets.images() == ["jpg/p1.jpg", "jpg/p2.jpg", "list.txt"]
    assert "partial, 2 of 4 images" in said.out
    assert pages["/1.tar"].asked == []
    assert "are 1 to 4" in refused(streets.get("--archives", "2-5"))
    assert "is not FIRST-LAST" in refused(streets.get("--archives", "x"))


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
    monkeypatch.setenv(sources.MIRROR, f"{mirror.url}/copies/")
    assert streets.get().status == 0
    assert streets.state()["source"] == f"{mirror.url}/copies/{place}/photos.tgz"
    assert other.pages["/photos.tgz"].asked == []
    mirror.pages.clear()
    assert streets.get("--force").status == 0
    assert streets.state()["source"] == f"{other.url}/photos.tgz"
    monkeypatch.setenv(sources.MIRROR, "/srv/copies")
    assert "is not the address of a web server" in refused(streets.get("--force"))


def test_distractors_archive_by_archive(host, cli, workspace, monkeypatch) -> None:
    mirror, place = host(), "/ptak.felk.cvut.cz/revisitop/revisitop1m"
    room = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=10**12))
    monkeypatch.setattr("bench.acquire.shutil", room)  # not of this test, but of the genuine set
    monkeypatch.setenv(sources.MIRROR, mirror.url)
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
    said = cli("data", "verify", "revisitop1m", "--quick")
    assert "all 8 images are there" in said.out
    assert said.status == 0
    assert "note  96 of 100 archives not unpacked: revisitop1m.5.tar.gz" in said.out
    assert cli("data", "get", "revisitop1m", "--accept-licence").status == 0  # all are there


def test_addresses_of_the_genuine_files() -> None:
    from bench import datasets

    for name in ("roxford5k", "rparis6k", "oxford5k", "paris6k", "revisitop1m"):
        facts = datasets.entry_of(name).facts
        assert facts is not None
        for download in facts.downloads:
            assert all(re.match(r"https?://[a-z.]+/\S+[^/]$", url) for url in download.urls)
            assert all(url.endswith(download.file) for url in download.urls)
            if name != "revisitop1m":
                assert len(download.urls) >= 2 or "/test/" in download.urls[0]
        images = [d.file for d in facts.downloads if d.kind == "images"]
        if name == "revisitop1m":
            assert images == [f"revisitop1m.{n}.tar.gz" for n in range(1, 101)]
    assert web.TIMEOUT_S == 60
