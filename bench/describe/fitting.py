"""Which images of a list a method does not take, by their headers alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.describe import engine
from bench.errors import BenchError
from bench.images import decode, resize
from bench.types import Image


def unfit(loaded: engine.Loaded, folder: Path, wanted: Sequence[Image]) -> list[str]:
    """Return a sentence per image whose size the method's rule or the method refuses.

    An image that cannot be read is not among them: `data verify` names it in any case.
    """

    def fault_of(image: Image) -> str | None:
        path = folder / image.path
        try:
            shape = engine.seen(loaded.rule, decode.shape(path, image.box, loaded.rule))
        except resize.TooSmallError as error:
            return str(error)
        except BenchError:
            return None
        why = engine.refusal(loaded, shape)
        return None if why is None else f"{path} {why}."

    with ThreadPoolExecutor(engine.READERS) as pool:
        return [text for text in pool.map(fault_of, wanted) if text is not None]
