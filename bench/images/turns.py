"""Turns for decoding: as many pixels at once as memory should hold, however many threads there are.

A photograph of 178 megapixels takes about a gigabyte while it is decoded, turned and shrunk, and as
many are decoded at once as there are cores. So those in work share a number of pixels; one that is
larger than that has its turn alone: six of 178 megapixels, with sixteen threads, take 2.1 GB at
most; a gigabyte for every thread before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MOST_PIXELS = 64 << 20  # in work at once: about 9 bytes each, or 0.6 GB

_free = threading.Condition()
_in_work = 0


@contextmanager
def turn(pixels: int) -> Iterator[None]:
    """Wait until an image of so many pixels can be decoded beside those in work."""
    global _in_work
    with _free:
        _free.wait_for(lambda: _in_work == 0 or _in_work + pixels <= MOST_PIXELS)
        _in_work += pixels
    try:
        yield
    finally:
        with _free:
            _in_work -= pixels
            _free.notify_all()
