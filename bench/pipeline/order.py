"""Descriptors in the order of a list: as they come, or by the names of their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from bench.errors import BenchError
from bench.store.matrix import Matrix
from bench.system.notes import note
from bench.types import Image


def ordered(matrix: Matrix, images: Sequence[Image], what: str) -> Matrix:
    """Return descriptors in the order of the data set's list, by their names where they have any.

    Named rows of other images are left out. Raises BenchError where the number of rows differs, or
    a name is absent or there twice.
    """
    rows, columns = matrix.shape
    if matrix.ids is None:
        if rows != len(images):
            turned = " It looks transposed: rows must be images." * (columns == len(images))
            raise BenchError(f"{_counts(matrix, images, what)}{turned}")
        return matrix
    if len(matrix.ids) == len(images) and all(
        found in (image.id, image.file) for found, image in zip(matrix.ids, images, strict=True)
    ):
        return matrix
    order = _order(matrix.ids, images, matrix.label, _counts(matrix, images, what))
    if order != sorted(order):
        note(f"{matrix.label}: rows were sorted by their names, into the order of the {what}")
    if rows > len(images):
        note(f"{matrix.label}: {rows - len(images)} rows of other images are ignored")
    names = tuple(matrix.ids[row] for row in order)
    shape = len(order), columns
    return replace(matrix, array=matrix.stored()[order], path=None, ids=names, shape=shape)


def _order(ids: Sequence[str], images: Sequence[Image], label: str, counts: str) -> list[int]:
    """Return the row of each image by its id or file; refuse names that are absent or ambiguous."""
    by_name: dict[str, int] = {}
    twice = {name for row, name in enumerate(ids) if by_name.setdefault(name, row) != row}
    order = [by_name.get(image.id, by_name.get(image.file, -1)) for image in images]
    absent = [image for image, row in zip(images, order, strict=True) if row == -1]
    if absent:
        other = "" if len(ids) == len(images) else f"{counts} "
        raise BenchError(f"{other}{label} has no row named {absent[0].id} or {absent[0].file}.")
    times = Counter(order)
    several = [ids[row] for row in order if ids[row] in twice or times[row] > 1]
    if several:
        raise BenchError(f"{label} has several rows for {several[0]}; each needs its own id.")
    return order


def _counts(matrix: Matrix, images: Sequence[Image], what: str) -> str:
    return (
        f"{matrix.label} has {matrix.shape[0]} rows, but the data set has {len(images)} {what}; "
        "give one row per image, in the order of the list (`data names`)."
    )
