"""One file from the network: resumed where it stopped, never put together from two versions.

What has arrived is in a partial file, with a note beside it of which version of the remote file it
belongs to (ETag or Last-Modified, and size; RFC 9110, sections 8.8, 13.1.5 and 14). Another try
asks for the rest of exactly that version. Where the server cannot do that, or has another version
by now, the file is downloaded again. The caller gives the finished file its name.

One request to a web server: every fault of the network gets its words.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from bench.errors import BenchError, NoRoomError
from bench.images.inspect import is_web_page
from bench.system import reading
from bench.system.notes import note
from bench.system.paths import write_bytes
from bench.system.progress import Progress

TIMEOUT_S = 60.0  # of silence
LEAST_BYTES_PER_S = 1000  # on the average of TIMEOUT_S; what comes slower will not end
INSTEAD = "give --weights PATH"  # what to do with a file that came by other means
BLOCK_BYTES = 1 << 18
PASSING = (408, 416, 425, 429, *range(500, 600))  # answers that another try may not get


class PassingError(Exception):
    """What may be over when it is tried again; `status` is the answer, if there was one."""

    def __init__(self, fault: str, status: int | None = None) -> None:
        """Keep the words for the fault."""
        super().__init__(fault)
        self.status = status


@contextlib.contextmanager
def opened(
    url: str, headers: Mapping[str, str], label: str, instead: str = INSTEAD
) -> Iterator[HTTPResponse]:
    """Ask for `url`, following redirects; give the response, which is closed afterwards.

    A fault is a PassingError, or a BenchError that begins with `label` where trying again is vain,
    and ends with what to do `instead`.
    """
    host = urlsplit(url).netloc
    try:
        response = urlopen(Request(url, headers=dict(headers)), timeout=timeout_s())
    except HTTPError as error:
        error.close()
        answer = f"{host} answers {error.code} ({_line(error.reason)})"
        if error.code in PASSING:
            raise PassingError(answer, error.code) from error
        raise BenchError(
            f"{label}: {answer} for {url}: the file does not exist, or access is restricted; "
            f"download it elsewhere and {instead}."
        ) from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, socket.gaierror | ssl.SSLCertVerificationError):
            fault = "has no valid certificate" if isinstance(reason, ssl.SSLError) else "is unknown"
            raise BenchError(
                f"{label}: the host {host} {fault} from this machine ({_line(reason)}); download "
                f"{url} on a machine with access and {instead}."
            ) from error
        raise PassingError(_spoken(host, reason)) from error
    with response:
        if urlsplit(response.url).scheme not in ("https", urlsplit(url).scheme):
            there = urlsplit(response.url).netloc
            raise BenchError(f"{label}: {host} redirects to {there} without encryption.")
        yield response


def timeout_s() -> float:
    """Return the seconds of silence after which a host is given up: RETRIEVAL_BENCH_TIMEOUT_S."""
    try:
        seconds = float(os.environ.get("RETRIEVAL_BENCH_TIMEOUT_S") or TIMEOUT_S)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise BenchError(
            f"RETRIEVAL_BENCH_TIMEOUT_S={os.environ['RETRIEVAL_BENCH_TIMEOUT_S']} must be a "
            "number of seconds above 0."
        )
    return seconds


def read(response: HTTPResponse, host: str) -> bytes:
    """Return some more bytes of a body, none at its end."""
    try:
        return response.read1(BLOCK_BYTES)
    except (OSError, HTTPException) as error:
        raise PassingError(_spoken(host, error)) from error


def _spoken(host: str, reason: object) -> str:
    """Say what went wrong with a host."""
    if isinstance(reason, TimeoutError):
        return f"{host} was silent for {timeout_s():.0f} s"
    if isinstance(reason, ConnectionRefusedError):
        return f"{host} refuses the connection"
    return f"the connection to {host} broke ({_line(reason) or type(reason).__name__})"


def _line(reason: object) -> str:
    return " ".join(str(reason).split())


TRIES = 5
WAIT_S = 1.0  # before the second try; twice as long before each further one
MB = 10**6
MUCH_BYTES = 16 * MB
MOST_BYTES = 200_000 * MB  # of a file of unknown size
AGENT = {"User-Agent": "retrieval-bench", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class _Version:
    """Which version of a remote file a partial file holds; `total` is its size in bytes."""

    url: str
    etag: str | None
    modified: str | None
    total: int | None

    @property
    def condition(self) -> str | None:
        """Return what to make a range conditional on; a weak ETag does not tell bytes apart."""
        strong = self.etag is not None and not self.etag.startswith("W/")
        return self.etag if strong else self.modified


def encrypted(url: str) -> str:
    """Return the address with https where its host answers there, else as it is.

    An address with a port is taken as it is.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.port is not None:
        return url
    other = parts._replace(scheme="https").geturl()
    return other if _answers(parts.netloc, other) else url


@cache
def _answers(_host: str, url: str) -> bool:
    """Tell whether a host gives a file; it is asked once."""
    try:
        with opened(url, {**AGENT, "Range": "bytes=0-0"}, "https"):
            return True
    except (BenchError, PassingError):
        return False


def fetch(
    url: str,
    part: Path,
    size_bytes: int | None,
    label: str,
    instead: str = INSTEAD,
    most_bytes: int = MOST_BYTES,
) -> None:
    """Download `url` to the partial file `part` until it is whole.

    `size_bytes` is the size it must have, or None: then `most_bytes` bounds it. What has arrived
    stays for the next call. `label` begins the error sentences and the lines of progress; `instead`
    says what to do with a file that came by other means. Tries are counted again whenever one of
    them brought much.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    fault, attempt = "", 0
    while attempt < TRIES:
        if fault:
            wait_s = WAIT_S * 2 ** max(0, attempt - 1)
            note(f"{label}: {fault}; trying again in {wait_s:.0f} s")
            time.sleep(wait_s)
        before = _size(part)
        try:
            return _try(url, part, size_bytes, label, instead, most_bytes)
        except PassingError as error:
            fault = str(error)
            if error.status == 416:  # the part reaches beyond what the server has
                discard(part)
        except OSError as error:  # of the partial file; those of the network are PassingError
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_room(label, part) from error
            error.filename = error.filename or str(part)
            raise
        attempt = 1 if _size(part) - before >= MUCH_BYTES else attempt + 1
    raise BenchError(
        f"{label}: {fault}, at the last of {TRIES} tries; the received part is kept, so run the "
        f"same command again to continue, or download {url} elsewhere and {instead}."
    )


def discard(part: Path) -> None:
    """Delete a partial file and the note on its version."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _try(
    url: str, part: Path, size_bytes: int | None, label: str, instead: str, most_bytes: int
) -> None:
    """Fetch what is missing of the partial file over one connection."""
    kept_version, offset = _held(part, url)
    host = urlsplit(url).netloc
    headers = dict(AGENT)
    if kept_version is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": kept_version.condition or ""}
    with opened(url, headers, label, instead) as response:
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise _web_page(label, host, url, instead)
        version = _version(response, url)
        if response.status == 206:
            if kept_version is None or not _continues(response, kept_version, version, offset):
                discard(part)
                raise PassingError(f"{host} sent a different version of the file")
        else:
            offset = 0
        total = version.total
        most = most_bytes if size_bytes is None else size_bytes
        _check_total(response.chunked, total, url, label, size_bytes, most, instead)
        if total is not None and shutil.disk_usage(part.parent).free < total - offset:
            raise _no_room(label, part)
        if offset == 0:
            part.write_bytes(b"")  # before the note, which must not vouch for older bytes
            write_bytes(_note(part), json.dumps(asdict(version)).encode())
        _receive(response, part, offset, most if total is None else total, label, total)
    if is_web_page(part):
        discard(part)
        raise _web_page(label, host, url, instead)


def _check_total(
    chunked: bool,
    total: int | None,
    url: str,
    label: str,
    size_bytes: int | None,
    most: int,
    instead: str,
) -> None:
    """Refuse a file whose length is not stated, is another one, or is beyond `most`."""
    if total is None and not chunked:
        raise BenchError(
            f"{label}: {urlsplit(url).netloc} does not state the length of the file, so a "
            f"truncated download could not be detected; download {url} elsewhere and {instead}."
        )
    if size_bytes is not None and total not in (None, size_bytes):
        raise BenchError(
            f"{label}: the file at {url} has {total} bytes instead of {size_bytes}, so it is a "
            f"different file; download the right file elsewhere and {instead}."
        )
    if total is not None and total > most:
        raise BenchError(
            f"{label}: the file at {url} has {total} bytes, more than the {most} allowed for a "
            f"file of unknown size; check it, and {instead}."
        )


def _receive(
    response: HTTPResponse, part: Path, offset: int, most: int, label: str, total: int | None
) -> None:
    """Append the body of a response to the partial file, which has `offset` bytes.

    It has `total` bytes then, or where that is not stated, at most `most`.
    """
    host = urlsplit(response.url).netloc
    done = offset
    phase = f"{label}: resuming at {offset // MB} MB" if offset else label
    megabytes = None if total is None else total // MB - offset // MB
    with Progress(phase, megabytes, "MB") as progress:
        with part.open("ab") as file:
            window, arrived, most_s = time.monotonic(), 0, timeout_s()
            while block := read(response, host):
                if done + len(block) > most:
                    raise BenchError(f"{label}: {host} sent more than {most} bytes.")
                file.write(block)
                arrived += len(block)
                if (seconds := time.monotonic() - window) >= most_s:
                    if arrived < LEAST_BYTES_PER_S * seconds:
                        raise PassingError(f"{host} sent {arrived} bytes in {seconds:.0f} s")
                    window, arrived = time.monotonic(), 0
                progress.advance((done + len(block)) // MB - done // MB)
                done += len(block)
            file.flush()
            os.fsync(file.fileno())
        if total is not None and done != total:
            raise PassingError(f"{host} ended after {done} of {total} bytes")
    if done == 0:
        raise BenchError(f"{label}: {host} sent an empty file.")


def _held(part: Path, url: str) -> tuple[_Version | None, int]:
    """Return the version and size of a partial file that can be continued, or None and 0."""
    try:
        version = _Version(**reading.json_file(_note(part)))
        size = part.stat().st_size
    except (OSError, ValueError, TypeError):
        return None, 0
    whole = version.total is not None and size >= version.total
    if version.url != url or version.condition is None or size == 0 or whole:
        return None, 0
    return version, size


def _version(response: HTTPResponse, url: str) -> _Version:
    """Return which version of the file a response is about."""
    headers = response.headers
    if response.status == 206:
        found = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("Content-Range", "").strip())
    else:
        found = re.fullmatch(r"(\d+)", headers.get("Content-Length", "").strip())
    total = int(found[1]) if found else None
    return _Version(url, headers.get("ETag"), headers.get("Last-Modified"), total)


def _continues(response: HTTPResponse, version: _Version, got: _Version, offset: int) -> bool:
    """Return whether a partial response continues the stored version.

    A server that does not look at If-Range answers with the rest of whatever it has now.
    """
    first = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return (
        first is not None
        and int(first[1]) == offset
        and got.condition == version.condition
        and got.total == (version.total or got.total)
    )


def _web_page(label: str, host: str, url: str, instead: str) -> BenchError:
    return BenchError(
        f"{label}: {host} sent a web page instead of the file (a question, a quota or a login); "
        f"open {url} in a browser, save the file and {instead}."
    )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _no_room(label: str, part: Path) -> NoRoomError:
    return NoRoomError(
        f"{label}: the disk of {part.parent} has no room for the file; free some space, or set "
        "RETRIEVAL_BENCH_CACHE (for data sets RETRIEVAL_BENCH_DATA) to a folder on another disk, "
        "and run the same command again."
    )


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
