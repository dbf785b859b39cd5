"""Copies: images that are the same, by file or by content, under several names of the lists.

A query that is in the database finds itself first; where the truth neither counts nor ignores it,
that is a wrong answer. A distractor that is a copy of a query or of a labelled image is one, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import first_few
from bench.store import file_hashes
from bench.system.paths import cache_root
from bench.types import Dataset, Image, Protocol

Prints = Mapping[str, str]  # sha256 by file; files that cannot be read are not in it


@dataclass(frozen=True)
class Itself:
    """A query that is also in the database: both names, and the label of the row."""

    query: str
    row: str
    labelled: bool
    positive: bool


def prints_of(dataset: Dataset) -> Prints:
    """Return the sha256 of every file of the lists that is here, by its name in them."""
    images = {image.file: image for image in (*dataset.database, *dataset.queries)}
    paths = [dataset.folder / image.path for image in images.values()]
    digests = file_hashes.of_files(paths, cache_root())
    return {
        file: digest for file, digest in zip(images, digests, strict=True) if digest is not None
    }


def contents(folder: Path, images: Sequence[Image]) -> set[str]:
    """Return the sha256 of the files of a list that can be read."""
    digests = file_hashes.of_files([folder / image.path for image in images], cache_root())
    return {digest for digest in digests if digest is not None}


def queries_in_database(dataset: Dataset, prints: Prints) -> list[Itself]:
    """Return the queries of which a row that they search is the same file, or has its content.

    A query counts as labelled where every protocol that asks it has all such rows among its
    positives or ignored ones.
    """
    rows_of: dict[str, list[int]] = {}
    for row, image in enumerate(dataset.database):
        rows_of.setdefault(_content(image, prints), []).append(row)
    out = []
    for number, query in enumerate(dataset.queries):
        rows = rows_of.get(_content(query, prints), [])
        if dataset.areas is not None:
            area = dataset.areas.queries[number]
            rows = [row for row in rows if dataset.areas.database[row] == area]
        if not rows:
            continue
        labels = [_labels(protocol, number) for protocol in _asking(dataset, number)]
        bare = [row for row in rows if any(row not in known for known, _ in labels)]
        positive = any(row in right for row in rows for _, right in labels)
        out.append(Itself(query.file, dataset.database[(bare or rows)[0]].file, not bare, positive))
    return out


def lines(found: Sequence[Itself]) -> tuple[list[str], list[str]]:
    """Return sentences on queries that are wrong answers to themselves, and on right ones."""
    bare = [f"{match.query} is {match.row}" for match in found if not match.labelled]
    right = [
        f"{match.query} is {match.row}" for match in found if match.labelled and match.positive
    ]
    wrong_line = (
        f"{len(bare)} queries are also in the database (by file name or content), where they are "
        f"neither positives nor ignored images of themselves: {first_few(bare)}"
    )
    right_line = (
        f"{len(right)} queries are also in the database, as positives of themselves: "
        f"{first_few(right)}"
    )
    return [wrong_line] * bool(bare), [right_line] * bool(right)


def repeated(images: Sequence[Image], prints: Prints) -> list[tuple[str, str]]:
    """Return pairs (file, the first file of the list with its content)."""
    first: dict[str, str] = {}
    pairs = []
    for image in images:
        digest = prints.get(image.file)
        if digest is not None and first.setdefault(digest, image.file) != image.file:
            pairs.append((image.file, first[digest]))
    return pairs


def among(
    added: Dataset, dataset: Dataset, prints: Prints
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the distractors that are copies of images of `dataset`, each with that image.

    First those of queries and of images that are positive or ignored for any query; then those of
    the rest, whose copy is one more wrong answer of equal score.
    """
    of_added = prints_of(added)
    labelled = {
        row
        for protocol in dataset.protocols
        for truth in protocol.truth
        for row in (*truth.positive.tolist(), *truth.ignored.tolist())
    }
    kept = {prints[i.file]: i.file for i in dataset.queries if i.file in prints}
    others: dict[str, str] = {}
    for row, image in enumerate(dataset.database):
        if image.file in prints:
            (kept if row in labelled else others).setdefault(prints[image.file], image.file)
    wrong, idle = [], []
    for image in added.database:
        digest = of_added.get(image.file, "")
        if digest in kept:
            wrong.append((image.file, kept[digest]))
        elif digest in others:
            idle.append((image.file, others[digest]))
    return wrong, idle


def _content(image: Image, prints: Prints) -> str:
    return prints.get(image.file, f"file {image.file}")


def _asking(dataset: Dataset, query: int) -> list[Protocol]:
    return [
        protocol
        for protocol in dataset.protocols
        if protocol.asked is None or protocol.asked[query]
    ]


def _labels(protocol: Protocol, query: int) -> tuple[set[int], set[int]]:
    """Return the rows that are positive or ignored, and the positive ones."""
    truth = protocol.truth[query]
    right = set(truth.positive.tolist())
    return right | set(truth.ignored.tolist()), right
