"""Lists in three `.npy` files: database names, query names, and the positives of each query.

The form of GSV-Cities, MixVPR and SALAD, and of VPR-Bench with its rows [query, positives].
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.data import ground_truth, listing, raw
from bench.datasets._readers import numpy_files, places
from bench.errors import BenchError
from bench.facts import Facts

KINDS = ("dbImages", "qImages", "gt")


def load(root: Path, name: str, facts: Facts, stem: str) -> dict[str, Any] | None:
    """Return what `<stem>_dbImages.npy`, `_qImages.npy` and `_gt.npy` hold, or None."""
    paths = places.find(root, name, facts, *(f"{stem}_{kind}.npy" for kind in KINDS))
    return (
        None
        if paths is None
        else ground_truth.once(paths, "lists-1", lambda contents: npy(contents, paths))
    )


def npy(contents: list[bytes], paths: list[Path]) -> dict[str, Any]:
    """Return `database`, `queries` and `positive` of the files, in this order."""
    database, queries = (
        numpy_files.strings(content, path)
        for content, path in zip(contents, paths[:2], strict=False)
    )
    positive = numpy_files.rows(contents[2], paths[2])
    if len(positive) != len(queries):
        raise BenchError(f"{paths[2]} has {len(positive)} lists for {len(queries)} queries.")
    return {"database": database, "queries": queries, "positive": positive}


def vpr_bench(root: Path, name: str, stem: str, facts: Facts) -> dict[str, Any]:
    """Return a data set of VPR-Bench, whose images are called ref/0000000.jpg, query/0000000.jpg.

    Its lists are `<stem>_dbImages.npy`, `<stem>_qImages.npy` and `<stem>_gt.npy`, as GSV-Cities
    made them; or `ground_truth_new.npy` of VPR-Bench, whose images are found in the two folders.
    """
    listed = load(root, name, facts, stem)
    if listed is not None:
        return listed
    found = places.find(root, name, facts, "ground_truth_new.npy")
    if found is None:
        files = ", ".join(f"{stem}_{kind}.npy" for kind in KINDS)
        wanted = f"{files}, or ground_truth_new.npy with the folders ref and query"
        raise places.missing(root, name, wanted, facts)
    images, where = found[0].parent, found[0]
    pairs = numpy_files.pairs(raw.read(where), where)
    if [query for query, _ in pairs] != list(range(len(pairs))):
        raise BenchError(f"{where} must have one entry for each query, in order from 0.")
    positive = [asked for _, asked in pairs]
    named = 1 + max((row for rows in positive for row in rows), default=-1)
    sides = {
        "database": _Numbered(listing.images(images, "ref"), "ref", named),
        "queries": _Numbered(listing.images(images, "query"), "query", len(pairs)),
    }
    first = _first_number(*sides.values())
    read: dict[str, Any] = {"positive": positive, "notes": []}
    for kind, side in sides.items():
        names, notes = side.complete(first)
        if len(names) < side.count or (kind == "queries" and len(names) != side.count):
            raise BenchError(
                f"{where} counts {side.count} images of {images / side.folder}, which contains "
                f"{len(names)}; add the absent images, because each shifts all later rows."
            )
        read[kind] = names
        read["notes"] += notes
    return read


@dataclass(frozen=True)
class _Numbered:
    """A folder whose images are the rows 0 to `count` - 1 at least of a ground truth."""

    listed: listing.Listing
    folder: str
    count: int

    def numbers(self) -> dict[int, str]:
        """Return the images by number, where their names are numbers and nothing else."""
        paths = [PurePosixPath(file) for file in self.listed.files]
        plain = all(
            re.fullmatch(r"[0-9]+", path.stem) and str(path.parent) == self.folder for path in paths
        )
        return {int(path.stem): str(path) for path in paths} if plain else {}

    def complete(self, first: int) -> tuple[list[str], list[str]]:
        """Return the images in the order of their numbers, and notes.

        Those that are absent stay in the list, as a row counts them: `first` is the first number.
        """
        files, notes = listing.by_numbers(self.listed.files), list(self.listed.notes)
        if files != list(self.listed.files):
            notes.append(f"{self.folder}: names are in the order of their numbers, 2 before 10")
        numbers = self.numbers()
        if not numbers:
            return files, notes
        stems = {len(PurePosixPath(file).stem) for file in files}
        width = stems.pop() if len(stems) == 1 else 0
        ending = PurePosixPath(files[0]).suffix
        last = max(max(numbers), first + self.count - 1)
        return [
            numbers.get(number, f"{self.folder}/{number:0{width}}{ending}")
            for number in range(first, last + 1)
        ], notes


def _first_number(database: _Numbered, queries: _Numbered) -> int:
    """Return the number of row 0: 1 where nothing is called 0 and the last query is the count."""
    numbers = queries.numbers()
    named_0 = 0 in numbers or 0 in database.numbers()
    return 1 if not named_0 and max(numbers, default=0) == queries.count else 0
