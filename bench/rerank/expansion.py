"""α-query expansion: search again with a mean of the query and the first rows of its list.

q' = (q + Σ (q · x)^α x) / (K + 1), brought to unit norm, over the first K rows x of the list
(Radenović, Tolias, Chum, TPAMI 2019, section 3.3; the program of Revaud et al., ICCV 2019, option
--aqe K ALPHA). With α = 0 it is average query expansion. No labels are used, and no other query.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from bench.errors import BenchError
from bench.stage import Arrays, Cost, Need, Place, Shape, Space, Stage, Step
from bench.types import NO_ROW, Protocol, Ranking

LARGEST_ALPHA = 100


@dataclass(frozen=True)
class QueryExpansion:
    """α-query expansion with the first `k` rows, weighted by similarity to the power `alpha`."""

    k: int
    alpha: float

    name: ClassVar[str] = "aqe"
    code: ClassVar[int] = 1
    place: ClassVar[Place] = "list"
    uses: ClassVar[frozenset[str]] = frozenset()
    searches_again: ClassVar[bool] = True

    def needs(self) -> tuple[Need, ...]:
        """Return nothing: the rows that are searched are enough."""
        return ()

    def fit_to(self, shape: Shape) -> Stage:
        """Return the stage; a `k` above the rows that some query searches is refused."""
        if self.k > shape.least_rows:
            raise BenchError(
                f"--stage aqe:{self.k} needs {self.k} rows of every list, but a query searches "
                f"only {shape.least_rows} rows; choose a smaller number."
            )
        return self

    def entry(self) -> Mapping[str, Any]:
        """Return the two numbers."""
        return {"stage": self.name, "k": self.k, "alpha": self.alpha}

    def depth(self, wanted: int, protocols: Sequence[Protocol]) -> int:
        """Return `k`: the list after it is that of a search of its own."""
        return self.k

    def cost(self, shape: Shape) -> Cost:
        """Return the cost of the mean; that of the search is the run's."""
        rows = shape.queries * self.k * shape.dim
        return Cost(8 * self.k * shape.dim, 3.0 * rows)

    def apply(self, before: Ranking, space: Space, depth: int) -> Step:
        """Search again with the expanded queries."""
        start = time.perf_counter()
        (listed,) = before.shortlist
        expanded, ms = np.empty_like(space.queries), []
        for query, row in enumerate(space.queries):
            begun = time.perf_counter()
            rows = listed.row[query, : self.k]
            if len(rows) < self.k or np.any(rows == NO_ROW):
                raise BenchError(
                    f"α-query expansion needs {self.k} rows of every list, but that of query "
                    f"{query} has {np.count_nonzero(rows != NO_ROW)}; search more cells of the "
                    "index (nprobe), or use a longer list (k)."
                )
            expanded[query] = self._expand(row, space.rows(rows), query)
            ms.append(1e3 * (time.perf_counter() - begun))
        seconds = {"expand the queries": time.perf_counter() - start}
        ranking = space.search(expanded, depth)
        return Step(ranking, ms_per_query=tuple(ms), queries=expanded, phases_s=seconds)

    def _expand(self, query: Any, rows: Any, number: int) -> Any:
        """Return the expanded query (dim,) of unit norm."""
        similarity = rows @ query
        if similarity.min() < 0 and self.alpha != int(self.alpha):
            raise BenchError(
                f"a row among the first {self.k} of query {number} has the similarity "
                f"{similarity.min():.3g}, whose power {self.alpha:g} is undefined; choose an "
                "integer alpha, or fewer rows."
            )
        with np.errstate(over="ignore", invalid="ignore"):
            mean = (query + similarity**self.alpha @ rows) / (self.k + 1)
            norm = np.linalg.norm(mean)
        if not 0 < norm < np.inf:
            raise BenchError(
                f"the mean of query {number} and its rows has the norm {norm:g} with alpha "
                f"{self.alpha:g}, so it has no direction; choose another alpha, or use "
                "descriptors of unit norm."
            )
        return mean / norm

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Check that the lists before it hold `k` rows."""
        if self.k < 1 or any(listed.row.shape[1] < self.k for listed in before.shortlist):
            return [f"it needs {self.k} rows of every list, but the lists before it are shorter"]
        return []

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with the two numbers."""
        return f"α-query expansion, K {self.k}, α {self.alpha:g}"


def of_entry(entry: Mapping[str, Any]) -> QueryExpansion:
    """Return the stage of an entry of a card."""
    k, alpha = entry["k"], float(entry["alpha"])
    if type(k) is not int or k < 1 or not 0 <= alpha <= LARGEST_ALPHA:
        raise ValueError("k must be a number of rows, and alpha an exponent")
    return QueryExpansion(k, alpha)


def make(first: str | None, options: Mapping[str, str]) -> QueryExpansion:
    """Return the stage of `--stage aqe:K,alpha=A`."""
    alpha = options.get("alpha", "")
    if options.keys() != {"alpha"} or not re.fullmatch(r"[1-9][0-9]{0,5}", first or ""):
        raise BenchError(
            "--stage aqe: write aqe:K,alpha=A, with the number of rows K and the exponent A of "
            "the similarities, for instance aqe:10,alpha=3."
        )
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", alpha) or float(alpha) > LARGEST_ALPHA:
        raise BenchError(
            f"--stage aqe: alpha is {alpha!r}; it must be a number from 0 to {LARGEST_ALPHA}."
        )
    return QueryExpansion(int(first or 0), float(alpha))
