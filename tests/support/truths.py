"""Real lists where the plug-ins look for them, and what tests say of the ground truth in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.scoring.scores import labelled_rows, score
from bench.types import Dataset, Image, LabelledRanks, Protocol

RECALLS = (1, 5, 10, 20, 100)
Finder = Callable[[str], Path]


@pytest.fixture
def lay(shared: Finder, workspace: Any) -> Callable[..., None]:
    """Return a function that puts real files where the plug-in of a data set looks for them."""

    def put(name: str, folder: str, **names: str) -> None:
        place = workspace.data / name
        place.mkdir(parents=True, exist_ok=True)
        for path in sorted(shared(f"data/{folder}").iterdir()):
            shutil.copy(path, place / names.get(path.stem, path.name))

    return put


def total(dataset: Dataset, protocol: str = "all") -> int:
    """Return how many positives the queries of a protocol have together."""
    return sum(len(truth.positive) for truth in named(dataset, protocol).truth)


def named(dataset: Dataset, name: str) -> Protocol:
    """Return the protocol of that name."""
    return next(protocol for protocol in dataset.protocols if protocol.name == name)


def files(images: Iterable[Image]) -> list[str]:
    """Return the names of the files of images."""
    return [image.file for image in images]


def key(n_rows: int, row: np.ndarray, query: int) -> np.ndarray:
    """Return the place of rows in the ranking of the golden vectors."""
    return (7919 * row + 104729 * query) % n_rows


def golden(dataset: Dataset, place: Callable[[np.ndarray, int], np.ndarray]) -> LabelledRanks:
    """Return the ranks of the labelled rows where `place` gives the place of rows of a query."""
    labelled = labelled_rows(dataset.protocols)
    rank = np.concatenate([place(rows, query) for query, rows in enumerate(labelled)])
    return LabelledRanks(
        np.cumsum([0, *map(len, labelled)], dtype=np.int64),
        np.concatenate(labelled),
        rank,
        -rank.astype(np.float64),
        np.zeros_like(rank),
    )


def hits(dataset: Dataset, ranks: LabelledRanks, protocol: str = "all") -> list[int]:
    """Return how many queries have a positive in the first 1, 5, 10, 20 and 100."""
    scores = score(ranks, dataset.protocols, len(dataset.database))[protocol]
    each = (scores[f"recall@{k}.any-hit.junk-removed"] for k in RECALLS)
    return [round(float(np.nansum(score.per_query))) for score in each]


def bounds(dataset: Dataset) -> tuple[int, int, float]:
    """Return the fewest, the most and the mean number of positives of a query."""
    counts = [len(truth.positive) for truth in dataset.protocols[0].truth]
    return min(counts), max(counts), round(float(np.mean(counts)), 2)
