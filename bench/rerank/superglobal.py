"""SuperGlobal's re-ranking: refined descriptors of the first rows, and an expanded query.

Of the first M rows x of a list, each is refined with the K most similar among them,
x' = (x + β Σ s_k x_k) / (1 + β Σ s_k), not brought to unit norm; s¹ = q · x'. The expanded query is
the element-wise maximum of x' over the first K + 1 rows by s¹, s² its product with x'; rows are
ordered by (s¹ + s²) / 2 (Shao et al., Global features are all you need, ICCV 2023, section 3.4, and
its program). It uses no labels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.ranking import reordered
from bench.stage import Arrays, Cost, Float64, Shape, Simple, Space, Step
from bench.system import numbers
from bench.types import NO_ROW, Protocol, Ranking

ROWS, NEIGHBOURS, BETA = 400, 9, 0.15


@dataclass(frozen=True)
class SuperGlobal(Simple):
    """SuperGlobal's re-ranking of the first `rows` rows (None: 400, or as many as there are).

    `k` are its neighbours (None: 9, or as many as there are others).
    """

    rows: int | None = None
    k: int | None = None
    beta: float = BETA

    name = "superglobal"

    def fit_to(self, shape: Shape) -> SuperGlobal:
        """Return the stage with its number of rows; too few for its neighbours are refused."""
        if self.rows is not None and self.rows > shape.least_rows:
            raise BenchError(
                f"--stage {self.name}:{self.rows} needs {self.rows} rows of every list, but a "
                f"query searches only {shape.least_rows} rows; choose a smaller number."
            )
        rows = self.rows or min(ROWS, shape.least_rows)
        k = self.k or max(1, min(NEIGHBOURS, rows - 1))
        if k >= rows:
            raise BenchError(
                f"--stage {self.name}: {k} neighbours among {rows} rows are too many; choose "
                "a smaller k."
            )
        return replace(self, rows=rows, k=k)

    def entry(self) -> Mapping[str, Any]:
        """Return the three numbers."""
        return {"stage": self.name, "rows": self.rows, "k": self.k, "beta": self.beta}

    def depth(self, wanted: int, protocols: Sequence[Protocol]) -> int:
        """Return the length of list that holds all its rows."""
        return max(wanted, self.rows or ROWS)

    def cost(self, shape: Shape) -> Cost:
        """Return the cost of the products of the rows with each other."""
        rows = self.rows or ROWS
        return Cost(8 * rows * (3 * shape.dim + rows), 2.0 * shape.queries * rows**2 * shape.dim)

    def apply(self, before: Ranking, space: Space, depth: int) -> Step:
        """Refine and order the first rows of every list."""
        start, ms, strengths = time.perf_counter(), np.zeros(len(space.queries)), []
        refined = np.full(before.shortlist[0].row.shape, np.nan)
        for listed in before.shortlist:
            strength = np.full(listed.row.shape, np.nan)
            for query, vector in enumerate(space.queries):
                begun = time.perf_counter()
                rows = listed.row[query, : self.rows]
                rows = rows[rows != NO_ROW]
                if len(rows) <= (self.k or NEIGHBOURS):
                    raise BenchError(
                        f"SuperGlobal's re-ranking needs at least {(self.k or NEIGHBOURS) + 1} "
                        f"rows, but the list of query {query} has {len(rows)}; search more cells "
                        "of the index (nprobe), or use a longer list (k)."
                    )
                first, strength[query, : len(rows)] = self._scores(vector, space.rows(rows))
                refined[query, : len(rows)] = first
                ms[query] += 1e3 * (time.perf_counter() - begun)
            strengths.append(strength)
        seconds = {"SuperGlobal's re-ranking": time.perf_counter() - start}
        return Step(
            reordered(before, strengths),
            {"strength": tuple(strengths)},
            tuple(ms.tolist()),
            phases_s=seconds,
            export={"refined": refined},
        )

    def _scores(self, query: Float64, rows: Float64) -> tuple[Float64, Float64]:
        """Return s¹ and the final score of each row (n)."""
        products, k = rows @ rows.T, self.k or NEIGHBOURS
        near = np.argsort(-products, axis=1, kind="stable")[:, : k + 1]
        weight = self.beta * np.take_along_axis(products, near, axis=1)
        weight[:, 0] = 1  # the row most similar to a row is itself
        refined = np.stack([w @ rows[n] for w, n in zip(weight, near, strict=True)])
        total = weight.sum(axis=1, keepdims=True)
        if not np.all(np.isfinite(total) & (total != 0)):
            raise BenchError(
                "SuperGlobal's re-ranking divides a refined row by the sum of its weights, which "
                "is 0 or undefined; choose a smaller beta, or use descriptors of unit norm."
            )
        refined /= total
        first = refined @ query
        best = np.argsort(-first, kind="stable")[: k + 1]
        return first, (first + refined @ refined[best].max(axis=0)) / 2

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Check that exactly the first rows have a score."""
        for strength, listed in zip(arrays["strength"], before.shortlist, strict=True):
            inside = np.arange(listed.row.shape[1]) < (self.rows or ROWS)
            if np.any(~np.isnan(strength) & ~inside):
                return [f"rows after the first {self.rows} have a score"]
        return []

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with the three numbers."""
        return f"SuperGlobal's re-ranking, {self.rows} rows, K {self.k}, β {self.beta:g}"


def of_entry(entry: Mapping[str, Any]) -> SuperGlobal:
    """Return the stage of an entry of a card."""
    rows, k, beta = entry["rows"], entry["k"], float(entry["beta"])
    if not (type(rows) is type(k) is int and 0 < k < rows and 0 <= beta <= 100):
        raise ValueError("rows and k must be numbers of rows, and beta a weight")
    return SuperGlobal(rows, k, beta)


def make(first: str | None, options: Mapping[str, str]) -> SuperGlobal:
    """Return the stage of `--stage superglobal[:M][,k=K][,beta=B]`."""
    where = "--stage superglobal"
    numbers.check_names(where, options, ("k", "beta"))
    return SuperGlobal(
        None if first is None else numbers.whole(where, "the number of rows", first),
        numbers.whole(where, "k", options["k"]) if "k" in options else None,
        numbers.decimal(where, "beta", options.get("beta", str(BETA))),
    )
