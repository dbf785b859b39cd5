"""Downloads have a bound, and use https where the host has it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.system import download


class Endless(BaseHTTPRequestHandler):
    """Sends a file that says how long it is, or one in chunks that does not end."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        if self.path == "/long":
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(b"x" * 5000)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        except OSError:  # the client has had enough
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("file", "says"),
    [("long", "has 5000 bytes, more than the 4000"), ("endless", "sent more than")],
)
def test_a_file_of_unknown_size_is_bounded(
    file: str, says: str, address: str, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    with pytest.raises(BenchError, match=says):
        download.fetch(f"{address}/{file}", part, None, "a file", most_bytes=4000)
    assert not part.exists() or part.stat().st_size <= 4000


def test_no_more_than_the_stated_size_is_taken(address: str, tmp_path: Path) -> None:
    part = tmp_path / "part"
    with pytest.raises(BenchError, match="sent more than 100 bytes"):
        download.fetch(f"{address}/endless", part, 100, "a file")
    assert not part.exists() or part.stat().st_size <= 100


@pytest.mark.parametrize(
    ("url", "answers", "used"),
    [
        ("http://host.example/a", True, "https://host.example/a"),
        ("http://host.example/a", False, "http://host.example/a"),
        ("http://host.example:8080/a", True, "http://host.example:8080/a"),
        ("https://host.example/a", False, "https://host.example/a"),
    ],
)
def test_https_is_used_where_the_host_has_it(
    url: str, answers: bool, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def opened(request: Any, timeout: float) -> Any:
        asked.append(request.full_url)
        if not answers:
            raise ConnectionRefusedError
        return Answer(request.full_url)

    class Answer:
        def __init__(self, url: str) -> None:
            self.url = url

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *arguments: object) -> None:
            """Close nothing."""

    download._answers.cache_clear()
    monkeypatch.setattr(download, "urlopen", opened)
    assert download.encrypted(url) == used
    assert download.encrypted(url) == used
    assert asked == (["https://host.example/a"] if url == "http://host.example/a" else [])
    download._answers.cache_clear()
