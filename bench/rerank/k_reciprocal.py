"""k-reciprocal re-ranking: images are near that are among each other's nearest neighbours.

D are squared distances of queries and database rows together, each column divided by its largest
and transposed. R(i): the j among the first k1 + 1 of i with i among the first k1 + 1 of j; for
each j of it R_half(j), with k1 / 2, is added where two thirds of it are in R(i). V_i = exp(-D_ij)
on that set, of sum 1, then the mean of V over the first k2 of i. The final distance is
(1 - λ) Jaccard(V_i, V_j) + λ D_ij (Zhong, Zheng, Cao, Li, CVPR 2017, section 3; defaults of its
program). Queries take part in the graph, so they help each other: it is transductive.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import BenchError
from bench.ranking import reordered
from bench.rerank import graph
from bench.rerank.graph import Scope
from bench.stage import Arrays, Cost, Float64, Shape, Simple, Space, Step
from bench.system import numbers
from bench.types import Protocol, Ranking, Rows

if TYPE_CHECKING:
    import scipy.sparse

K1, K2, WEIGHT = 20, 6, 0.3


@dataclass(frozen=True)
class KReciprocal(Simple):
    """k-reciprocal re-ranking; `weight` is that of the first distance (λ).

    None is the default of the program for `k1` and `k2`, or as many rows as there are others.
    """

    k1: int | None = None
    k2: int | None = None
    weight: float = WEIGHT
    scope: Scope = "all"

    name = "k-reciprocal"

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """Return that other queries take part, where the graph has all rows."""
        return frozenset({"queries", "database"} if self.scope == "all" else ())

    @property
    def searches_again(self) -> bool:  # type: ignore[override]
        """Return whether it ranks all rows."""
        return self.scope == "all"

    def fit_to(self, shape: Shape) -> KReciprocal:
        """Return the stage with its numbers; more neighbours than there are rows are refused."""
        most, fitted = max(1, shape.least_rows - 1), dict[str, int]()
        for name, k, usual in (("k1", self.k1, K1), ("k2", self.k2, K2)):
            if k is not None and k >= shape.least_rows:
                raise BenchError(
                    f"--stage {self.name}: {name} is {k}, but a query searches only "
                    f"{shape.least_rows} rows; choose a smaller number."
                )
            fitted[name] = k or min(usual, most)
        return replace(self, k1=fitted["k1"], k2=fitted["k2"])

    def entry(self) -> Mapping[str, Any]:
        """Return the four values."""
        return {"stage": self.name, "k1": self.k1, "k2": self.k2, "weight": self.weight,
                "scope": self.scope}  # fmt: skip

    def cost(self, shape: Shape) -> Cost:
        """Return the cost of products of all rows with each other."""
        if self.scope == "list":
            return Cost()
        n = shape.most_rows + shape.queries
        bytes_ = 8 * n * (shape.dim + 3 * graph.BLOCK) + 12 * n * (self.k1 or K1) * 8
        return Cost(bytes_, 2.0 * shape.areas * n * n * shape.dim)

    def apply(self, before: Ranking, space: Space, depth: int) -> Step:
        """Return the ranking by the final distance."""
        start = time.perf_counter()
        if self.scope == "all":
            scores = graph.per_group(space, lambda q, x: -self.distances(q, x))
            step = Step(space.ranked(scores, depth))
        else:
            strengths = graph.per_query(before, space, lambda q, x: -self.distances(q[None], x)[0])
            step = Step(reordered(before, strengths), {"strength": tuple(strengths)})
        seconds = time.perf_counter() - start
        each = 1e3 * seconds / len(space.queries)
        return replace(step, ms_per_query=(each,) * len(space.queries),
                       phases_s={"k-reciprocal re-ranking": seconds})  # fmt: skip

    def distances(self, queries: Float64, rows: Float64) -> Float64:
        """Return the final distances (n_queries, n_rows)."""
        every = np.concatenate([queries, rows])
        count, n = len(queries), len(every)
        k1, k2 = min(self.k1 or K1, n - 1), min(self.k2 or K2, n)
        norms = np.einsum("ij,ij->i", every, every)
        near, largest = np.empty((n, max(k1 + 1, k2)), dtype=np.int64), np.empty(n)
        first = np.empty((count, n))
        for low, product in graph.products(every):
            own = np.arange(low, low + len(product))
            square = np.maximum(norms[own, None] + norms - 2 * product, 0)
            most = square.max(axis=1)
            largest[own] = np.where(most > 0, most, 1)  # all rows are the same
            near[own] = graph.nearest(-square, near.shape[1], own)[0]
            inside = own < count
            first[own[inside]] = square[inside] / largest[own[inside], None]
        weights = self._weights(every, norms, largest, (near, k1, k2))
        return (1 - self.weight) * _jaccard(weights, count) + self.weight * first[:, count:]

    def _weights(
        self, every: Float64, norms: Float64, largest: Float64, near: tuple[Rows, int, int]
    ) -> scipy.sparse.csr_array:
        """Return V (n, n)."""
        import scipy.sparse

        nearest, k1, k2 = near
        half = round(k1 / 2)
        whole, part = (_reciprocal(nearest[:, : k + 1]) for k in (k1, half))
        data, columns, ends = [], [], [0]
        for i, mine in enumerate(whole):
            inside, added = set(mine.tolist()), [mine]
            for j in mine.tolist():
                other = part[j]
                if sum(neighbour in inside for neighbour in other.tolist()) > 2 / 3 * len(other):
                    added.append(other)
            members = np.unique(np.concatenate(added))
            square = norms[i] + norms[members] - 2 * (every[members] @ every[i])
            weight = np.exp(-np.maximum(square, 0) / largest[i])
            columns.append(members)
            data.append(weight / weight.sum())
            ends.append(ends[-1] + len(members))
        shape = (len(every), len(every))
        made = scipy.sparse.csr_array(
            (np.concatenate(data), np.concatenate(columns), np.array(ends)), shape=shape
        )
        if k2 == 1:
            return made
        rows = np.repeat(np.arange(len(every)), k2)
        mean = scipy.sparse.csr_array(
            (np.full(len(rows), 1 / k2), (rows, nearest[:, :k2].ravel())), shape=shape
        )
        return scipy.sparse.csr_array(mean @ made)

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Check that every row of a list has a strength, where lists are reordered."""
        if self.scope == "all":
            return []
        rows = [listed.row for listed in before.shortlist]
        return [] if graph.finite(arrays["strength"], rows) else ["rows of a list lack a strength"]

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with its values."""
        return (
            f"k-reciprocal re-ranking, k1 {self.k1}, k2 {self.k2}, λ {self.weight:g}, "
            f"{'all rows' if self.scope == 'all' else 'rows of each list'}"
        )


def _reciprocal(near: Rows) -> list[Rows]:
    """Return per row those of its nearest (n, k), itself among them, that have it among theirs."""
    import scipy.sparse

    n, k = near.shape
    pairs = scipy.sparse.csr_array(
        (np.ones(n * k, dtype=bool), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n)
    )
    mutual = scipy.sparse.csr_array(pairs.multiply(pairs.T))
    columns = mutual.indices.astype(np.int64)
    return [columns[a:b] for a, b in zip(mutual.indptr, mutual.indptr[1:], strict=False)]


def _jaccard(weights: scipy.sparse.csr_array, count: int) -> Float64:
    """Return the Jaccard distances of the first `count` rows to all others behind these."""
    by_column = weights.tocsc()
    out = np.empty((count, weights.shape[0] - count))
    for i in range(count):
        shared = np.zeros(weights.shape[0])
        for at in range(weights.indptr[i], weights.indptr[i + 1]):
            column = weights.indices[at]
            span = slice(by_column.indptr[column], by_column.indptr[column + 1])
            others = by_column.indices[span]
            shared[others] += np.minimum(weights.data[at], by_column.data[span])
        out[i] = 1 - shared[count:] / (2 - shared[count:])
    return out


def of_entry(entry: Mapping[str, Any]) -> KReciprocal:
    """Return the stage of an entry of a card."""
    k1, k2, weight = entry["k1"], entry["k2"], float(entry["weight"])
    if not (type(k1) is type(k2) is int and k1 > 0 and k2 > 0 and 0 <= weight <= 1):
        raise ValueError("k1 and k2 must be numbers of rows, and weight must be from 0 to 1")
    return KReciprocal(k1, k2, weight, graph.scope_of("stage", entry["scope"]))


def make(first: str | None, options: Mapping[str, str]) -> KReciprocal:
    """Return the stage of `--stage k-reciprocal[:K1][,k2=K2][,weight=L][,scope=all|list]`."""
    where = "--stage k-reciprocal"
    numbers.check_names(where, options, ("k2", "weight", "scope"))
    return KReciprocal(
        None if first is None else numbers.whole(where, "k1", first),
        numbers.whole(where, "k2", options["k2"]) if "k2" in options else None,
        numbers.decimal(where, "weight", options.get("weight", str(WEIGHT)), 0, 1),
        graph.scope_of(where, options.get("scope", "all")),
    )
