"""Data sets by name or by path, and the few things a run may do to one before it starts.

A data set plug-in is a file in the folder `datasets/`; its `load(root)` returns a mapping in the
form of a dataset.json, which `bench.folder` checks like anybody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import folder, plugins
from bench.errors import BenchError
from bench.paths import ROOT, data_root
from bench.types import Dataset, GroundTruth, Image, Protocol, Rows

__path__ = [str(ROOT / "datasets")]

KIND = plugins.Kind("data set", ROOT / "datasets", "bench.datasets", "retrieval_bench.datasets")


def names() -> list[str]:
    """Return the names of the data sets in the folder and of installed packages; imports none."""
    return list(plugins.find(KIND))


def load(name: str) -> Dataset:
    """Return a data set by name, by the path of a dataset.json or its folder, or of a plug-in."""
    path = Path(name).expanduser()
    if path.suffix == ".json" or (path.is_dir() and name not in names()):
        return folder.read(path)
    module = plugins.import_one(KIND, name)
    try:
        data = module.load(data_root())
    except BenchError:
        raise
    except Exception as error:
        raise BenchError(
            f"the data set {name!r} failed: {plugins.fault(error, module.__file__)}."
        ) from error
    if not isinstance(data, Mapping):
        raise BenchError(
            f"the data set {name!r}: load() returned {type(data).__name__}, not a mapping in the "
            "form of a dataset.json."
        )
    where = f"the data set {name!r}"
    return folder.parse(data, where, Path(module.__file__ or ".").parent)


def check_queries(dataset: Dataset) -> Dataset:
    """Return the data set, or refuse one that has no queries and so cannot be scored."""
    if not dataset.queries:
        raise BenchError(
            f"the data set {dataset.name} has no queries and cannot be scored; its images can be "
            f"added to another data set: --distractors {dataset.name}."
        )
    return dataset


def shown_queries(dataset: Dataset) -> tuple[Image, ...]:
    """Return the queries as the method sees them: without their boxes where `crop` is "whole"."""
    if dataset.crop == "box":
        return dataset.queries
    return tuple(replace(query, box=None) for query in dataset.queries)


def limited(dataset: Dataset, count: int) -> Dataset:
    """Return the first `count` database images and queries, truth restricted; for trying only."""
    if count < 1:
        raise BenchError(f"--limit must be 1 or more, but is {count}.")
    if count >= len(dataset.database):
        return dataset
    kept = min(count, len(dataset.queries))

    def inside(rows: Rows) -> Rows:
        return np.asarray(rows[rows < count])

    protocols = tuple(
        Protocol(
            p.name,
            tuple(GroundTruth(inside(t.positive), inside(t.ignored)) for t in p.truth[:kept]),
            p.metrics,
            p.empty,
        )
        for p in dataset.protocols
    )
    return replace(
        dataset,
        database=dataset.database[:count],
        queries=dataset.queries[:kept],
        protocols=protocols,
        limit=count,
    )
