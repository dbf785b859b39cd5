"""Distractors: the database images of other data sets, added as negatives for every query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import datasets
from bench.data import copies
from bench.describe import extract
from bench.errors import BenchError, first_few
from bench.system.hashing import sha256_lines
from bench.system.notes import note
from bench.types import Dataset, Image


def load(names: Sequence[str], dataset: Dataset, limit: int | None) -> tuple[Dataset, ...]:
    """Return the data sets of those names, whose database images are added to `dataset`.

    With `limit` each gives its first images only. A set whose images are not all there is refused,
    and one that shares files with the database, the queries or another set; `check_copies` looks
    for the same content under other names.
    """
    sets = []
    for name in names:
        added, _ = datasets.placed(datasets.load(name))
        if limit is not None and limit < len(added.database):
            added = replace(added, database=added.database[:limit], limit=limit)
        datasets.say_notes(added)
        extract.check_files(added.folder, added.database)
        sets.append(added)
    if not sets:
        return ()
    seen = dict.fromkeys(places(dataset, with_queries=True), dataset.name)
    for added in sets:
        for place, file in places(added).items():
            if place in seen:
                raise BenchError(
                    f"{file} of the distractors {added.name} is the same file as one of "
                    f"{seen[place]}; distractors must be different images, because each counts "
                    "as wrong; remove it from the list."
                )
        seen |= dict.fromkeys(places(added), f"the distractors {added.name}")
    return tuple(sets)


def check_copies(added: Dataset, dataset: Dataset, prints: copies.Prints) -> None:
    """Refuse copies of queries and labelled images; report other copies.

    `prints` are the hashes of the files of `dataset`.
    """
    wrong, idle = copies.among(added, dataset, prints)
    if wrong:
        named = first_few([f"{file} is {other}" for file, other in wrong])
        raise BenchError(
            f"{len(wrong)} of the distractors {added.name} have the content of a query or of a "
            f"labelled image of {dataset.name}: {named}; distractors must be different images, "
            "because each counts as wrong; remove them from the list."
        )
    if idle:
        named = first_few([f"{file} is {other}" for file, other in idle])
        note(
            f"{added.name}: {len(idle)} distractors have the content of a negative of "
            f"{dataset.name}: {named}"
        )


def on_card(sets: Sequence[Dataset]) -> dict[str, list[Any]]:
    """Return what the card adds of the sets, in order: number of images, hash of their list."""
    return {
        "counts": [len(added.database) for added in sets],
        "list_sha256": [sha256_lines([image.file for image in added.database]) for added in sets],
    }


def places(dataset: Dataset, *, with_queries: bool = False) -> dict[tuple[int, int], str]:
    """Return device and number of every file, so that links to one file are one."""
    images = [*dataset.database, *(dataset.queries if with_queries else ())]
    return files(dataset.folder, images)


def files(folder: Path, images: Sequence[Image]) -> dict[tuple[int, int], str]:
    """Return device and number of every file of a list that is there, with its name."""
    out = {}
    for image in images:
        try:
            state = os.stat(folder / image.path)
        except FileNotFoundError:  # a run may be allowed to go on without it
            continue
        out[state.st_dev, state.st_ino] = image.file
    return out
