"""Labels and areas of a search without missing images, and the restoration of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.scores import labelled_rows
from bench.search import missing
from bench.search.missing import NOTHING, Missing
from bench.stage import Step
from bench.types import NO_ROW, Areas, Dataset, LabelledRanks, Protocol, Ranking, Rows, Shortlist


@dataclass(frozen=True)
class Ground:
    """A data set, its database and distractors `n_rows` rows, with images that are `absent`.

    What it gives is numbered without missing images, as a search is; `ranking` and `step` give
    what was found in the numbering of the data set.
    """

    dataset: Dataset
    n_rows: int
    absent: Missing = NOTHING

    @cached_property
    def labelled(self) -> list[Rows]:
        """Return the rows to rank of every query."""
        wanted = labelled_rows(self.dataset.protocols)
        return missing.labels_without(wanted, self.absent, self.n_rows)

    @cached_property
    def protocols(self) -> Sequence[Protocol]:
        """Return the ground truth."""
        return missing.protocols_without(self.dataset.protocols, self.absent, self.n_rows)

    @cached_property
    def areas(self) -> Areas | None:
        """Return the areas that queries search, where there are any."""
        return missing.areas_without(self.dataset.areas, self.absent)

    @cached_property
    def row_of(self) -> Rows:
        """Return the row of the data set, or of its distractors, of every row."""
        return missing.numbers_without(self.absent.database, self.n_rows)

    @cached_property
    def query_of(self) -> Rows:
        """Return the query of the data set of every query."""
        return missing.numbers_without(self.absent.queries, len(self.dataset.queries))

    def ranking(self, found: Ranking, depth: int, *, approximate: bool) -> Ranking:
        """Return a ranking with missing images: last, or, as an index is, without them."""
        pairs = [
            self._pair(*pair, depth, approximate=approximate)
            for pair in zip(found.ranks, found.shortlist, strict=True)
        ]
        return Ranking(tuple(r for r, _ in pairs), tuple(s for _, s in pairs), found.of)

    def step(
        self, step: Step, found: Ranking, before: Ranking, depth: int, *, approximate: bool
    ) -> Step:
        """Return a step in the numbering of the data set; `found` and `before` are what it got."""
        arrays = {
            name: tuple(
                self._places(np.asarray(array, np.float64) if name == "strength" else array, *lists)
                for array, *lists in zip(some, found.shortlist, before.shortlist, strict=True)
            )
            for name, some in step.arrays.items()
        }
        ranking = self.ranking(step.ranking, depth, approximate=approximate)
        return replace(step, ranking=ranking, arrays=arrays)

    def _pair(
        self, ranks: LabelledRanks, listed: Shortlist, depth: int, *, approximate: bool
    ) -> tuple[LabelledRanks, Shortlist]:
        dataset, absent = self.dataset, self.absent
        wanted = labelled_rows(dataset.protocols)
        if approximate:
            return missing.restore_retrieved(ranks, listed, wanted, absent, self.n_rows)
        return missing.restore(ranks, listed, wanted, absent, self.n_rows, depth, dataset.areas)

    def _places(self, array: NDArray[Any], found: Shortlist, before: Shortlist) -> NDArray[Any]:
        """Return an array of one number per place with places for what is missing."""
        fill = -1 if array.dtype.kind == "i" else np.nan
        out = np.full(before.row.shape, fill, dtype=array.dtype)
        width = min(array.shape[1], out.shape[1])
        out[self.query_of, :width] = np.where(found.row == NO_ROW, fill, array)[:, :width]
        return out
