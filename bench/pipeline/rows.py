"""Stages on descriptors: each makes other rows of all it is given, kept on disk by block.

What is kept is named by the rows it was made from, the entry of the stage and its code number, so
the chain before a stage is part of its key; what is learned is kept by what it is learned on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench import stages
from bench.errors import BenchError
from bench.pipeline.ground import Ground
from bench.pipeline.lists import Lists, Table, pairs_of
from bench.pipeline.space import How, SearchSpace
from bench.stage import Block, Need, RowStage, Side, Space, Supply
from bench.store import derived, room
from bench.store.matrix import Matrix, check_block, count_rows
from bench.system.hashing import sha256_json

CODE_VERSION = 1
KIND = "stages"  # the folder of the cache


@dataclass(frozen=True)
class RowChain:
    """Stages on descriptors in order.

    `supplied` are the descriptors that they need besides; `force` recomputes stored rows.
    """

    stages: Sequence[RowStage]
    supplied: Mapping[Need, Lists]
    how: How
    force: bool = False

    def through(
        self,
        lists: Lists,
        ground: Ground | None,
        source: str | None = None,
        last: int | None = None,
    ) -> list[tuple[Lists, float]]:
        """Return the rows after each stage, or after the first `last`, and the seconds it took.

        Rows of another `source` than the evaluated data have no `ground`.
        """
        out = []
        for place, stage in enumerate(self.stages[:last]):
            start = time.perf_counter()
            space = SearchSpace(lists, ground, self.how)
            lists = self._after(place, stage, space, source)
            out.append((lists, time.perf_counter() - start))
        return out

    def of_query(
        self, place: int, lists: Lists, ground: Ground | None
    ) -> Callable[[int], object] | None:
        """Return what takes one query, by number, through a stage; None: the stage leaves it.

        `lists` are the rows before the stage, which `through` has taken through it already.
        """
        stage = self.stages[place]
        if "queries" not in stage.sides:
            return None
        space = SearchSpace(lists, ground, self.how)
        _, fitted = self._fitted(place, stage, space, None)
        second = self._second(stage, None)
        other = None if second is None else Table(second.queries)
        work = _Work(stage, Table(lists.queries), "queries", fitted, other, space)
        return lambda query: work.block(query, query + 1)

    def _after(self, place: int, stage: RowStage, space: SearchSpace, source: str | None) -> Lists:
        lists = space.searched
        fit, fitted = self._fitted(place, stage, space, source)
        second = self._second(stage, source)
        made = {
            side: self._side(stage, side, space, (fit, fitted), second)
            for side in stage.sides
            if getattr(lists, side)
        }
        return replace(
            lists,
            database=made.get("database", lists.database),
            queries=made.get("queries", lists.queries),
        )

    def _side(
        self,
        stage: RowStage,
        side: Side,
        space: SearchSpace,
        learned: tuple[str | None, Mapping[str, NDArray[Any]]],
        second: Lists | None,
    ) -> list[Matrix]:
        """Return one list after a stage."""
        (fit, fitted), lists = learned, space.searched
        rows: Sequence[Matrix] = getattr(lists, side)
        other = None if second is None else Table(getattr(second, side))
        key = _key(stage, side, rows) | {
            "of": [derived.base_of(lists.database), _groups(space)],
            "fit": fit,
            "second": None if other is None else derived.base_of(other.parts),
        }
        return _Work(stage, Table(rows), side, fitted, other, space).kept(key, force=self.force)

    def _fitted(
        self, place: int, stage: RowStage, space: SearchSpace, source: str | None
    ) -> tuple[str | None, Mapping[str, NDArray[Any]]]:
        """Return what a stage learned, and the name of where it is kept."""
        if not stage.learned:
            return None, {}
        sources = [
            self._given(place, need, space, source) for need in stage.needs() if need.role == "fit"
        ]
        key = _key(stage, "fit", [part for source in sources for part in source.database]) | {
            "pairs": [None if g.pairs is None else sha256_json(g.pairs.tolist()) for g in sources],
            "arrays": [f"{name}.npy" for name in stage.learned],
        }
        folder, made = derived.open_folder(KIND, key, force=self.force), dict[str, Any]()

        def array(name: str) -> NDArray[Any]:
            if not made:
                supplies = [Supply(Table(g.database), pairs=g.pairs) for g in sources]
                # One thread, so that the bits do not depend on their number.
                with threadpool_limits(1, "blas"), stages.own_code(stage):
                    made.update(stage.fit(supplies))
            if name not in made:
                raise BenchError(
                    f"the stage {stage.name} states that it learns {name}, but does not return it."
                )
            return np.asarray(made[name])

        with folder.lock():
            fitted = {name: folder.array(name, partial(array, name)) for name in stage.learned}
        return folder.path.name, fitted

    def _given(self, place: int, need: Need, space: SearchSpace, source: str | None) -> Lists:
        """Return what a stage is fitted on, as the stages before it leave it: all as one list."""
        if need.source in (None, source):
            out = replace(space.searched, queries=())
            if "pairs" in need.lists and need.source is None:
                out = replace(space.searched, pairs=pairs_of(space.protocols))
        else:
            out = self.supplied[need]
            for after, _ in self.through(out, None, need.source, place):
                out = after
        if out.pairs is None or not out.queries:
            return out
        shifted = out.pairs + np.array([count_rows(out.database), 0])
        return Lists([*out.database, *out.queries], (), shifted)

    def _second(self, stage: RowStage, source: str | None) -> Lists | None:
        """Return the rows of the other method, of the same images as `source`."""
        needs = [need for need in stage.needs() if need.role == "second"]
        return self.supplied[replace(needs[0], source=source or needs[0].source)] if needs else None


@dataclass(frozen=True)
class _Work:
    """The rows of a list through a stage."""

    stage: RowStage
    rows: Table
    side: Side
    fitted: Mapping[str, NDArray[Any]]
    second: Table | None
    space: Space

    def kept(self, key: Mapping[str, Any], *, force: bool) -> list[Matrix]:
        """Return the rows as they are kept; what is not, is made."""
        count, dim = self.rows.shape[0], self.stage.dim(self.rows.shape[1])
        label = f"{self.stage.name} of {self.rows.parts[0].label}"
        folder = derived.open_folder(KIND, dict(key) | {"dim": dim}, force=force)
        if not (folder.path / derived.part_name(0)).exists():
            room.check_room([room.Need(folder.path, 4 * count * dim, label)])
        with folder.lock():
            files = folder.rows(count, self.block, f"{self.stage.name}, {self.side}")
        return derived.matrices(files, dim, label, key=folder.path.name)

    def block(self, low: int, high: int) -> NDArray[np.float32]:
        """Return the rows low:high after the stage, or refuse rows that are not descriptors."""
        number = np.arange(low, high, dtype=np.int64)
        second = None if self.second is None else self.second.take(number)
        rows = self.rows.take(number)
        check_block(self.rows.parts, low, rows)
        with threadpool_limits(1, "blas"):
            block = Block(self.side, number, rows, self.fitted, second, self.space)
            with stages.own_code(self.stage):
                made = np.asarray(self.stage.transform(block))
        dim = self.stage.dim(self.rows.shape[1])
        if made.shape != (high - low, dim) or made.dtype.kind not in "fiu":
            raise BenchError(
                f"the stage {self.stage.name} returned {made.dtype} of shape {made.shape} for "
                f"{high - low} rows; it must return numbers of {dim} dimensions."
            )
        label = f"{self.stage.name} of {self.rows.parts[0].label}"
        return check_block([Matrix(label, (high, dim))], low, made)[0]


def _key(stage: RowStage, side: str, rows: Sequence[Matrix]) -> dict[str, Any]:
    return {
        "code": CODE_VERSION,
        "stage": dict(stage.entry()),
        "stage_code": stages.code_of(stage),
        "side": side,
        "base": derived.base_of(rows),
    }


def _groups(space: Space) -> str | None:
    """Return what areas the rows are searched in: None where there is one."""
    if len(space.groups) == 1:
        return None
    return sha256_json([[group.rows.tolist(), group.queries.tolist()] for group in space.groups])


def files_of(key: Mapping[str, Any]) -> list[str]:
    """Return the names of the arrays of a key."""
    if "arrays" in key:
        return [str(name) for name in key["arrays"]]
    count = -(-derived.rows_of(key) // derived.ROWS_PER_FILE)
    return [derived.part_name(number) for number in range(count)]


def named(key: Mapping[str, Any]) -> str:
    """Return the name of the stage of a key, and the kind of its stored part."""
    return f"{key['stage']['stage']} {key['side']}"
