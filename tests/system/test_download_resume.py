"""One file from a server: complete, continued where it stopped, never put together of two."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import published_weights
from bench.errors import BenchError
from bench.system import download
from tests.support.checkout import ROOT
from tests.support.remote import (
    CONTENT,
    OTHER,
    Remote,
    a_checkpoint,
    files,
    kept,
    write_method,
)

pytestmark = pytest.mark.usefixtures("quick")

# --- what goes well -----------------------------------------------------------------------------


def test_a_file_arrives_and_is_not_fetched_again(workspace, cli, own: Path, remote: Remote) -> None:
    result = cli("weights", "get", own)
    assert result.status == 0, result.err
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    assert result.out == f"{path}\n"
    assert "own.a: 1 MB in " in result.err
    assert kept(workspace.cache) == CONTENT
    about = json.loads(path.with_name("net.pth.json").read_text())
    assert (about["source"], about["file"]) == (remote.url, "net.pth")
    assert remote.asked_ranges() == [None]
    assert cli("weights", "get", own, f"{own}:b").out == f"{path}\n{path}\n"
    assert len(remote.seen) == 1, "one file for both variants, fetched once"


def test_redirects_are_followed_with_the_range(workspace, remote: Remote) -> None:
    remote.faults = [400_000 - 1]
    moved = a_checkpoint(remote, url=remote.url.replace("/file", "/moved"))
    published_weights.get(moved)
    assert kept(workspace.cache) == CONTENT
    assert remote.asked_ranges()[-2:] == ["bytes=399999-", "bytes=399999-"]


def test_redirects_in_a_circle(workspace, cli, refused, remote: Remote) -> None:
    own = write_method(workspace.folder, url=remote.url.replace("/file", "/round"))
    assert " answers 302 (" in refused(cli("weights", "get", own))


def test_a_length_in_chunks_needs_no_other(workspace, remote: Remote) -> None:
    remote.chunked = True
    remote.faults = [700_000]
    published_weights.get(a_checkpoint(remote))
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
    published_weights.get(a_checkpoint(remote))
    assert kept(workspace.cache) == CONTENT
    assert remote.asked_ranges() == [None, "bytes=600001-", "bytes=900001-"]
    strong = remote.modified or remote.etag
    assert [headers.get("If-Range") for headers in remote.seen] == [None, strong, strong]
    err = capsys.readouterr().err
    assert "own.a: 127.0.0.1:" in err
    assert " ended after 600001 of 1500000 bytes; trying again in 0 s" in err


def test_tries_are_bounded_and_the_next_call_goes_on(
    workspace, cli, refused, own: Path, remote: Remote
) -> None:
    remote.faults = [100_000] * download.TRIES
    text = refused(cli("weights", "get", own))
    assert re.match(r"own\.a: 127\S+ ended after 500000 of 1500000 bytes, at the last", text)
    assert "the received part is kept, so run the same command again to continue" in text
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
    published_weights.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, f"bytes={size}-"]
    assert kept(workspace.cache) == CONTENT


def test_a_server_without_ranges_sends_all_again(workspace, remote: Remote) -> None:
    remote.ranges = False
    remote.faults = [600_000]
    published_weights.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, "bytes=600000-"]
    assert kept(workspace.cache) == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_nothing_is_resumed_that_cannot_be_told_apart(
    workspace, remote: Remote, etag: str | None
) -> None:
    remote.etag = etag
    remote.faults = [600_000]
    published_weights.get(a_checkpoint(remote))
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
    remote.faults = [120_000] * download.TRIES
    with pytest.raises(BenchError, match="ended after"):
        published_weights.get(a_checkpoint(remote))
    if told_by == "etag":
        remote.etag = '"two"'
    elif told_by == "modified":
        remote.modified = second
    remote.content = OTHER[: 1_400_000 if told_by == "size" else None]
    remote.faults = []
    published_weights.get(a_checkpoint(remote))
    assert remote.asked_ranges()[download.TRIES] == "bytes=600000-"
    assert kept(workspace.cache) == remote.content


@pytest.mark.parametrize("told_by", ["etag", "modified"])
def test_a_rest_that_does_not_say_of_what_is_not_used(
    workspace, remote: Remote, told_by: str
) -> None:
    if told_by == "modified":
        remote.etag, remote.modified = None, "Mon, 05 Jan 2026 10:00:00 GMT"
    remote.faults = [600_000]
    remote.bare_parts = True
    published_weights.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, "bytes=600000-", None]
    assert kept(workspace.cache) == CONTENT


def test_a_part_of_another_address_is_not_continued(workspace, remote: Remote) -> None:
    remote.faults = [120_000] * download.TRIES
    with pytest.raises(BenchError, match="ended after"):
        published_weights.get(a_checkpoint(remote))
    published_weights.get(a_checkpoint(remote, url=f"{remote.url}?new"))
    assert remote.asked_ranges()[-1] is None
    assert kept(workspace.cache) == CONTENT


@pytest.mark.parametrize("damage", ["note", "too long", "empty", "absent"])
def test_a_damaged_part_is_fetched_anew(workspace, remote: Remote, damage: str) -> None:
    remote.faults = [500_000] * download.TRIES
    remote.ranges = False
    with pytest.raises(BenchError, match="ended after 500000"):
        published_weights.get(a_checkpoint(remote))
    part = workspace.cache / "weights" / "own" / "a" / ".net.pth.part"
    if damage == "note":
        part.with_name(".net.pth.part.json").write_text("{")
    elif damage == "absent":
        part.unlink()
    else:
        part.write_bytes(b"" if damage == "empty" else CONTENT + b"more")
    remote.ranges = True
    published_weights.get(a_checkpoint(remote))
    assert remote.asked_ranges()[-1] is None
    assert kept(workspace.cache) == CONTENT


def test_a_range_that_the_server_refuses_is_fetched_anew(workspace, remote: Remote) -> None:
    remote.faults = [600_000, 416]
    published_weights.get(a_checkpoint(remote))
    assert remote.asked_ranges() == [None, "bytes=600000-", None]
    assert kept(workspace.cache) == CONTENT
