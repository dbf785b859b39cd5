"""One image file, looked at with suspicion: what it really is, and whether it is whole.

It is decoded as a run decodes it (`bench.images.decode`), so that both agree, file by file.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import BenchError
from bench.images.decode import check_header, load
from bench.types import Preprocess

Seen = tuple[int, int] | str  # width and height, or what is wrong
WHOLE = Preprocess(max_side_px=None)
TAIL_BYTES = 4096
WEB_PAGE = re.compile(rb"(?is)(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?<(!doctype\s+html|html)\b")


def header(path: Path) -> Seen:
    """Return the size of an image from its header, or what is wrong; the pixels are not decoded.

    A JPEG without its end marker is called truncated.
    """
    return _look(path, pixels=False)


def decode(path: Path) -> Seen:
    """Return the size of an image all of whose pixels can be decoded, or what is wrong."""
    return _look(path, pixels=True)


def _look(path: Path, *, pixels: bool) -> Seen:
    try:
        if path.stat().st_size == 0:
            return "empty"
        if is_web_page(path):
            return "a web page saved as an image"
        if pixels:
            height, width = load(path, None, WHOLE).shape[:2]
            return width, height
        size = check_header(path)
        with path.open("rb") as file:
            jpeg = file.read(2) == b"\xff\xd8"
        return "truncated: no end marker" if jpeg and not _ends(path) else size
    except BenchError as error:
        text = str(error).removeprefix(f"{path} ").rstrip(".")
        if "unknown image format" in text or "not an image" in text:
            with path.open("rb") as file:
                return f"not an image: begins with {file.read(4).hex(' ')}"
        return f"truncated: {text}" if "truncated" in text else f"cannot be decoded: {text}"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except Exception as error:  # noqa: BLE001 - decoders of damaged files raise anything
        return f"cannot be decoded: {' '.join(str(error).split())}"


def _ends(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        return b"\xff\xd9" in file.read()


def is_web_page(path: Path) -> bool:
    """Return whether a file is HTML: a login or an error page instead of the image."""
    with path.open("rb") as file:
        return WEB_PAGE.match(file.read(4096)) is not None
