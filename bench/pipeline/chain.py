"""What is done with descriptors: stages on rows, codes, an index, stages on lists, in order."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from bench import stages
from bench.errors import BenchError
from bench.pipeline.lists import Lists
from bench.pipeline.options import Options
from bench.rerank import suppression
from bench.search import compress, faiss_index
from bench.search.compress import Compression
from bench.search.faiss_index import Index
from bench.stage import Cost, Facts, ListStage, Need, RowStage, Shape, Stage
from bench.store.matrix import count_rows
from bench.types import Dataset

CODES = Need("codes", lists=("database", "queries"))  # where codes are those of the method


@dataclass(frozen=True)
class Chain:
    """Stages in order of application; codes and an index between those on rows and on lists.

    `depth` is the length of the lists; `force` recomputes stored rows and codes. `costs` are those
    of the stages, once they are fitted to a data set.
    """

    compression: Compression | None = None
    index: Index | None = None
    stages: Sequence[Stage] = ()
    depth: int = 100
    force: bool = False
    costs: Sequence[Cost] = ()

    @property
    def rows(self) -> list[RowStage]:
        """Return the stages on descriptors."""
        return [cast("RowStage", stage) for stage in self.stages if stage.place == "rows"]

    @property
    def lists(self) -> list[ListStage]:
        """Return the stages on rankings."""
        return [cast("ListStage", stage) for stage in self.stages if stage.place == "list"]

    def dim(self, described: int) -> int:
        """Return the dimension that is searched, of descriptors of `described` dimensions."""
        for stage in self.rows:
            described = stage.dim(described)
        return described

    def lengths(self, dataset: Dataset) -> list[int]:
        """Return the length of the list of the search and of every stage, from the end back."""
        wanted = self.depth
        if dataset.groups is not None:
            wanted = max(wanted, suppression.depth_needed(dataset.groups, dataset.protocols))
        out = [wanted]
        for stage in reversed(self.lists):
            out.append(max(self.depth, stage.depth(out[-1], dataset.protocols)))
        return out[::-1]

    def needed(self, place: int, dataset: Dataset) -> int:
        """Return the least length of the list of the search (0) or of a list stage (1, 2, …)."""
        if place < len(self.lists):
            after = self.lengths(dataset)[place + 1]
            return self.lists[place].depth(after, dataset.protocols)
        if dataset.groups is None:
            return 0
        return suppression.depth_needed(dataset.groups, dataset.protocols)

    def fit_to(
        self, dataset: Dataset, added: int, dim: int, facts: Mapping[Need, Facts] | None = None
    ) -> Chain:
        """Return the chain for a data set with `added` distractors; refuse what does not fit.

        `facts` are those of the needs for descriptors of other images or methods.
        """
        shape, fitted = shape_of(dataset, added, dim), list[Stage]()
        inexact = self.compression is not None or self.index is not None
        shape, costs = replace(shape, inexact=inexact), list[Cost]()
        for stage in self.stages:
            if stage.place == "rows" and any(before.place == "list" for before in fitted):
                raise BenchError(
                    f"--stage {stage.name} changes descriptors, before the search, but "
                    f"{fitted[-1].name} changes lists, after it; put {stage.name} first."
                )
            facts_of = _facts(stage, shape, facts or {})
            with stages.own_code(stage):
                fitted.append(stage.fit_to(replace(shape, facts=facts_of)))
                costs.append(fitted[-1].cost(replace(shape, facts=facts_of)))
            if stage.place == "rows":
                shape = replace(shape, dim=cast("RowStage", fitted[-1]).dim(shape.dim))
        chain = replace(self, stages=tuple(fitted), costs=tuple(costs))
        if self.index is not None:
            for place in range(len(chain.lists) + 1):
                if place == 0 or chain.lists[place - 1].searches_again:
                    chain.check_length(min(self.index.k, shape.rows), place, dataset, shape.rows)
        return chain

    def check_length(self, length: int, place: int, dataset: Dataset, n_rows: int) -> None:
        """Refuse lists of an index that are too short for what is done with them.

        `length` is that of the search (place 0), or of the search of a list stage (1, 2, …).
        """
        wanted = min(self.needed(place, dataset), n_rows)
        if length < wanted:
            names = [stage.name for stage in self.lists[place : place + 1]]
            what = names[0].replace("rerank", "re-ranking") if names else "suppression"
            raise BenchError(
                f"{what} needs lists of {wanted} images, but those of the index have {length}; "
                "search more cells (nprobe), or use a longer list (k) or a shorter --shortlist."
            )

    def coded(self, lists: Lists, supplied: Mapping[Need, Lists]) -> tuple[Lists, dict[str, float]]:
        """Return the rows as they are searched, and the seconds that took; refuse too few rows.

        Of `supplied` are the method's own codes, where these are searched.
        """
        choice, source = self.compression, supplied.get(CODES, lists)
        parts = list(source.database)
        dim, n_rows = parts[0].shape[1], count_rows(parts)
        compress.code(choice, dim, n_rows)
        faiss_index.code(self.index, dim, n_rows)
        if choice is None:
            return lists, {}
        start = time.perf_counter()
        coded = replace(
            lists,
            database=compress.compress(parts, choice, force=self.force),
            queries=compress.compress_queries(source.queries, parts, choice),
        )
        return coded, {f"compress to {choice.name}": time.perf_counter() - start}

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of a card for the stages."""
        return [entry_of(stage) for stage in self.stages]


def shape_of(dataset: Dataset, added: int, dim: int) -> Shape:
    """Return what stages have to fit: a data set with `added` distractors."""
    areas, rows = dataset.areas, [len(dataset.database)]
    if areas is not None:
        asked = np.isin(areas.database, areas.queries)
        rows = np.unique(areas.database[asked], return_counts=True)[1].tolist()
    least, most, protocols = min(rows) + added, max(rows) + added, dataset.protocols
    return Shape(
        least,
        most,
        len(dataset.queries),
        dim,
        protocols,
        rows=len(dataset.database) + added,
        added=added,
        areas=1 if areas is None else len(np.unique(areas.queries)),
    )


def _facts(stage: Stage, shape: Shape, facts: Mapping[Need, Facts]) -> tuple[Facts, ...]:
    """Return the facts of a stage's needs for descriptors, in their order."""
    evaluated = Facts(shape.rows, shape.dim, evaluated=True)
    needs = [need for need in stage.needs() if need.role != "local"]
    return tuple(
        evaluated if (need.role, need.source) == ("fit", None) else facts[need] for need in needs
    )


def entry_of(stage: Stage) -> dict[str, Any]:
    """Return the entries of a card for a stage, with what it uses besides a query and its rows.

    The rule of candidates says it of verification. For a stage of the user, the card has the hash
    of its file.
    """
    entry = dict(stage.entry())
    if stage.uses and "candidates" not in entry:
        entry["uses"] = sorted(stage.uses)
    digest = stages.digest_of(stage)
    return entry if digest is None else {**entry, stages.FILE_SHA256: digest}


def with_codes(options: Options) -> Options:
    """Return the options with codes that are named as a stage in the place of `compression`."""
    names = [stages.split(text)[0] for text in options.stages]
    codes = [place for place, name in enumerate(names) if _is_code(name)]
    if not codes:
        return options
    (place, *more), text = codes, options.stages[codes[0]]
    if more or options.compression != "none":
        raise BenchError(f"--stage {text}: rows can be compressed only once; name one compression.")
    if text != names[place]:
        raise BenchError(f"--stage {text}: {names[place]} has no options.")
    before, after = set(names[:place]), set(names[place + 1 :])
    if before & stages.ON_LISTS.keys() or after & stages.ON_ROWS.keys():
        raise BenchError(
            f"--stage {text} compresses the searched rows: put it after the stages on "
            "descriptors and before those on lists."
        )
    left = (*options.stages[:place], *options.stages[place + 1 :])
    return replace(options, stages=left, compression=text)


def _is_code(name: str) -> bool:
    return name in compress.SCALAR or re.fullmatch("pq[0-9]+x[0-9]+", name) is not None


def chain_of(options: Options, stages: Sequence[Stage] = ()) -> Chain:
    """Return the chain that the options name, with stages that were made before."""
    return Chain(
        compress.parse(options.compression),
        faiss_index.parse(options.search),
        tuple(stages),
        options.shortlist,
        options.force,
    )
