"""Hosts that misbehave as told, and a data set of four photographs that lies on two of them."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any

import pytest

from bench.acquire import downloads
from bench.facts import Download
from bench.system import download
from tests.support.miniatures import jpeg

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


PHOTOS = [(name, jpeg(name, (200, 150))) for name in NAMES]
GOOD = tar_of(PHOTOS)


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

    def log_message(self, *arguments: Any) -> None:
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

    def handle_error(self, *arguments: Any) -> None:
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
        place = downloads.Place("streets", self.folder)
        return downloads.state(place, "photos.tgz")

    def left(self) -> list[str]:
        """Return what else lies in the folder of the downloads."""
        known = {".lock", "licence.json", "photos.tgz.json"}
        return sorted(p.name for p in (self.folder / ".get").iterdir() if p.name not in known)


ALL = [f"jpg/{name}" for name in NAMES]


@pytest.fixture
def streets(host, cli, workspace, monkeypatch) -> Streets:
    """Return the data set, with the archive on both hosts."""
    monkeypatch.setattr(download, "WAIT_S", 0.0)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.delenv(downloads.MIRROR, raising=False)
    made = Streets(
        workspace.folder / "streets.py", workspace.data / "streets", (host(), host()), cli
    )
    for item in made.hosts:
        item.pages["/photos.tgz"] = Page()
    made.write()
    return made
