"""One image, decoded exactly as a `Preprocess` says: orientation, colour, crop, size cap.

The order is that of the programs whose numbers are being reproduced: decode, apply the EXIF
orientation where the rule asks for it, convert to RGB, crop, shrink to the cap, resize. A query box
is in stored pixels, and is turned with the photograph (`bench.images.boxes`). (A TIFF is always
turned: Pillow does so itself.)

Files are not trusted: a missing, truncated or foreign file ends in a `BenchError` that names it.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from bench.errors import BenchError
from bench.images import boxes, foreign, resize
from bench.images.turns import turn
from bench.types import Box, Preprocess

# Formats of photographs that Pillow decodes itself; the others may start foreign programs.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")


def load(path: Path, box: Box | None, rule: Preprocess) -> NDArray[np.uint8]:
    """Return the pixels of one image as `rule` wants them, before normalisation and scales.

    Rules of resizing that work on floats come later, on the device; an image that is too small for
    them is refused here.

    Result: uint8 (height, width, 3), C-contiguous and writable, channels in the order of the
    rule. `box` is (left, top, right, bottom), right and bottom exclusive, or None for the whole
    image, in stored pixels; it must be within the image, or less than a pixel outside. Of an
    animation the first frame is taken, an alpha channel is dropped, 16-bit grey keeps its high
    byte. Thread-safe.
    """
    with turn(math.prod(header_size(path))):
        return _load(path, box, rule)


def _load(path: Path, box: Box | None, rule: Preprocess) -> NDArray[np.uint8]:
    with _decoding(path), Image.open(path, formats=FORMATS) as stored:
        kind = stored.format
        before = _orientation(stored) if kind == "TIFF" else boxes.UPRIGHT  # loading takes it off
        size = _stored_size(stored)
        stored.load()
        orientation = before if kind == "TIFF" else _orientation(stored)
        applied = rule.orientation == "apply"
        turned = ImageOps.exif_transpose(stored) if applied else stored
        whole = _rgb(turned, kind, path)
    shown = whole
    if box is not None:
        cut = boxes.corners(size, box, rule, path)
        if applied or kind == "TIFF":
            cut = _whole(boxes.turned(cut, size, orientation))
        shown = whole.crop(cut)
    shown = _shrink(shown, _cap(shown.size, whole.size, rule), rule)
    if rule.resize != resize.NATIVE:
        _sized(resize.parse(rule.resize), (shown.height, shown.width), path)
        shown = resize.applied(shown, rule.resize)
    pixels = np.array(shown, dtype=np.uint8)
    return np.ascontiguousarray(pixels[:, :, ::-1]) if rule.channels == "bgr" else pixels


def header_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels as stored, without decoding pixels or turning the image."""
    with _decoding(path), Image.open(path, formats=FORMATS) as stored:
        return stored.size


def shape(path: Path, box: Box | None, rule: Preprocess) -> tuple[int, int]:
    """Return (height, width) of what `load` will return, from the header of the file alone.

    An image that is too small for the rule's resizing is refused. Where the file says more of
    itself after its pixels, `load` may know better.
    """
    with _decoding(path), Image.open(path, formats=FORMATS) as stored:
        size = of_file = _stored_size(stored)
        aside = (rule.orientation == "apply" or stored.format == "TIFF") and _orientation(
            stored
        ) in (5, 6, 7, 8)
        size = size[::-1] if aside else size
    shown = size
    if box is not None:
        left, top, right, bottom = boxes.corners(of_file, box, rule, path)
        shown = right - left, bottom - top
        shown = shown[::-1] if aside else shown
    width, height = _capped(shown, _cap(shown, size, rule), rule)
    _sized(resize.parse(rule.resize), (height, width), path)
    return resize.sized(resize.of_bytes(rule.resize), (height, width))


def orientation(path: Path) -> int:
    """Return the EXIF orientation, 1 to 8, that the header of a file states; 1 without any.

    No pixels are decoded, so that a PNG that says it after them counts as stored upright; 1 as well
    where the header cannot be read.
    """
    try:
        with _decoding(path), Image.open(path, formats=FORMATS) as stored:
            late = stored.format == "PNG" and "exif" not in stored.info
            return boxes.UPRIGHT if late else _orientation(stored)
    except BenchError:
        return boxes.UPRIGHT


def turns(path: Path, rule: Preprocess) -> bool:
    """Tell whether `load` turns the pixels of a file; false where its header cannot be read."""
    try:
        with _decoding(path), Image.open(path, formats=FORMATS) as stored:
            turned = rule.orientation == "apply" or stored.format == "TIFF"
            return turned and _orientation(stored) in range(2, 9)
    except BenchError:
        return False


def stored_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in stored pixels, those of a TIFF included; nothing is decoded."""
    with _decoding(path), Image.open(path, formats=FORMATS) as stored:
        return _stored_size(stored)


def check_header(path: Path) -> tuple[int, int]:
    """Return (width, height) as `header_size` does; refuse kinds of pixels that `load` refuses."""
    with _decoding(path), Image.open(path, formats=FORMATS) as stored:
        if stored.mode == "F" or (stored.mode == "I" and stored.format != "PPM"):
            raise _unknown_range(path)
        return stored.size


def _orientation(stored: Image.Image) -> int:
    found = stored.getexif().get(ExifTags.Base.Orientation, boxes.UPRIGHT)
    return found if isinstance(found, int) else boxes.UPRIGHT


def _stored_size(stored: Image.Image) -> tuple[int, int]:
    """Return the size of the pixels in the file; of a TIFF on its side Pillow tells the other."""
    aside = stored.format == "TIFF" and _orientation(stored) in (5, 6, 7, 8)
    return stored.size[::-1] if aside else stored.size


def _whole(box: Box) -> boxes.Corners:
    left, top, right, bottom = (int(x) for x in box)  # they are whole
    return left, top, right, bottom


def _unknown_range(path: Path) -> BenchError:
    return BenchError(
        f"{path} has pixels of 32 bits with an unknown range; convert it to 8 or 16 bits per "
        "channel."
    )


def _sized(steps: tuple[resize.Step, ...], size: resize.Size, path: Path) -> resize.Size:
    """Return the size after the steps; name the file of an image that is too small for them."""
    try:
        return resize.sized(steps, size)
    except resize.TooSmallError as error:
        raise resize.TooSmallError(f"{path} is too small: {error}.") from None


def _rgb(image: Image.Image, format_: str | None, path: Path) -> Image.Image:
    """Return `image` as 8-bit RGB; `format_` is the one of its file, "PPM" for instance."""
    if image.mode.startswith("I;16") or (image.mode == "I" and format_ == "PPM"):
        # The high byte, as Pillow does for 16-bit colour; Pillow's own conversion may clip.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise _unknown_range(path)
    image.info.pop("transparency", None)  # else Pillow warns that RGB cannot keep it
    return image if image.mode == "RGB" else image.convert("RGB")


def _cap(shown: tuple[int, int], whole: tuple[int, int], rule: Preprocess) -> float:
    """Return the cap on the longest side of `shown`, a part of `whole`; infinity for none.

    With the relative cap the two filters follow their official programs down to the order of
    the floating-point operations, because a side is rounded from the result.
    """
    if rule.max_side_px is None:
        return math.inf
    side, full = max(shown), max(whole)
    if rule.query_cap == "own":
        return float(rule.max_side_px)
    if rule.cap_filter == "thumbnail-lanczos":  # Token: Dataset/ImageFromList.py
        return max(rule.max_side_px * side / full, 1.0)
    return (side / full) * rule.max_side_px  # DELG: ResizeImage


def _capped(shown: tuple[int, int], cap: float, rule: Preprocess) -> tuple[int, int]:
    """Return the size (width, height) of `shown` under the cap; it is never enlarged."""
    side = max(shown)
    if side <= cap:
        return shown
    if rule.cap_filter == "thumbnail-lanczos":
        return _thumbnail(shown, math.floor(cap))
    factor = cap / side
    width, height = (max(1, round(x * factor)) for x in shown)
    return width, height


def _thumbnail(size: tuple[int, int], cap: int) -> tuple[int, int]:
    """Return the size that Pillow's `thumbnail` gives a larger image in a square of side `cap`."""
    aspect = size[0] / size[1]
    exact = cap * aspect if aspect <= 1 else cap / aspect
    sides = math.floor(exact), math.ceil(exact)
    if aspect <= 1:
        return max(1, min(sides, key=lambda n: abs(aspect - n / cap))), cap
    return cap, max(1, min(sides, key=lambda n: abs(aspect - cap / n) if n else 0.0))


def _shrink(shown: Image.Image, cap: float, rule: Preprocess) -> Image.Image:
    """Return `shown` under the cap, by the filter of the rule."""
    if max(shown.size) <= cap:
        return shown
    if rule.cap_filter == "thumbnail-lanczos":
        small = shown.copy()  # thumbnail works in place; this copy has no JPEG file to draft from
        small.thumbnail((cap, cap), Image.Resampling.LANCZOS)
        return small
    return shown.resize(_capped(shown.size, cap, rule), Image.Resampling.BILINEAR)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a file is opened and decoded into one sentence."""
    if not path.is_file():
        found = "is not a file" if path.exists() else "does not exist"
        raise BenchError(f"the image {path} {'is a folder' if path.is_dir() else found}.")
    try:
        with pillow_silenced():
            yield
    except BenchError:
        raise
    except UnidentifiedImageError:
        raise BenchError(f"{path} {_what_is_in(path)}.") from None
    except Image.DecompressionBombError as error:
        raise BenchError(f"{path} is too large to be decoded safely: {error}") from error
    except Exception as error:  # decoders of damaged files raise nearly every type there is
        if isinstance(error, OSError) and error.strerror:  # from the system, not from a decoder
            raise BenchError(f"{path} cannot be read: {error.strerror}.") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BenchError(
            f"{path} cannot be decoded ({reason}); the file is damaged or incomplete; download "
            "it again."
        ) from error


def _what_is_in(path: Path) -> str:
    """Say what a file that is not an image seems to be, from its first bytes."""
    with path.open("rb") as file:
        head = file.read(512)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    what = foreign.in_its_place(head)
    if what is not None and "page" in what:
        return f"{what}, not an image; the server of the download probably sent a page"
    if what is not None and "pointer" in what:
        return f"{what}, not the image itself; fetch it with `git lfs pull`"
    if what is not None:
        return what
    if text.startswith((b"<?xml", b"<svg", b"{", b"[")):
        return "is a text file (XML or JSON), not an image"
    return (
        f"has an unknown image format (it begins with {head[:8].hex(' ')}); known formats: "
        f"{', '.join(FORMATS)}"
    )


_silence = threading.Lock()
_silent_threads = 0
_filters: warnings.catch_warnings[None] | None = None


@contextmanager
def pillow_silenced() -> Iterator[None]:
    """Ignore Pillow's warnings (odd EXIF, large images) while at least one thread decodes.

    `warnings.catch_warnings` alone is wrong with threads: the one that leaves first would
    restore the filters under the others. So the first to enter saves, the last to leave restores.
    """
    global _silent_threads, _filters
    with _silence:
        if _silent_threads == 0:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        _silent_threads += 1
    try:
        yield
    finally:
        with _silence:
            _silent_threads -= 1
            if _silent_threads == 0 and _filters is not None:
                _filters.__exit__(None, None, None)
                _filters = None
