"""What a stage is: what comes between descriptors and scores, one module each.

A stage is an object with the attributes of `Stage`; a file of one's own need import nothing from
here. Rows and queries that a stage sees have a descriptor: missing images, areas, distractors, an
index or a cluster are the business of the `Space` that it is given. How one is written and named
on the command line: `bench/rerank/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from bench.types import (
    NO_ROW,
    LabelledRanks,
    LocalFeatures,
    Protocol,
    Ranking,
    Rows,
    Shortlist,
)

Float64 = NDArray[np.float64]
Arrays = Mapping[str, Sequence[NDArray[Any]]]


@dataclass(frozen=True)
class Need:
    """Descriptors or local features that must exist before a stage can be applied.

    role    "fit": what a stage is fitted on; "second": another method's; "local": local features
    method  None: the run's own, with the run's own preprocessing
    source  a data set or a file; None: the lists that are evaluated
    lists   which of them
    """

    role: Literal["fit", "second", "local"]
    method: str | None = None
    source: str | None = None
    lists: tuple[Literal["database", "queries", "pairs"], ...] = ("database",)


@dataclass(frozen=True)
class Shape:
    """What a stage has to fit: rows that a query searches (least and most), queries, dimension."""

    least_rows: int
    most_rows: int
    queries: int
    dim: int
    protocols: tuple[Protocol, ...] = ()


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


class Space(Interface):
    """What is searched, as a stage sees it: rows and queries are numbered without missing ones."""

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

    def search(self, queries: Float64, depth: int) -> Ranking:
        """Search with other queries (n_queries, dim), exactly or with the run's index."""
        ...

    def local(self, queries: Rows, rows: Rows) -> Local:
        """Return the local features of queries and rows, made before where they are not there."""
        ...

    def neighbours(self, numbers: Rows, k: int, group: Group) -> tuple[Rows, Float64]:
        """Return the `k` other rows of a group nearest to each row, and their scores (n, k)."""
        ...


@dataclass(frozen=True, eq=False)
class Step:
    """What a stage did.

    ranking       the ranking after it
    arrays        what a record keeps, by name: one number per place of the list before (n_queries,
                  depth), for every distinct list; NaN or -1 where a place has none
    ms_per_query  what each query took
    queries       the queries that were searched with (n_queries, dim), if others
    about         what a record says of it besides
    phases_s      seconds by phase
    """

    ranking: Ranking
    arrays: Mapping[str, tuple[NDArray[Any], ...]] = field(default_factory=dict)
    ms_per_query: tuple[float, ...] = ()
    queries: Float64 | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    phases_s: Mapping[str, float] = field(default_factory=dict)


class Stage(Interface):
    """A list stage: from the ranking of a search to another one."""

    @property
    def name(self) -> str:
        """Return its name on the command line and on the card."""
        ...

    @property
    def code(self) -> int:
        """Return a number that is raised when an entry gives other numbers than before."""
        ...

    @property
    def uses(self) -> frozenset[str]:
        """Return what it looks at besides a query and its rows.

        "labels": lists differ by protocol; "queries" or "database": it is fitted on what is
        evaluated, and the card says transductive.
        """
        ...

    @property
    def searches_again(self) -> bool:
        """Return whether its ranking comes from a search of its own."""
        ...

    def needs(self) -> tuple[Need, ...]:
        """Return what must be described before."""
        ...

    def fit_to(self, shape: Shape) -> Stage:
        """Return the stage for what is searched: defaults cut, values that do not fit refused."""
        ...

    def entry(self) -> Mapping[str, Any]:
        """Return codes and numbers for `card.stages`: everything that can move a score."""
        ...

    def depth(self, wanted: int, protocols: Sequence[Protocol]) -> int:
        """Return the length of list it needs so that the first `wanted` of its own are right."""
        ...

    def cost(self, shape: Shape) -> Cost:
        """Return what it takes, which is said before work and refused where it cannot fit."""
        ...

    def apply(self, before: Ranking, space: Space, depth: int) -> Step:
        """Return the ranking after the stage, and what a record keeps of it.

        Where it searches again its lists have the length `depth`, or that of all rows.
        """
        ...

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Return what of a record contradicts the stage that its card states.

        `arrays` are those of `Step`, one for every distinct list of `before`.
        """
        ...

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return the entry in words, for printed lines and the report."""
        ...


class Simple:
    """A stage to derive from: it needs nothing, is fitted to nothing, and reorders lists."""

    name = ""
    code = 1
    uses: frozenset[str] = frozenset()
    searches_again = False

    def needs(self) -> tuple[Need, ...]:
        """Return nothing."""
        return ()

    def fit_to(self, shape: Shape) -> Any:
        """Return the stage as it is."""
        return self

    def depth(self, wanted: int, protocols: Sequence[Protocol]) -> int:
        """Return the length of its own list."""
        return wanted

    def cost(self, shape: Shape) -> Cost:
        """Return nothing worth a line."""
        return Cost()

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Return nothing."""
        return []


def one_list(ranks: LabelledRanks, shortlist: Shortlist, protocols: int) -> Ranking:
    """Return the ranking that all protocols share."""
    return Ranking((ranks,), (shortlist,), (0,) * protocols)


def reordered(before: Ranking, strengths: Sequence[Float64]) -> Ranking:
    """Return a ranking with every list in the order of its strengths (n_queries, depth).

    Larger is stronger; of equals the one before comes first. Places without a strength, NaN, keep
    their order behind those that have one. A list's scores are its strengths then, and the least
    float64 where there is none; ranks of images behind the list stay.
    """
    lists = []
    for listed, stated in zip(before.shortlist, strengths, strict=True):
        strength = np.asarray(stated, dtype=np.float64)
        key = np.where(np.isnan(strength) | (listed.row == NO_ROW), np.inf, -strength)
        order = np.argsort(key, axis=1, kind="stable")
        score = np.where(np.isinf(key), np.finfo(np.float64).min, strength)
        lists.append(Shortlist(*(np.take_along_axis(a, order, 1) for a in (listed.row, score))))
    ranks = tuple(follow(*pair) for pair in zip(before.ranks, lists, strict=True))
    return Ranking(ranks, tuple(lists), before.of)


def follow(ranks: LabelledRanks, after: Shortlist) -> LabelledRanks:
    """Return the ranks of the labelled images once their shortlist has the order of `after`.

    An image in the list has its place there as rank; the others keep theirs, being behind it.
    """
    rank = ranks.rank.copy()
    for query, listed in enumerate(after.row):
        part = ranks.of_query(query)
        inside = np.flatnonzero(np.isin(ranks.row[part], listed))
        order = np.argsort(listed)
        at = np.searchsorted(listed, ranks.row[part][inside], sorter=order)
        rank[part.start + inside] = order[at]
    return replace(ranks, rank=rank)
