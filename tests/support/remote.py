"""A server that sends a file and fails as it is told, and a method that publishes the file."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any

import numpy as np
import pytest

from bench.system import download
from bench.types import Checkpoint

CONTENT = np.random.default_rng(0).bytes(1_500_000)
OTHER = np.random.default_rng(1).bytes(1_500_000)
PAGE = b"\n<!-- x -->\n<!DOCTYPE html><html><body>Quota exceeded</body></html>"


@dataclass
class Remote:
    """What the server has and does; `faults` are spent one per request, then it behaves.

    A fault is a status, the number of body bytes after which it hangs up, or "silent".
    """

    content: bytes = CONTENT
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    if_range: bool = True
    bare_parts: bool = False
    chunked: bool = False
    length: bool = True
    kind: str = "application/octet-stream"
    pause_s: float = 0.0
    faults: list[int | str] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def asked_ranges(self) -> list[str | None]:
        """Return the Range header of every request so far."""
        return [headers.get("Range") for headers in self.seen]


class Handler(BaseHTTPRequestHandler):
    """Answers as the `remote` of the server says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Send the file, or what is wrong with it."""
        remote: Remote = self.server.remote  # type: ignore[attr-defined]
        remote.seen.append(dict(self.headers))
        self.close_connection = True
        if self.path in ("/moved", "/round"):
            self.send_response(302)
            self.send_header("Location", "/file" if self.path == "/moved" else self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        fault = remote.faults.pop(0) if remote.faults else None
        if fault == "silent":
            time.sleep(0.6)
            return
        if isinstance(fault, int) and 400 <= fault < 600:
            self.send_error(fault)
            return
        self._send(remote, fault if isinstance(fault, int) else None)

    def _send(self, remote: Remote, cut: int | None) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        same = condition in (None, remote.etag, remote.modified) or not remote.if_range
        first = int(asked[1]) if asked and remote.ranges and same else 0
        body, size = remote.content[first:], len(remote.content)
        self.send_response(206 if first else 200)
        for name, value in (("ETag", remote.etag), ("Last-Modified", remote.modified)):
            if value is not None and not (first and remote.bare_parts):
                self.send_header(name, value)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.send_header("Content-Type", remote.kind)
        if remote.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif remote.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for start in range(0, len(body[:cut]), 50_000):
            block = body[:cut][start : start + 50_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if remote.chunked else block)
            time.sleep(remote.pause_s)
        if remote.chunked and cut is None:
            self.wfile.write(b"0\r\n\r\n")


class Server(ThreadingMixIn, HTTPServer):
    """One thread per request; all have ended when it is closed."""

    remote: Remote

    def handle_error(self, *arguments: Any) -> None:
        """Say nothing when the other side hangs up."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing before another try, and ask no proxy."""
    monkeypatch.setattr(download, "WAIT_S", 0.0)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")


@pytest.fixture
def remote() -> Iterator[Remote]:
    """Serve a file on this machine, as long as the test lasts."""
    server = Server(("127.0.0.1", 0), Handler)
    server.remote = Remote(url=f"http://127.0.0.1:{server.server_port}/file")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.remote
    server.shutdown()
    thread.join()
    server.server_close()


METHOD = '''"""Mean colour, if it is given the file."""

from pathlib import Path
from types import SimpleNamespace

VARIANTS = {"a": "with a published file", "b": "with the same file", "plain": "without"}
WEIGHTS = {"a": FACTS}
WEIGHTS["b"] = dict(WEIGHTS["a"])


def load(variant, weights, device):
    """Return the method; its source tells which file it was given."""
    source = f"{weights}, {Path(weights).stat().st_size} bytes" if weights else "none"
    facts = {"source": source, "licence": "none needed", "sha256": None,
             "training_set": "none", "trained": True}
    return SimpleNamespace(
        version="1", config={}, weights=facts, dim=3, preprocess={"max_side_px": 32},
        describe=lambda batch: batch.mean(dim=(2, 3)),
    )
'''


def write_method(folder: Path, **facts: Any) -> Path:
    """Write a plug-in whose variant has a published file with these facts."""
    whole = {"file": "net.pth", "licence": "MIT", "training_set": "photographs", **facts}
    path = folder / "own.py"
    path.write_text(METHOD.replace("FACTS", repr(whole)), encoding="utf-8")
    return path


@pytest.fixture
def own(workspace, remote: Remote) -> Path:
    """Return a plug-in whose file the server has."""
    return write_method(workspace.folder, url=remote.url)


def a_checkpoint(remote: Remote, **facts: Any) -> Checkpoint:
    options = {"url": remote.url, **facts}
    return Checkpoint("own", "a", "a", "net.pth", "MIT", "photographs", **options)


def files(cache: Path) -> list[str]:
    """Return the names of the files in the folder of the method's weights, but for locks."""
    folder = cache / "weights" / "own" / "a"
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def kept(cache: Path) -> bytes:
    """Return the bytes of the file in the cache; nothing else may be there but its sidecar."""
    assert files(cache) == ["net.pth", "net.pth.json"]
    folder = cache / "weights" / "own" / "a"
    content = (folder / "net.pth").read_bytes()
    about = json.loads((folder / "net.pth.json").read_text())
    assert about["bytes"] == len(content)
    assert about["sha256"] == hashlib.sha256(content).hexdigest()
    return content
