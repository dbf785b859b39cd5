"""The walk from descriptors to scored ranks: stages on rows, codes, search, stages on lists.

A run, brought descriptors and validation walk here; `bench.records.replay` walks the same list
from what a record keeps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench import stages
from bench.errors import BenchError
from bench.pipeline.chain import Chain
from bench.pipeline.ground import Ground
from bench.pipeline.lists import Lists
from bench.pipeline.rows import RowChain
from bench.pipeline.space import Features, How, SearchSpace
from bench.ranking import one_list
from bench.rerank import suppression
from bench.search import faiss_index
from bench.search.faiss_index import Retrieved
from bench.stage import Need, Step
from bench.store.matrix import count_rows
from bench.types import LabelledRanks, Ranking


@dataclass(frozen=True)
class Inputs:
    """The inputs of a walk besides rows: queries and labels, and the data that stages need.

    `features` gives the local features of queries and database rows, `supplied` other descriptors,
    those of the same images numbered as the rows are.
    """

    ground: Ground
    features: Features | None = None
    supplied: Mapping[Need, Lists] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class First:
    """What the search gave: `found`, and the same, `before` all stages, with missing images.

    `norms` are the least and largest of the rows that were searched. Where an index was asked,
    `exact` and `retrieved` say what it lost and took.
    """

    space: SearchSpace
    found: Ranking
    before: Ranking
    norms: tuple[float, float]
    phases_s: Mapping[str, float]
    exact: Ranking | None = None
    retrieved: Retrieved | None = None


@dataclass(frozen=True, eq=False)
class Walked:
    """What a walk gives, in the numbering of the data set.

    `steps` are what each list stage made of the ranking of the search, `ranks` what is scored, one
    per protocol; `rows` are those after each stage on rows.
    """

    first: First
    steps: Sequence[Step]
    ranks: tuple[LabelledRanks, ...]
    rows: Sequence[Lists]
    phases_s: Mapping[str, float]


def walk(lists: Lists, asked: Inputs, chain: Chain, how: How) -> Walked:
    """Search, apply the stages in order, put missing images back, suppress; nothing is recorded.

    `lists` are the rows of database, distractors and queries that have a descriptor. Raises
    BenchError for rows that are not descriptors, and for lists too short for a stage.
    """
    ground, made = asked.ground, RowChain(chain.rows, asked.supplied, how, chain.force)
    made_rows = made.through(lists, ground)
    rows = [after for after, _ in made_rows]
    phases = {stage.name: took for stage, (_, took) in zip(chain.rows, made_rows, strict=True)}
    whole = rows[-1] if rows else lists
    coded, encoding = chain.coded(whole, asked.supplied)
    space = SearchSpace(coded, ground, how, None, asked.features, whole)
    first = _search(space, ground, chain)
    steps = _steps(first, ground, chain)
    for some in (encoding, first.phases_s, *(step.phases_s for step in steps)):
        phases |= some
    last = steps[-1].ranking if steps else first.before
    ranks = suppression.scored(last, ground.dataset.groups)
    return Walked(first, steps, ranks, rows, phases)


def _search(space: SearchSpace, ground: Ground, chain: Chain) -> First:
    """Search exactly and, where the chain has one, with an index."""
    depth = chain.lengths(ground.dataset)[0]
    timed = space.exactly(space.queries, depth)
    found = one_list(timed.found.ranks, timed.found.shortlist, len(ground.protocols))
    exact = ground.ranking(found, depth, approximate=False)
    phases = {"search": timed.seconds}
    if chain.index is None:
        return First(space, found, exact, timed.found.norms, phases)
    start = time.perf_counter()
    space = replace(space, index=faiss_index.build(chain.index, space.parts))
    found, retrieved = space.approximately(space.queries, depth)
    phases["approximate search"] = time.perf_counter() - start
    chain.check_length(_length(found), 0, ground.dataset, count_rows(space.parts))
    before = ground.ranking(found, depth, approximate=True)
    return First(space, found, before, timed.found.norms, phases, exact, retrieved)


def _steps(first: First, ground: Ground, chain: Chain) -> list[Step]:
    """Apply the stages on lists in order; each step is in the numbering of the data set."""
    space, found, last = first.space, first.found, first.before
    approximate, out = chain.index is not None, list[Step]()
    lengths = chain.lengths(ground.dataset)[1:]
    for place, (stage, length) in enumerate(zip(chain.lists, lengths, strict=True), start=1):
        if stage.searches_again and len(found.shortlist) > 1:
            raise BenchError(
                f"--stage {stage.name} searches again, which needs one list for all protocols; "
                "put it before the stage that uses labels."
            )
        with stages.own_code(stage):
            step = stage.apply(found, space, length)
        if stage.searches_again and approximate:
            rows = count_rows(space.parts)
            chain.check_length(_length(step.ranking), place, ground.dataset, rows)
        if not stage.searches_again and not step.arrays:
            raise BenchError(
                f"the stage {stage.name} must return one number per place for the record."
            )
        kept = length if stage.searches_again else last.shortlist[0].row.shape[1]
        out.append(ground.step(step, found, last, kept, approximate=approximate))
        found, last = step.ranking, out[-1].ranking
    return out


def _length(found: Ranking) -> int:
    return int(found.shortlist[0].row.shape[1])
