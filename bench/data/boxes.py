"""The boxes of the queries of a data set, against the photographs: what a run would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.errors import BenchError, first_few
from bench.images import boxes, decode
from bench.types import Dataset, Image, Preprocess

READERS = 16  # threads that wait for a disk


@dataclass(frozen=True)
class Found:
    """Sentences on boxes that are refused, and the queries whose box is cut to the photograph."""

    faults: Sequence[str]
    cut: Sequence[str]

    def lines(self) -> list[str]:
        """Return a line on the boxes that are cut, where there are any."""
        few = first_few(self.cut)
        return (
            [
                f"{len(self.cut)} boxes extend less than a pixel beyond the image, and are "
                f"clipped: {few}"
            ]
            if self.cut
            else []
        )


def check(dataset: Dataset) -> Found:
    """Compare every box with the size of its photograph; a file that cannot be read says nothing.

    A box is refused where both ways of making its corners whole refuse it.
    """
    numbered = [(i, query) for i, query in enumerate(dataset.queries) if query.box is not None]

    def check_image(entry: tuple[int, Image]) -> tuple[str | None, bool]:
        number, query = entry
        path = dataset.folder / query.path
        assert query.box is not None
        try:
            size = decode.stored_size(path)
        except BenchError:
            return None, False
        faults = []
        for rounding in ("round", "truncate"):
            try:
                boxes.corners(size, query.box, Preprocess(crop_rounding=rounding), path)
            except BenchError as error:
                faults.append(str(error))
        if len(faults) == 2:
            return f"query {number}, {query.file}: {faults[0]}", False
        return None, boxes.beyond(size, query.box) > 0

    with ThreadPoolExecutor(READERS) as pool:
        every = list(pool.map(check_image, numbered))
    pairs = list(zip(numbered, every, strict=True))
    return Found(
        [fault for _, (fault, _) in pairs if fault is not None],
        [query.file for (_, query), (_, is_cut) in pairs if is_cut],
    )


def refuse(found: Found, dataset: Dataset) -> None:
    """Raise BenchError for boxes that are refused, before anything is described."""
    if found.faults:
        more = f" And {len(found.faults) - 5} more." if len(found.faults) > 5 else ""
        raise BenchError(
            f"{len(found.faults)} boxes of {dataset.name} do not fit their photographs: "
            f"{' '.join(found.faults[:5])}{more} Correct the boxes, or do not use boxes: "
            "--query-crop whole; --allow-missing scores without these queries."
        )
