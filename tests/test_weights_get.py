"""Published weights against a real server: cut, resumed, changed, wrong, refused, never half."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import ThreadingMixIn
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest

from bench import checkpoints, contract, fetch, methods, web
from bench.errors import BenchError
from bench.plugins import ROOT
from bench.types import Checkpoint

CONTENT = np.random.default_rng(0).bytes(1_500_000)
OTHER = np.random.default_rng(1).bytes(1_500_000)
PAGE = b"\n<!-- x -->\n<!DOCTYPE html><html><body>Quota exceeded</body></html>"


# --- a server that misbehaves as told -----------------------------------------------------------


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

    def log_message(self, *given: Any) -> None:
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

    def handle_error(self, *given: Any) -> None:
        """Say nothing when the other side hangs up."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "WAIT_S", 0.0)
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
    given = {"url": remote.url, **facts}
    return Checkpoint("own", "a", "a", "net.pth", "MIT", "photographs", **given)


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


# --- what goes well -----------------------------------------------------------------------------


def test_a_file_arrives_and_is_not_fetched_again(workspace, cli, own: Path, remote: Remote) -> None:
    said = cli("weights", "get", own)
    assert said.status == 0, said.err
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    assert said.out == f"{path}\n"
    assert "own.a: 1 MB in " in said.err
    assert kept(workspace.cache) == CONTENT
    about = json.loads(path.with_name("net.pth.json").read_text())
    assert (about["source"], about["file"]) == (remote.url, "net.pth")
    assert remote.asked_ranges() == [None]
    assert cli("weights", "get", own, f"{own}:b").out == f"{path}\n{path}\n"
    assert len(remote.seen) == 1, "one file for both variants, fetched once"


def test_redirects_are_followed_with_the_range(workspace, remote: Remote) -> None:
    remote.faults = [400_000 - 1]
    moved = a_checkpoint(remote, url=remote.url.replace("/file", "/moved"))
    checkpoints.get(moved)
    assert kept(workspace.cache) == CONTENT
    assert remote.asked_ranges()[-2:] == ["bytes=399999-", "bytes=399999-"]


def test_redirects_in_a_circle(workspace, cli, refused, remote: Remote) -> None:
    own = write_method(workspace.folder, url=remote.url.replace("/file", "/round"))
    assert " answers 302 (" in refused(cli("weights", "get", own))


def test_a_length_in_chunks_needs_no_other(workspace, remote: Remote) -> None:
    remote.chunked = True
    remote.faults = [700_000]
    checkpoints.get(a_checkpoint(remote))
    assert kept(workspace.cache) == CONTENT
    assert remote.asked_ranges() == [None, "bytes=700000-"]


# --- interrupted --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "validators",
    [
        {"etag": '"one"'},
        {"etag": None, "modified": "Mon, 05 Jan 2026 10:00:00 GMT"},
        {"etag": 'W/"weak"', "modified": "Mon, 05 Jan 2026 10:00:00 GMT"},
    ],
)
def test_a_cut_connection_is_resumed(
    workspace, capsys, remote: Remote, validators: dict[str, Any]
) -> None:
    for name, value in validators.items():
        setattr(remote, name, value)
    remote.faults = [600_001, 300_000]
    checkpoints.get(a_checkpoint(remote))
    assert kept(workspace.cache) == CONTENT
    assert remote.asked_ranges() == [None, "bytes=600001-", "bytes=900001-"]
    strong = remote.modified or remote.etag
    assert [headers.get("If-Range") for headers in remote.seen] == [None, strong, strong]
    err = capsys.readouterr().err
    assert "own.a: 127.0.0.1:" in err
    assert " broke off after 600001 of 1500000 bytes; trying again in 0 s" in err


def test_tries_are_bounded_and_the_next_call_goes_on(
    workspace, cli, refused, own: Path, remote: Remote
) -> None:
    remote.faults = [100_000] * fetch.TRIES
    text = refused(cli("weights", "get", own))
    assert re.match(r"own\.a: 127\S+ broke off after 500000 of 1500000 bytes, at the last", text)
    assert "what arrived is kept, so run the same command again to go on" in text
    assert files(workspace.cache) == [".net.pth.part", ".net.pth.part.json"]
    assert refused(cli("run", "--method", own)).startswith("own.a needs the published file net.pth")
    assert cli("weights", "get", own).status == 0
    assert remote.asked_ranges()[-1] == "bytes=500000-"
    assert kept(workspace.cache) == CONTENT


def test_a_killed_download_goes_on(workspace, own: Path, remote: Remote) -> None:
    remote.pause_s = 0.05
    command = [sys.executable, "-m", "bench", "weights", "get", str(own)]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    part = workspace.cache / "weights" / "own" / "a" / ".net.pth.part"
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 100_000):
        assert time.monotonic() < end
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    size = part.stat().st_size
    assert 100_000 < size < len(CONTENT)
    remote.pause_s = 0.0
    checkpoints.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, f"bytes={size}-"]
    assert kept(workspace.cache) == CONTENT


def test_a_server_without_ranges_sends_all_again(workspace, remote: Remote) -> None:
    remote.ranges = False
    remote.faults = [600_000]
    checkpoints.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, "bytes=600000-"]
    assert kept(workspace.cache) == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_nothing_is_resumed_that_cannot_be_told_apart(
    workspace, remote: Remote, etag: str | None
) -> None:
    remote.etag = etag
    remote.faults = [600_000]
    checkpoints.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, None]
    assert kept(workspace.cache) == CONTENT


# --- another version in between -----------------------------------------------------------------


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("told_by", ["etag", "modified", "size"])
def test_two_versions_are_never_put_together(
    workspace, remote: Remote, if_range: bool, told_by: str
) -> None:
    first, second = "Mon, 05 Jan 2026 10:00:00 GMT", "Tue, 06 Jan 2026 10:00:00 GMT"
    remote.if_range = if_range
    remote.etag, remote.modified = (None, first) if told_by == "modified" else ('"one"', None)
    remote.faults = [120_000] * fetch.TRIES
    with pytest.raises(BenchError, match="broke off"):
        checkpoints.get(a_checkpoint(remote))
    if told_by == "etag":
        remote.etag = '"two"'
    elif told_by == "modified":
        remote.modified = second
    remote.content = OTHER[: 1_400_000 if told_by == "size" else None]
    remote.faults = []
    checkpoints.get(a_checkpoint(remote))
    assert remote.asked_ranges()[fetch.TRIES] == "bytes=600000-"
    assert kept(workspace.cache) == remote.content


@pytest.mark.parametrize("told_by", ["etag", "modified"])
def test_a_rest_that_does_not_say_of_what_is_not_used(
    workspace, remote: Remote, told_by: str
) -> None:
    if told_by == "modified":
        remote.etag, remote.modified = None, "Mon, 05 Jan 2026 10:00:00 GMT"
    remote.faults = [600_000]
    remote.bare_parts = True
    checkpoints.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, "bytes=600000-", None]
    assert kept(workspace.cache) == CONTENT


def test_a_part_of_another_address_is_not_continued(workspace, remote: Remote) -> None:
    remote.faults = [120_000] * fetch.TRIES
    with pytest.raises(BenchError, match="broke off"):
        checkpoints.get(a_checkpoint(remote))
    checkpoints.get(a_checkpoint(remote, url=f"{remote.url}?new"))
    assert remote.asked_ranges()[-1] is None
    assert kept(workspace.cache) == CONTENT


@pytest.mark.parametrize("damage", ["note", "too long", "empty", "absent"])
def test_a_damaged_part_is_fetched_anew(workspace, remote: Remote, damage: str) -> None:
    remote.faults = [500_000] * fetch.TRIES
    remote.ranges = False
    with pytest.raises(BenchError, match="broke off after 500000"):
        checkpoints.get(a_checkpoint(remote))
    part = workspace.cache / "weights" / "own" / "a" / ".net.pth.part"
    if damage == "note":
        part.with_name(".net.pth.part.json").write_text("{")
    elif damage == "absent":
        part.unlink()
    else:
        part.write_bytes(b"" if damage == "empty" else CONTENT + b"more")
    remote.ranges = True
    checkpoints.get(a_checkpoint(remote))
    assert remote.asked_ranges()[-1] is None
    assert kept(workspace.cache) == CONTENT


def test_a_range_that_the_server_refuses_is_fetched_anew(workspace, remote: Remote) -> None:
    remote.faults = [600_000, 416]
    checkpoints.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, "bytes=600000-", None]
    assert kept(workspace.cache) == CONTENT


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "says"), [(404, "Not Found"), (403, "Forb"), (401, "Unau")])
def test_what_is_not_there_is_not_asked_for_again(
    workspace, cli, refused, own: Path, remote: Remote, status: int, says: str
) -> None:
    remote.faults = [status]
    text = refused(cli("weights", "get", own))
    assert f" answers {status} ({says}" in text
    assert remote.url in text
    assert text.endswith("give --weights PATH.")
    assert len(remote.seen) == 1
    assert files(workspace.cache) == []


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_passing_faults_of_a_server_are_tried_again(
    workspace, cli, refused, own: Path, remote: Remote, status: int
) -> None:
    remote.faults = [status] * fetch.TRIES
    assert f" answers {status} (" in refused(cli("weights", "get", own))
    assert len(remote.seen) == fetch.TRIES
    remote.faults = [status, status]
    assert cli("weights", "get", own).status == 0
    assert kept(workspace.cache) == CONTENT


def test_waits_become_longer(remote: Remote, workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(fetch, "WAIT_S", 1.0)
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=waits.append))
    remote.faults = [500] * fetch.TRIES
    with pytest.raises(BenchError, match="answers 500"):
        checkpoints.get(a_checkpoint(remote))
    assert waits == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
@pytest.mark.parametrize("page", [PAGE, b"\xef\xbb\xbf<HTML >", b" <!doctype HTML >x"])
def test_a_web_page_is_not_the_file(
    workspace, cli, refused, own: Path, remote: Remote, kind: str, page: bytes
) -> None:
    remote.kind, remote.content = kind, page
    text = refused(cli("weights", "get", own))
    assert "answers with a web page instead of the file" in text
    assert text.endswith(f"open {remote.url} in a browser, save the file and give --weights PATH.")
    assert len(remote.seen) == 1
    assert files(workspace.cache) == []


def test_a_web_page_instead_of_the_rest_leaves_what_arrived(workspace, remote: Remote) -> None:
    remote.faults = [120_000] * fetch.TRIES
    with pytest.raises(BenchError, match="broke off"):
        checkpoints.get(a_checkpoint(remote))
    remote.kind = "text/html"
    with pytest.raises(BenchError, match="web page"):
        checkpoints.get(a_checkpoint(remote))
    part = workspace.cache / "weights" / "own" / "a" / ".net.pth.part"
    assert part.read_bytes() == CONTENT[:600_000]


def test_what_is_cut_short_every_time_is_refused(workspace, remote: Remote) -> None:
    remote.ranges = False
    remote.faults = [1_499_999] * fetch.TRIES
    with pytest.raises(BenchError, match="broke off after 1499999 of 1500000 bytes"):
        checkpoints.get(a_checkpoint(remote))
    assert "net.pth" not in files(workspace.cache)


def test_a_cut_that_could_not_be_seen_is_refused(workspace, remote: Remote) -> None:
    remote.length = False
    with pytest.raises(BenchError, match="does not say how long the file is"):
        checkpoints.get(a_checkpoint(remote))
    assert files(workspace.cache) == []


def test_an_empty_file_is_refused(workspace, remote: Remote) -> None:
    remote.content = b""
    with pytest.raises(BenchError, match="sends an empty file"):
        checkpoints.get(a_checkpoint(remote))
    assert "net.pth" not in files(workspace.cache)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_wrong_size_is_refused(workspace, remote: Remote, chunked: bool) -> None:
    remote.chunked = chunked
    with pytest.raises(BenchError, match=r"has 1500000 bytes and should have 1500001"):
        checkpoints.get(a_checkpoint(remote, size_bytes=1_500_001))
    assert files(workspace.cache) == []
    checkpoints.get(a_checkpoint(remote, size_bytes=1_500_000))
    assert kept(workspace.cache) == CONTENT


def test_a_wrong_hash_is_refused_and_thrown_away(workspace, cli, refused, remote: Remote) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    own = write_method(workspace.folder, url=remote.url, sha256=sha256)
    remote.content = OTHER
    text = refused(cli("weights", "get", own))
    assert f"should have {sha256}." in text
    assert hashlib.sha256(OTHER).hexdigest() in text
    assert files(workspace.cache) == []
    remote.content = CONTENT
    assert cli("weights", "get", own).status == 0
    assert kept(workspace.cache) == CONTENT


def test_the_hash_of_the_first_download_holds(
    workspace, cli, refused, own: Path, remote: Remote
) -> None:
    assert cli("weights", "get", own).status == 0
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    path.unlink()
    remote.content, remote.etag = OTHER, '"two"'
    text = refused(cli("weights", "get", own))
    assert hashlib.sha256(CONTENT).hexdigest() in text
    assert f"delete {path}.json and run this again" in text
    assert files(workspace.cache) == ["net.pth.json"]
    path.with_name("net.pth.json").unlink()
    assert cli("weights", "get", own).status == 0
    assert kept(workspace.cache) == OTHER


# --- the network is not what it should be -------------------------------------------------------


def test_a_silent_server(workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(fetch, "TRIES", 2)
    remote.faults = ["silent"] * 2
    with pytest.raises(BenchError, match=r"127\S+ was silent for 0 s, at the last of 2 tries"):
        checkpoints.get(a_checkpoint(remote))


def test_a_server_that_falls_silent_in_the_middle(
    workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(fetch, "TRIES", 1)
    remote.pause_s = 0.5
    with pytest.raises(BenchError, match="was silent"):
        checkpoints.get(a_checkpoint(remote))
    remote.pause_s = 0.0
    checkpoints.get(a_checkpoint(remote))
    assert (remote.asked_ranges()[-1] or "").startswith("bytes=50000-")
    assert kept(workspace.cache) == CONTENT


def test_nobody_listens(workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(BenchError, match=r"127\S+ refuses the connection, at the last of 5"):
            checkpoints.get(a_checkpoint(Remote(url=url)))


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the host example.org is unknown here"),
        (ssl.SSLCertVerificationError("self-signed"), "the host example.org has no valid cert"),
    ],
)
def test_faults_that_do_not_pass(
    workspace, monkeypatch: pytest.MonkeyPatch, reason: OSError, says: str
) -> None:
    calls = []

    def fail(*given: Any, **more: Any) -> Any:
        calls.append(given)
        raise URLError(reason)

    monkeypatch.setattr(web, "urlopen", fail)
    with pytest.raises(BenchError, match=says):
        checkpoints.get(a_checkpoint(Remote(url="https://example.org/file")))
    assert len(calls) == 1


def test_no_redirect_away_from_encryption(workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    there = contextlib.nullcontext()
    there.url = "http://example.com/file?signature=1"  # type: ignore[attr-defined]
    monkeypatch.setattr(web, "urlopen", lambda *given, **more: there)
    says = r"own\.a: example\.org redirects to example\.com without encryption\."
    with pytest.raises(BenchError, match=says):
        checkpoints.get(a_checkpoint(Remote(url="https://example.org/file")))


# --- disk and company ---------------------------------------------------------------------------


def test_a_disk_without_room_is_seen_before(
    workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=1_499_999))
    monkeypatch.setattr(fetch, "shutil", little)
    with pytest.raises(BenchError, match="has no room for the file; make room, or let RETRIEVAL_B"):
        checkpoints.get(a_checkpoint(remote))
    assert files(workspace.cache) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up(
    workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*given: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(fetch.os, "fsync", full)
        with pytest.raises(BenchError, match="has no room for the file"):
            checkpoints.get(a_checkpoint(remote))
    assert "net.pth" not in files(workspace.cache)
    checkpoints.get(a_checkpoint(remote))
    assert kept(workspace.cache) == CONTENT


def test_another_fault_of_the_disk_names_the_file(
    workspace, cli, refused, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fetch.os, "fsync", broken)
    assert re.search(
        r"/\.net\.pth\.part\S*: Input/output error", refused(cli("weights", "get", own))
    )


def test_two_at_once_fetch_once(workspace, own: Path, remote: Remote) -> None:
    remote.pause_s = 0.05
    command = [sys.executable, "-m", "bench", "weights", "get", str(own)]
    both = [
        subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert len(remote.seen) == 1
    assert kept(workspace.cache) == CONTENT


def test_who_waits_says_so(workspace, capsys, remote: Remote) -> None:
    remote.pause_s = 0.05
    first = threading.Thread(target=checkpoints.get, args=(a_checkpoint(remote),))
    first.start()
    while not remote.seen:
        time.sleep(0.01)
    checkpoints.get(a_checkpoint(remote))
    first.join()
    assert "own.a: another process is getting it; waiting for that" in capsys.readouterr().err
    assert len(remote.seen) == 1
    assert kept(workspace.cache) == CONTENT


# --- use ----------------------------------------------------------------------------------------


def test_a_run_uses_the_file_of_the_cache(
    workspace, cli, refused, own: Path, remote: Remote
) -> None:
    given = ("run", "--method", own, "--limit", "2", "--device", "cpu")
    text = refused(cli(*given))
    assert f"`python -m bench weights get {own}` downloads it from {remote.url}; or" in text
    assert cli("weights", "get", own).status == 0
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    for variant in (own, f"{own}:b"):
        said = cli("run", "--method", variant, "--limit", "2", "--dry-run")
        assert f", {path}, 1500000 bytes\n" in said.out
    assert cli(*given).status == 0

    mine = workspace.folder / "mine.pth"
    mine.write_bytes(b"x")
    said = cli(*given, "--weights", mine, "--dry-run")
    assert f", {mine}, 1 bytes\n" in said.out
    assert ", none\n" in cli("run", "--method", f"{own}:plain", "--dry-run").out
    output = workspace.folder / "x.npz"
    images = ROOT / "datasets" / "mini-data" / "jpg"
    extract = ("extract", "--method", own, "--images", images, "--output", output)
    assert cli(*extract).status == 0

    path.write_bytes(OTHER)
    assert "is not the file that was downloaded" in refused(cli(*given))
    assert "is not the file that was downloaded" in refused(cli(*extract, "--force"))
    assert "is not the file that was downloaded" in refused(cli("weights", "get", own))
    path.unlink()
    assert cli("weights", "get", own).status == 0
    assert cli(*given).status == 0


def test_a_file_saved_by_hand_is_used_after_its_hash_is_recorded(workspace, cli, refused) -> None:
    own = write_method(workspace.folder, manual="Baidu, code abcd", size_bytes=len(CONTENT))
    text = refused(cli("run", "--method", own))
    assert text.endswith(
        "no program can download it, so get it from Baidu, code abcd, and give --weights PATH."
    )
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    text = refused(cli("weights", "get", own))
    assert f"get it from Baidu, code abcd, then save it as {path} and run this again" in text
    path.write_bytes(PAGE)
    assert "is a web page and not the file" in refused(cli("weights", "get", own))
    path.write_bytes(CONTENT[:-1])
    assert "has 1499999 bytes and should have 1500000" in refused(cli("weights", "get", own))
    path.write_bytes(CONTENT)
    assert "has no recorded hash yet" in refused(cli("run", "--method", own))
    assert (
        cli("weights", "verify", own).out == f"{own}: no hash recorded; `weights get` records it\n"
    )
    assert cli("weights", "get", own).status == 0
    assert kept(workspace.cache) == CONTENT
    assert cli("run", "--method", own, "--dry-run").status == 0
    assert cli("weights", "verify", own).status == 0


def test_several_are_fetched_though_one_fails(workspace, cli, own: Path, remote: Remote) -> None:
    said = cli("weights", "get", f"{own}:plain", "gem", own)
    assert said.status == 1
    assert said.errors == [
        "error: own.plain needs no published file; variants of own that do: own.a, own.b.",
        "error: gem.lite0 needs no published file; variants of gem that do: none.",
    ]
    assert kept(workspace.cache) == CONTENT


# --- verify and list ----------------------------------------------------------------------------


def test_verify_says_what_became_of_the_files(workspace, cli, own: Path, remote: Remote) -> None:
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    said = cli("weights", "verify", own)
    assert (said.status, said.out) == (1, f"{own}: missing\n")
    assert cli("weights", "get", own).status == 0
    said = cli("weights", "verify", own)
    assert (said.status, said.out) == (0, f"{own}: ok\n")
    path.write_bytes(CONTENT[:-1] + b"x")
    said = cli("weights", "verify", own, f"{own}:b", "gem")
    assert said.status == 1
    changed = "CHANGED: not the bytes that were downloaded"
    assert said.out == f"{own}: {changed}\n{own}:b: {changed}\n"
    assert len(said.errors) == 1
    path.with_name("net.pth.json").write_text("{}")
    said = cli("weights", "verify", own)
    assert said.status == 1
    assert said.errors == [
        f"error: {path}.json is damaged; delete it to have the hash recorded again."
    ]


def test_verify_without_names_takes_what_is_in_the_cache(workspace, cli) -> None:
    said = cli("weights", "verify")
    assert (said.status, said.out) == (0, "no weights are in the cache\n")
    file = methods.published("dolg.r101-storedp")
    path = checkpoints.path_of(file)
    assert path == workspace.cache / "weights" / "dolg" / "r101" / "r101_dolg_512.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    checkpoints.get(file)
    said = cli("weights", "verify")
    assert (said.status, said.out) == (0, "dolg.r101: ok\n")
    path.unlink()
    said = cli("weights", "verify")
    assert (said.status, said.out) == (1, "dolg.r101: missing\n")


def test_the_listing_of_what_is_published(workspace, cli) -> None:
    said = cli("weights", "list")
    assert said.status == 0
    blocks = dict(re.findall(r"^(\S+)\n((?:  .*\n)+)", said.out, flags=re.MULTILINE))
    assert set(blocks) == {
        f"{entry.name}.{variant}" for entry in methods.entries() for variant in entry.files
    }
    for facts in blocks.values():
        for key in ("file", "licence", "training set", "sha256: not published", "in the cache: no"):
            assert f"  {key}" in facts
        assert "  from: https://" in facts or "  by hand: " in facts
    path = checkpoints.path_of(methods.published("token.r50"))
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    checkpoints.get(methods.published("token.r50"))
    listed = cli("weights", "list").out
    assert f"  in the cache: {path}\n" in listed
    assert f"  sha256: {hashlib.sha256(CONTENT).hexdigest()}, of the first download\n" in listed
    path.with_name(f"{path.name}.json").write_text("[")
    said = cli("weights", "list")
    assert said.status == 0
    assert "is damaged" in said.out


@pytest.mark.parametrize("arguments", [[], ["nope"], ["get"], ["list", "x"]])
def test_wrong_usage(workspace, cli, refused, arguments: list[str]) -> None:
    assert " --help`." in refused(cli("weights", *arguments))


# --- the facts of plug-ins ----------------------------------------------------------------------


def test_what_the_shipped_methods_publish() -> None:
    found = {f"{e.name}.{v}": file for e in methods.entries() for v, file in e.files.items()}
    assert {"dolg.r101", "dolg.r50", "token.r101", "solar.r101-token", "delg.r50-port"} <= set(
        found
    )
    assert not {"gem.lite0", "delg.lite0", "random-unit.seed0"} & set(found)
    paths: dict[Path, Checkpoint] = {}
    for file in found.values():
        other = paths.setdefault(checkpoints.path_of(file), file)
        assert (other.url, other.manual) == (file.url, file.manual), "two files in one place"
        assert file.url is None or file.url.startswith("https://")


FACTS = {"file": "a.pth", "licence": "MIT", "training_set": "x", "url": "https://x.org/a"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["a"], r"WEIGHTS is \['a'\], and should be a mapping from variant"),
        ({"b": FACTS}, "WEIGHTS: no variant is called 'b'"),
        ({"a": "x"}, "WEIGHTS of a is 'x', and should be a mapping"),
        ({"a": {**FACTS, "urls": "x"}}, "no key is called 'urls'; did you mean url"),
        ({"a": {**FACTS, "file": None}}, "file is None, and should be a string"),
        ({"a": {**FACTS, "file": "../a.pth"}}, "file is '../a.pth', and should be a plain"),
        ({"a": {**FACTS, "file": ".hidden"}}, "should be a plain file name"),
        ({"a": {**FACTS, "licence": ""}}, "licence is '', and should be a string"),
        ({"a": {k: v for k, v in FACTS.items() if k != "licence"}}, "has no 'licence'"),
        ({"a": {**FACTS, "url": "file:///etc/passwd"}}, "url is 'file:///etc/passwd', and should"),
        ({"a": {**FACTS, "url": "https://x.org/a b"}}, "should be an address"),
        ({"a": {**FACTS, "url": "https://x.org/ä"}}, "should be an address"),
        ({"a": {**FACTS, "url": None}}, "has neither 'url' nor 'manual'"),
        ({"a": {**FACTS, "size_bytes": "12"}}, "size_bytes is '12', and should be a positive int"),
        ({"a": {**FACTS, "size_bytes": True}}, "size_bytes is True"),
        ({"a": {**FACTS, "sha256": "A" * 64}}, "sha256 is 'AAA"),
        ({"../a": FACTS}, "a variant in WEIGHTS is '../a', and should be usable"),
    ],
)
def test_wrong_facts_are_one_sentence(given: Any, says: str) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        contract.checkpoints(given, "own", ["a", "../a"])
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the method 'own'")


def test_a_method_with_wrong_facts_is_named_in_the_listing(
    workspace, monkeypatch: pytest.MonkeyPatch, cli
) -> None:
    from bench.methods import token

    monkeypatch.setattr(token, "WEIGHTS", {"r101": {}})
    said = cli("weights", "list")
    assert said.status == 0
    assert "token: the method 'token': WEIGHTS of r101 has no 'file'" in said.out
    assert "dolg.r101\n" in said.out
    assert "token: the method 'token': WEIGHTS" in cli("list").out
