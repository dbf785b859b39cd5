"""What a stage is: what comes between descriptors and scores, one module each.

A stage is an object with the attributes of `Stage` and, by its place, of `RowStage` (descriptors,
before the search) or `ListStage` (rankings, after it); a file of a user's own need import nothing
from here. Rows and queries that a stage sees have a descriptor: missing images, areas, distractors,
an index or a cluster are the business of the `Space` that it is given. How a stage is written and
named on the command line: `bench/rerank/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from bench.types import (
    LocalFeatures,
    Protocol,
    Ranking,
    Rows,
)

Float64 = NDArray[np.float64]
Place = Literal["rows", "list"]
Side = Literal["database", "queries"]
Arrays = Mapping[str, Sequence[NDArray[Any]]]


@dataclass(frozen=True)
class Need:
    """Descriptors or local features that must exist before a stage can be applied.

    role    "fit": what a stage is fitted on; "second": another method's; "codes": the bits of a
            method's second output; "local": local features
    method  None: the run's own, with the run's own preprocessing
    source  a data set or a file; None: the lists that are evaluated
    lists   which of them
    """

    role: Literal["fit", "second", "codes", "local"]
    method: str | None = None
    source: str | None = None
    lists: tuple[Literal["database", "queries", "pairs"], ...] = ("database",)

    @property
    def beside(self) -> bool:
        """Return whether it asks for more rows of the same images that are evaluated."""
        return self.role in ("second", "codes") and self.source is None


@dataclass(frozen=True)
class Facts:
    """What is known of a need before any work: numbers of rows and pairs, dimension.

    `about` is its entry on a card, in codes. `evaluated` says that its images are among those that
    are evaluated, so that fitting on them is transductive.
    """

    rows: int
    dim: int
    pairs: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)
    evaluated: bool = False


@dataclass(frozen=True)
class Shape:
    """What a stage has to fit: rows that a query searches (least and most), queries, dimension.

    `facts` are those of the stage's needs for descriptors, in their order. `rows` counts the
    database and its distractors, `added` the latter; `areas` are the searches that queries are
    divided into. `inexact` says that codes or an index are searched.
    """

    least_rows: int
    most_rows: int
    queries: int
    dim: int
    protocols: tuple[Protocol, ...] = ()
    facts: tuple[Facts, ...] = ()
    rows: int = 0
    added: int = 0
    areas: int = 1
    inexact: bool = False


@dataclass(frozen=True)
class Cost:
    """What a stage takes at most: memory besides the rows, and floating-point operations."""

    bytes: int = 0
    operations: float = 0.0


@dataclass(frozen=True, eq=False)
class Group:
    """Queries that search the same rows: all of them, or those of an area. int64, ascending."""

    queries: Rows
    rows: Rows


@dataclass(frozen=True, eq=False)
class Local:
    """Local features of queries and database rows: how they are read, and what they take.

    `features_per_image` and `bytes_per_image` are means over the database rows.
    """

    of_query: Callable[[int], LocalFeatures]
    of_row: Callable[[int], LocalFeatures]
    features_per_image: float
    bytes_per_image: float
    phases_s: Mapping[str, float] = field(default_factory=dict)


class Table(Interface):
    """Rows of descriptors, read a block at a time; all of them are finite and not zero."""

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and the dimension."""
        ...

    def take(self, numbers: Rows) -> Float64:
        """Return rows by number (n, dim)."""
        ...

    def blocks(self, rows: int = 4096) -> Iterator[tuple[int, Float64]]:
        """Yield the number of a first row, and that row and those behind it, in order."""
        ...


@dataclass(frozen=True, eq=False)
class Supply:
    """The descriptors of a need: rows, and pairs (n, 2) of numbers of matching rows."""

    database: Table
    queries: Table | None = None
    pairs: Rows | None = None


class Space(Interface):
    """The search as seen by a stage: rows and queries are numbered without missing ones."""

    @property
    def groups(self) -> Sequence[Group]:
        """Return the queries that search the same rows, and these rows."""
        ...

    @property
    def queries(self) -> Float64:
        """Return the queries (n_queries, dim)."""
        ...

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Return the ground truth in this numbering."""
        ...

    def rows(self, numbers: Rows) -> Float64:
        """Return database rows as they are searched (n, dim): decoded, where compressed."""
        ...

    def uncoded(self, numbers: Rows) -> Float64:
        """Return database rows (n, dim) as they were before a compression."""
        ...

    @property
    def uncoded_queries(self) -> Float64:
        """Return the queries (n_queries, dim) as they were before a compression."""
        ...

    def search(self, queries: Float64, depth: int) -> Ranking:
        """Search with other queries (n_queries, dim), exactly or with the run's index."""
        ...

    @property
    def uncoded_bytes(self) -> int:
        """Return the bytes of a database row as it was before a compression."""
        ...

    def ranked(self, scores: Sequence[Float64], depth: int) -> Ranking:
        """Return the ranking of scores: for each query one for every row of its group."""
        ...

    def local(self, queries: Rows, rows: Rows) -> Local:
        """Return the local features of queries and rows, made before where they are not there."""
        ...

    def neighbours(self, numbers: Rows, k: int, group: Group) -> tuple[Rows, Float64]:
        """Return the `k` other rows of a group nearest to each row, and their scores (n, k)."""
        ...


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows on their way through a stage on descriptors.

    side    the list they are from
    number  of each row (n), int64; without missing images
    rows    the rows (n, dim) as the stage before left them
    fitted  what `RowStage.fit` returned
    second  the same rows by the method of the stage's need, where there is one
    space   what is searched so far, for neighbours
    """

    side: Side
    number: Rows
    rows: Float64
    fitted: Mapping[str, NDArray[Any]]
    second: Float64 | None
    space: Space


@dataclass(frozen=True, eq=False)
class Step:
    """What a stage did to lists.

    ranking       the ranking after it
    arrays        what a record keeps, by name: one number per place of the list before (n_queries,
                  depth), for every distinct list; NaN or -1 where a place has none
    ms_per_query  what each query took
    queries       the queries that were searched with (n_queries, dim), if others
    about         what a record says of it besides
    phases_s      seconds by phase
    export        what `evaluate --export` writes besides, by name
    """

    ranking: Ranking
    arrays: Mapping[str, tuple[NDArray[Any], ...]] = field(default_factory=dict)
    ms_per_query: tuple[float, ...] = ()
    queries: Float64 | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    phases_s: Mapping[str, float] = field(default_factory=dict)
    export: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Stage(Interface):
    """What every stage has: identity, needs, words."""

    @property
    def name(self) -> str:
        """Return its name on the command line and on the card."""
        ...

    @property
    def code(self) -> int:
        """Return a number that is raised when an entry gives other numbers than before."""
        ...

    @property
    def place(self) -> Place:
        """Return whether it changes rows, before the search, or lists, after it."""
        ...

    @property
    def uses(self) -> frozenset[str]:
        """Return what it looks at besides a query and its rows.

        "labels": lists differ by protocol; "queries" or "database": it is fitted on what is
        evaluated, and the card says transductive.
        """
        ...

    def needs(self) -> tuple[Need, ...]:
        """Return what must be described before."""
        ...

    def fit_to(self, shape: Shape) -> Stage:
        """Return the stage fitted to the search: defaults reduced, impossible values refused."""
        ...

    def entry(self) -> Mapping[str, Any]:
        """Return codes and numbers for `card.stages`: everything that can move a score."""
        ...

    def cost(self, shape: Shape) -> Cost:
        """Return its costs, which are printed before work and refused if too large."""
        ...

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return the entry as text, for printed lines and the report."""
        ...


class RowStage(Stage, Interface):
    """A stage on descriptors: other rows for the same images, made and kept block by block."""

    @property
    def sides(self) -> frozenset[Side]:
        """Return which rows it changes."""
        ...

    @property
    def learned(self) -> tuple[str, ...]:
        """Return the names of the arrays of `fit`: small letters, digits and '_'."""
        ...

    def dim(self, before: int) -> int:
        """Return the dimension of its rows."""
        ...

    def fit(self, supplies: Sequence[Supply]) -> Mapping[str, NDArray[Any]]:
        """Return the arrays learned once from its needs, in their order, for storing."""
        ...

    def transform(self, block: Block) -> Float64:
        """Return the rows (n, dim) that take the place of a block's."""
        ...


class ListStage(Stage, Interface):
    """A stage on rankings: from the ranking of a search to another one."""

    @property
    def searches_again(self) -> bool:
        """Return whether its ranking comes from a search of its own."""
        ...

    def depth(self, wanted: int, protocols: Sequence[Protocol]) -> int:
        """Return the length of list it needs so that the first `wanted` of its own are right."""
        ...

    def apply(self, before: Ranking, space: Space, depth: int) -> Step:
        """Return the ranking after the stage, and what a record keeps of it.

        Where it searches again its lists have the length `depth`, or that of all rows.
        """
        ...

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Return contradictions between a record and the stage that its card states.

        `arrays` are those of `Step`, one for every distinct list of `before`.
        """
        ...


class _Plain:
    name = ""
    code = 1
    uses: frozenset[str] = frozenset()

    def needs(self) -> tuple[Need, ...]:
        """Return nothing."""
        return ()

    def fit_to(self, shape: Shape) -> Any:
        """Return the stage as it is."""
        return self

    def cost(self, shape: Shape) -> Cost:
        """Return nothing worth a line."""
        return Cost()


class Simple(_Plain):
    """A list stage to derive from: it needs nothing, is fitted to nothing, and reorders lists."""

    place: Place = "list"
    searches_again = False

    def depth(self, wanted: int, protocols: Sequence[Protocol]) -> int:
        """Return the length of its own list."""
        return wanted

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Return nothing."""
        return []


class SimpleRows(_Plain):
    """A stage on descriptors to derive from: both sides, the same dimension, nothing learned."""

    place: Place = "rows"
    sides: frozenset[Side] = frozenset({"database", "queries"})
    learned: tuple[str, ...] = ()

    def dim(self, before: int) -> int:
        """Return the dimension as it is."""
        return before

    def fit(self, supplies: Sequence[Supply]) -> Mapping[str, NDArray[Any]]:
        """Return nothing."""
        return {}
