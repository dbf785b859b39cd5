"""The walk from descriptors to scored ranks: codes, search, stages in order, suppression.

A run, brought descriptors and validation walk here; `bench.records.replay` walks the same list
from what a record keeps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.pipeline.space import Features, How, SearchSpace
from bench.rerank import suppression
from bench.scoring.scores import labelled_rows
from bench.search import compress, faiss_index, missing
from bench.search.compress import Compression
from bench.search.faiss_index import Index, Retrieved
from bench.search.missing import NOTHING, Missing
from bench.stage import Float64, Shape, Stage, Step, one_list
from bench.store.matrix import Matrix, check_block, count_rows
from bench.types import NO_ROW, Dataset, LabelledRanks, Ranking, Shortlist


@dataclass(frozen=True)
class Described:
    """What is searched and scored: a data set, rows of its database and distractors, of queries.

    Images that are `absent` have rows that nothing looks at. `features` gives the local features
    of queries and database rows, where a stage needs them.
    """

    dataset: Dataset
    database: Sequence[Matrix]
    queries: Sequence[Matrix]
    absent: Missing = NOTHING
    features: Features | None = None


@dataclass(frozen=True)
class Chain:
    """What is done with descriptors: codes, index, list stages in order; `depth` of the lists.

    `force` makes codes again that are there.
    """

    compression: Compression | None = None
    index: Index | None = None
    stages: Sequence[Stage] = ()
    depth: int = 100
    force: bool = False

    def lengths(self, dataset: Dataset) -> list[int]:
        """Return the length of the list of the search and of every stage, from the end back."""
        wanted = self.depth
        if dataset.groups is not None:
            wanted = max(wanted, suppression.depth_needed(dataset.groups, dataset.protocols))
        out = [wanted]
        for stage in reversed(self.stages):
            out.append(max(self.depth, stage.depth(out[-1], dataset.protocols)))
        return out[::-1]

    def needed(self, place: int, dataset: Dataset) -> int:
        """Return the least length of the list of the search (0) or of a stage (1, 2, …)."""
        if place < len(self.stages):
            after = self.lengths(dataset)[place + 1]
            return self.stages[place].depth(after, dataset.protocols)
        if dataset.groups is None:
            return 0
        return suppression.depth_needed(dataset.groups, dataset.protocols)

    def fit_to(self, dataset: Dataset, added: int, dim: int) -> Chain:
        """Return the chain for a data set with `added` distractors; refuse what does not fit."""
        areas, rows = dataset.areas, [len(dataset.database)]
        if areas is not None:
            asked = np.isin(areas.database, areas.queries)
            rows = np.unique(areas.database[asked], return_counts=True)[1].tolist()
        shape = Shape(
            min(rows) + added, max(rows) + added, len(dataset.queries), dim, dataset.protocols
        )
        return replace(self, stages=tuple(stage.fit_to(shape) for stage in self.stages))


@dataclass(frozen=True, eq=False)
class Walked:
    """What a walk gives, in the numbering of the data set.

    `before` is the ranking of the search, `steps` what each stage made of it, `ranks` what is
    scored, one per protocol. `parts` and `queries` are the rows that were searched, of the least
    and largest norm in `norms`. Where an index was asked, `exact` and `retrieved` say what it lost
    and took.
    """

    before: Ranking
    steps: tuple[Step, ...]
    ranks: tuple[LabelledRanks, ...]
    parts: Sequence[Matrix]
    queries: Sequence[Matrix]
    norms: tuple[float, float]
    phases_s: Mapping[str, float]
    exact: Ranking | None = None
    retrieved: Retrieved | None = None

    @property
    def last(self) -> Ranking:
        """Return the ranking after all stages."""
        return self.steps[-1].ranking if self.steps else self.before


def walk(given: Described, chain: Chain, how: How) -> Walked:
    """Search, apply the stages in order, put missing images back, suppress; nothing is written.

    Raises BenchError for rows that are no descriptors, and for lists too short for a stage.
    """
    parts, encoding = _codes(missing.without(given.database, given.absent.database), chain)
    queries = missing.without(given.queries, given.absent.queries)
    space, lengths = _space(given, parts, queries, how), chain.lengths(given.dataset)
    whole = _Whole(given, count_rows(list(given.database)), chain.index is not None)
    timed = space.exactly(space.queries, lengths[0])
    phases = {**encoding, "search": timed.seconds}
    found = one_list(timed.found.ranks, timed.found.shortlist, len(given.dataset.protocols))
    exactly, retrieved = None, None
    if chain.index is not None:
        exactly = replace(whole, approximate=False).ranking(found, lengths[0])
        start = time.perf_counter()
        space = replace(space, index=faiss_index.build(chain.index, parts))
        found, retrieved = space.approximately(space.queries, lengths[0])
        phases["approximate search"] = time.perf_counter() - start
        _check_length(found, chain, 0, given.dataset, count_rows(parts))
    before = last = whole.ranking(found, lengths[0])
    steps = []
    for place, (stage, length) in enumerate(zip(chain.stages, lengths[1:], strict=True), start=1):
        if stage.searches_again and len(found.shortlist) > 1:
            raise BenchError(
                f"--stage {stage.name} searches again, after lists that differ by protocol; put "
                "it before the stage that uses labels."
            )
        step = stage.apply(found, space, length)
        if stage.searches_again and chain.index is not None:
            _check_length(step.ranking, chain, place, given.dataset, count_rows(parts))
        if not stage.searches_again and not step.arrays:
            raise BenchError(f"the stage {stage.name} gives no number per place for the record.")
        kept = length if stage.searches_again else last.shortlist[0].row.shape[1]
        steps.append(whole.step(step, found, last, kept))
        found, last, phases = step.ranking, steps[-1].ranking, {**phases, **step.phases_s}
    ranks = suppression.scored(last, given.dataset.groups)
    return Walked(before, tuple(steps), ranks, parts, queries, timed.found.norms, phases,
                  exactly, retrieved)  # fmt: skip


def _codes(parts: list[Matrix], chain: Chain) -> tuple[list[Matrix], dict[str, float]]:
    """Return the parts as they are searched, and the seconds that took; refuse what is too few."""
    choice, dim, n_rows = chain.compression, parts[0].shape[1], count_rows(parts)
    compress.code(choice, dim, n_rows)
    faiss_index.code(chain.index, dim, n_rows)
    if choice is None:
        return parts, {}
    start = time.perf_counter()
    parts = compress.compress(parts, choice, force=chain.force)
    return parts, {f"compress to {choice.name}": time.perf_counter() - start}


def _space(
    given: Described, parts: Sequence[Matrix], queries: Sequence[Matrix], how: How
) -> SearchSpace:
    """Return what is searched, without what is missing."""
    dataset, absent = given.dataset, given.absent
    n_rows = count_rows(list(given.database))
    labelled = missing.labels_without(labelled_rows(dataset.protocols), absent, n_rows)
    return SearchSpace(
        parts,
        _query_rows(list(queries)),
        labelled,
        missing.protocols_without(dataset.protocols, absent, n_rows),
        missing.numbers_without(absent.database, n_rows),
        missing.numbers_without(absent.queries, len(dataset.queries)),
        missing.areas_without(dataset.areas, absent),
        how,
        features=given.features,
    )


def _query_rows(parts: list[Matrix]) -> Float64:
    queries = np.concatenate([np.asarray(part.open()) for part in parts])
    check_block(parts, 0, queries)
    rows: Float64 = queries.astype(np.float64)
    return rows


def _check_length(found: Ranking, chain: Chain, place: int, dataset: Dataset, n_rows: int) -> None:
    """Refuse lists that an index cut short of what the next stage, or suppression, needs."""
    length, wanted = found.shortlist[0].row.shape[1], min(chain.needed(place, dataset), n_rows)
    if length < wanted:
        names = [stage.name for stage in chain.stages[place : place + 1]]
        what = names[0].replace("rerank", "re-ranking") if names else "suppression"
        raise BenchError(
            f"{what} needs lists of {wanted} images, and the index found only {length} for "
            "some query; look into more lists (nprobe) or ask for a longer list (k)."
        )


@dataclass(frozen=True)
class _Whole:
    """Puts missing images back: all rows and queries of a data set, in its numbering."""

    given: Described
    n_rows: int
    approximate: bool

    def ranking(self, found: Ranking, depth: int) -> Ranking:
        """Return a ranking with missing images where they belong."""
        pairs = [
            self._pair(*pair, depth) for pair in zip(found.ranks, found.shortlist, strict=True)
        ]
        return Ranking(tuple(r for r, _ in pairs), tuple(s for _, s in pairs), found.of)

    def step(self, step: Step, found: Ranking, before: Ranking, depth: int) -> Step:
        """Return a step in the numbering of the data set; `found` and `before` are what it got."""
        arrays = {
            name: tuple(
                self._places(np.asarray(array, np.float64) if name == "strength" else array, *lists)
                for array, *lists in zip(some, found.shortlist, before.shortlist, strict=True)
            )
            for name, some in step.arrays.items()
        }
        return replace(step, ranking=self.ranking(step.ranking, depth), arrays=arrays)

    def _pair(
        self, ranks: LabelledRanks, listed: Shortlist, depth: int
    ) -> tuple[LabelledRanks, Shortlist]:
        dataset, absent = self.given.dataset, self.given.absent
        wanted = labelled_rows(dataset.protocols)
        if self.approximate:
            return missing.restore_retrieved(ranks, listed, wanted, absent, self.n_rows)
        return missing.restore(ranks, listed, wanted, absent, self.n_rows, depth, dataset.areas)

    def _places(self, array: NDArray[Any], found: Shortlist, before: Shortlist) -> NDArray[Any]:
        """Return an array of one number per place with places for what is missing."""
        fill = -1 if array.dtype.kind == "i" else np.nan
        out = np.full(before.row.shape, fill, dtype=array.dtype)
        asked = missing.numbers_without(self.given.absent.queries, len(out))
        width = min(array.shape[1], out.shape[1])
        out[asked, :width] = np.where(found.row == NO_ROW, fill, array)[:, :width]
        return out
