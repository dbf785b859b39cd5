"""One file from a server that fails: what is refused, tried again, and said."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest

from bench import published_weights
from bench.errors import BenchError
from bench.system import download
from tests.support.checkout import ROOT
from tests.support.remote import (
    CONTENT,
    OTHER,
    PAGE,
    Remote,
    a_checkpoint,
    files,
    kept,
    write_method,
)

pytestmark = pytest.mark.usefixtures("quick")

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
    remote.faults = [status] * download.TRIES
    assert f" answers {status} (" in refused(cli("weights", "get", own))
    assert len(remote.seen) == download.TRIES
    remote.faults = [status, status]
    assert cli("weights", "get", own).status == 0
    assert kept(workspace.cache) == CONTENT


def test_waits_become_longer(remote: Remote, workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download, "WAIT_S", 1.0)
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=waits.append))
    remote.faults = [500] * download.TRIES
    with pytest.raises(BenchError, match="answers 500"):
        published_weights.get(a_checkpoint(remote))
    assert waits == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
@pytest.mark.parametrize("page", [PAGE, b"\xef\xbb\xbf<HTML >", b" <!doctype HTML >x"])
def test_a_web_page_is_not_the_file(
    workspace, cli, refused, own: Path, remote: Remote, kind: str, page: bytes
) -> None:
    remote.kind, remote.content = kind, page
    text = refused(cli("weights", "get", own))
    assert "sent a web page instead of the file" in text
    assert text.endswith(f"open {remote.url} in a browser, save the file and give --weights PATH.")
    assert len(remote.seen) == 1
    assert files(workspace.cache) == []


def test_a_web_page_instead_of_the_rest_leaves_what_arrived(workspace, remote: Remote) -> None:
    remote.faults = [120_000] * download.TRIES
    with pytest.raises(BenchError, match="ended after"):
        published_weights.get(a_checkpoint(remote))
    remote.kind = "text/html"
    with pytest.raises(BenchError, match="web page"):
        published_weights.get(a_checkpoint(remote))
    part = workspace.cache / "weights" / "own" / "a" / ".net.pth.part"
    assert part.read_bytes() == CONTENT[:600_000]


def test_what_is_cut_short_every_time_is_refused(workspace, remote: Remote) -> None:
    remote.ranges = False
    remote.faults = [1_499_999] * download.TRIES
    with pytest.raises(BenchError, match="ended after 1499999 of 1500000 bytes"):
        published_weights.get(a_checkpoint(remote))
    assert "net.pth" not in files(workspace.cache)


def test_a_cut_that_could_not_be_seen_is_refused(workspace, remote: Remote) -> None:
    remote.length = False
    with pytest.raises(BenchError, match="does not state the length of the file"):
        published_weights.get(a_checkpoint(remote))
    assert files(workspace.cache) == []


def test_an_empty_file_is_refused(workspace, remote: Remote) -> None:
    remote.content = b""
    with pytest.raises(BenchError, match="sent an empty file"):
        published_weights.get(a_checkpoint(remote))
    assert "net.pth" not in files(workspace.cache)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_wrong_size_is_refused(workspace, remote: Remote, chunked: bool) -> None:
    remote.chunked = chunked
    with pytest.raises(BenchError, match=r"has 1500000 bytes instead of 1500001"):
        published_weights.get(a_checkpoint(remote, size_bytes=1_500_001))
    assert files(workspace.cache) == []
    published_weights.get(a_checkpoint(remote, size_bytes=1_500_000))
    assert kept(workspace.cache) == CONTENT


def test_a_wrong_hash_is_refused_and_thrown_away(workspace, cli, refused, remote: Remote) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    own = write_method(workspace.folder, url=remote.url, sha256=sha256)
    remote.content = OTHER
    text = refused(cli("weights", "get", own))
    assert f"instead of {sha256}." in text
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
    assert f"delete {path}.json and run the same command again" in text
    assert files(workspace.cache) == ["net.pth.json"]
    path.with_name("net.pth.json").unlink()
    assert cli("weights", "get", own).status == 0
    assert kept(workspace.cache) == OTHER


# --- the network is not what it should be -------------------------------------------------------


def test_a_silent_server(workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(download, "TRIES", 2)
    remote.faults = ["silent"] * 2
    with pytest.raises(BenchError, match=r"127\S+ was silent for 0 s, at the last of 2 tries"):
        published_weights.get(a_checkpoint(remote))


def test_a_server_that_falls_silent_in_the_middle(
    workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(download, "TRIES", 1)
    remote.pause_s = 0.5
    with pytest.raises(BenchError, match="was silent"):
        published_weights.get(a_checkpoint(remote))
    remote.pause_s = 0.0
    published_weights.get(a_checkpoint(remote))
    assert (remote.asked_ranges()[-1] or "").startswith("bytes=50000-")
    assert kept(workspace.cache) == CONTENT


def test_nobody_listens(workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        with pytest.raises(BenchError, match=r"127\S+ refuses the connection, at the last of 5"):
            published_weights.get(a_checkpoint(Remote(url=url)))


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (socket.gaierror(-2, "Name or service not known"), "the host example.org is unknown"),
        (ssl.SSLCertVerificationError("self-signed"), "the host example.org has no valid cert"),
    ],
)
def test_faults_that_do_not_pass(
    workspace, monkeypatch: pytest.MonkeyPatch, reason: OSError, says: str
) -> None:
    calls = []

    def fail(*arguments: Any, **more: Any) -> Any:
        calls.append(arguments)
        raise URLError(reason)

    monkeypatch.setattr(download, "urlopen", fail)
    with pytest.raises(BenchError, match=says):
        published_weights.get(a_checkpoint(Remote(url="https://example.org/file")))
    assert len(calls) == 1


def test_no_redirect_away_from_encryption(workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    there = contextlib.nullcontext()
    there.url = "http://example.com/file?signature=1"  # type: ignore[attr-defined]
    monkeypatch.setattr(download, "urlopen", lambda *arguments, **more: there)
    says = r"own\.a: example\.org redirects to example\.com without encryption\."
    with pytest.raises(BenchError, match=says):
        published_weights.get(a_checkpoint(Remote(url="https://example.org/file")))


# --- disk and company ---------------------------------------------------------------------------


def test_a_disk_without_room_is_seen_before(
    workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = SimpleNamespace(disk_usage=lambda path: SimpleNamespace(free=1_499_999))
    monkeypatch.setattr(download, "shutil", little)
    with pytest.raises(
        BenchError, match="has no room for the file; free some space, or set RETRIEVAL_B"
    ):
        published_weights.get(a_checkpoint(remote))
    assert files(workspace.cache) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up(
    workspace, remote: Remote, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*arguments: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(download.os, "fsync", full)
        with pytest.raises(BenchError, match="has no room for the file"):
            published_weights.get(a_checkpoint(remote))
    assert "net.pth" not in files(workspace.cache)
    published_weights.get(a_checkpoint(remote))
    assert kept(workspace.cache) == CONTENT


def test_another_fault_of_the_disk_names_the_file(
    workspace, cli, refused, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(download.os, "fsync", broken)
    assert re.search(
        r"/\.net\.pth\.part\S*: Input/output error", refused(cli("weights", "get", own))
    )


@pytest.mark.slow
def test_two_at_once_fetch_once(workspace, own: Path, remote: Remote) -> None:
    remote.pause_s = 0.05
    command = [sys.executable, "-m", "bench", "weights", "get", str(own)]
    both = [
        subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    lines = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], lines
    assert lines[0][0] == lines[1][0]
    assert len(remote.seen) == 1
    assert kept(workspace.cache) == CONTENT


def test_who_waits_says_so(workspace, capsys, remote: Remote) -> None:
    remote.pause_s = 0.05
    first = threading.Thread(target=published_weights.get, args=(a_checkpoint(remote),))
    first.start()
    while not remote.seen:
        time.sleep(0.01)
    published_weights.get(a_checkpoint(remote))
    first.join()
    assert (
        "own.a: another process is downloading it; waiting for that process"
        in capsys.readouterr().err
    )
    assert len(remote.seen) == 1
    assert kept(workspace.cache) == CONTENT
