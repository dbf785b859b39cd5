"""One request to a web server: every fault of the network gets its words."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from bench.errors import BenchError

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
            f"{label}: {answer} for {url}: the file is not there, or not for everybody; get it by "
            f"other means and {instead}."
        ) from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, socket.gaierror | ssl.SSLCertVerificationError):
            fault = "has no valid certificate" if isinstance(reason, ssl.SSLError) else "is unknown"
            raise BenchError(
                f"{label}: the host {host} {fault} here ({_line(reason)}); fetch {url} where "
                f"there is a network and {instead}."
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
        given = float(os.environ.get("RETRIEVAL_BENCH_TIMEOUT_S") or TIMEOUT_S)
    except ValueError:
        given = 0.0
    if not 0 < given < 1e6:
        raise BenchError(
            f"RETRIEVAL_BENCH_TIMEOUT_S={os.environ['RETRIEVAL_BENCH_TIMEOUT_S']} is not a number "
            "of seconds above 0."
        )
    return given


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
