"""One image file, looked at with suspicion: what it really is, and whether it is whole."""

from __future__ import annotations

import math
import re
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from bench.images.decode import FORMATS, pillow_silenced
from bench.images.turns import turn

Seen = tuple[int, int] | str  # width and height, or what is wrong
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
        with pillow_silenced(), Image.open(path, formats=FORMATS) as image:
            if pixels:
                with turn(math.prod(image.size)):
                    image.load()
            elif image.format == "JPEG" and not _ends(path):
                return "truncated: no end marker"
            return image.size
    except UnidentifiedImageError:
        with path.open("rb") as file:
            return f"no image: begins with {file.read(4).hex(' ')}"
    except Exception as error:  # noqa: BLE001 - decoders of damaged files raise anything
        text = " ".join(str(error).split())
        return f"truncated: {text}" if "truncated" in text else f"cannot be decoded: {text}"


def _ends(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        return b"\xff\xd9" in file.read()


def is_web_page(path: Path) -> bool:
    """Tell whether a file is HTML: a login or an apology instead of what was wanted."""
    with path.open("rb") as file:
        return WEB_PAGE.match(file.read(4096)) is not None
