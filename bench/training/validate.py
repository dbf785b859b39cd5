"""Validation: what `run` would score with the weights as they are, on a data set, now and then.

The weights go through a file, the plug-in's `load`, the engine, the search and the metrics, as in a
run; only nothing is kept: no descriptors in the cache, no record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bench import datasets
from bench.describe import engine, extract, loading
from bench.errors import BenchError, first_few
from bench.pipeline.chain import Chain
from bench.pipeline.ground import Ground
from bench.pipeline.lists import Lists
from bench.pipeline.space import How
from bench.pipeline.walk import Inputs, walk
from bench.scoring import metrics
from bench.scoring.scores import score
from bench.store.matrix import Matrix, from_array
from bench.system.progress import Progress
from bench.training import checkpoint
from bench.types import Dataset, Image

DEPTH = 100  # of lists, of which only a suppression of groups needs any


@dataclass(frozen=True)
class Validation:
    """A data set to be searched by the method `text` on a device; files go into `folder`."""

    text: str
    dataset: Dataset
    device: str
    folder: Path

    @property
    def columns(self) -> list[str]:
        """Return the names of the scores: the headline metric of each protocol."""
        return [f"{p.name} {metrics.metric(p.metrics[0]).label}" for p in self.dataset.protocols]

    def scores(self, weights: Mapping[str, Tensor], extra: Mapping[str, str]) -> dict[str, float]:
        """Return the scores as fractions, by column."""
        file = self.folder / "validated.safetensors"
        checkpoint.write_weights(file, weights, extra)
        try:
            loaded = loading.load(self.text, str(file), self.device)
        finally:
            file.unlink(missing_ok=True)
        database = describe(loaded, self.dataset, self.dataset.database, "database")
        asked = describe(loaded, self.dataset, datasets.shown_queries(self.dataset), "queries")
        ground = Inputs(Ground(self.dataset, len(self.dataset.database)))
        ranks = walk(Lists([database], [asked]), ground, Chain(), How(device=self.device)).ranks
        scores = score(ranks, self.dataset.protocols, len(self.dataset.database))
        means = [scores[p.name][p.metrics[0]].mean for p in self.dataset.protocols]
        return dict(zip(self.columns, means, strict=True))


def prepare(text: str, dataset_name: str, device: str, folder: Path) -> Validation:
    """Return the validation of a method on a data set, whose images must all be there."""
    dataset, _ = datasets.placed(datasets.check_queries(datasets.load(dataset_name)))
    extract.check_files(dataset.folder, [*dataset.database, *dataset.queries])
    return Validation(text, dataset, device, folder)


def describe(
    loaded: engine.Loaded, dataset: Dataset, images: tuple[Image, ...], what: str
) -> Matrix:
    """Return the rows of images."""
    with Progress(f"validate, {what}", len(images), brief=True) as progress:
        rows, faults = engine.rows_of(loaded, dataset.folder, images, progress)
    if faults:
        raise BenchError(
            f"{len(faults)} images of {dataset.name} cannot be decoded: "
            f"{first_few(faults.values(), 2)}"
        )
    return from_array(rows, what)
