"""Diffusion on a graph of nearest neighbours.

Rows are joined that are among each other's first k_d, with the weight similarity^γ; degrees d;
L = I - α d^-½ A d^-½. For a row i, L restricted to its n nearest rows is solved for e_i by
conjugate gradients; the solution f_i holds i's similarity to these along the graph.

paper  the graph has the database; score = Σ over the k_q rows j nearest to q of (q · x_j)^γ f_j
       (Iscen, Tolias, Avrithis, Furon, Chum, CVPR 2017, sections 3 and 4)
joint  the graph has queries and database; f of unit norm, score = f_q · f_x: queries help each
       other (the program of Yang et al., Efficient image retrieval via decoupling diffusion into
       online and offline processing, AAAI 2019)
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.errors import BenchError
from bench.ranking import reordered
from bench.rerank import graph
from bench.rerank.graph import Scope
from bench.stage import Arrays, Cost, Float64, Shape, Simple, Space, Step
from bench.system import numbers
from bench.system.progress import Progress
from bench.types import Protocol, Ranking, Rows

if TYPE_CHECKING:
    import scipy.sparse

Search = Literal["paper", "joint"]
TRUNCATED, NEAREST, ASKED, GAMMA, ALPHA = 1000, 50, 10, 3.0, 0.99
STEPS, TOLERANCE = 20, 1e-6  # of conjugate gradients
ADDED = 1e-12  # to a degree


@dataclass(frozen=True)
class Diffusion(Simple):
    """Diffusion by one of two searches; `truncated`, `nearest`, `asked` are n, k_d, k_q above.

    None is the default of the program, or as many rows as there are.
    """

    search: Search
    truncated: int | None = None
    nearest: int | None = None
    asked: int | None = None
    gamma: float = GAMMA
    alpha: float = ALPHA
    scope: Scope = "all"

    name = "diffusion"

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """Return whose rows make the graph: of the database, and of queries if they are joint."""
        if self.scope == "list":
            return frozenset()
        return frozenset({"database", "queries"} if self.search == "joint" else {"database"})

    @property
    def searches_again(self) -> bool:  # type: ignore[override]
        """Return whether it ranks all rows."""
        return self.scope == "all"

    def fit_to(self, shape: Shape) -> Diffusion:
        """Return the stage with its numbers of rows; more than a query searches are refused."""
        most = shape.least_rows + (self.search == "joint")
        fitted: dict[str, int] = {}
        usual = {"truncated": TRUNCATED, "nearest": NEAREST, "asked": ASKED}
        for name, written in {"truncated": "n", "nearest": "kd", "asked": "kq"}.items():
            value = getattr(self, name)
            if value is not None and value > most:
                raise BenchError(
                    f"--stage {self.name}: {written} is {value}, but a query searches only "
                    f"{shape.least_rows} rows; choose a smaller number."
                )
            fitted[name] = value or min(usual[name], most)
        if fitted["nearest"] > fitted["truncated"]:
            raise BenchError(
                f"--stage {self.name}: kd is {fitted['nearest']}; it must not exceed n, "
                f"{fitted['truncated']}."
            )
        return replace(
            self,
            truncated=fitted["truncated"],
            nearest=fitted["nearest"],
            asked=fitted["asked"],
        )

    def entry(self) -> Mapping[str, Any]:
        """Return search, numbers of rows, exponents and scope."""
        asked = {"kq": self.asked} if self.search == "paper" else {}
        return {"stage": self.name, "search": self.search, "n": self.truncated, "kd": self.nearest,
                **asked, "gamma": self.gamma, "alpha": self.alpha, "scope": self.scope}  # fmt: skip

    def cost(self, shape: Shape) -> Cost:
        """Return the cost of products of all rows with each other, and of the solutions."""
        if self.scope == "list":
            return Cost()
        n, kept = shape.most_rows + shape.queries, self.truncated or TRUNCATED
        solved = n if self.search == "joint" else min(n, shape.queries * (self.asked or ASKED))
        steps = 200.0 * STEPS * kept * (self.nearest or NEAREST)  # sparse ones are slower
        return Cost(
            8 * n * (shape.dim + 3 * graph.BLOCK) + 20 * n * kept,
            shape.areas * (2.0 * n * n * shape.dim + solved * steps),
        )

    def apply(self, before: Ranking, space: Space, depth: int) -> Step:
        """Return the ranking by the scores of the search."""
        start = time.perf_counter()
        if self.scope == "all":
            step = Step(space.ranked(graph.per_group(space, self.scores), depth))
        else:
            strengths = graph.per_query(before, space, lambda q, x: self.scores(q[None], x)[0])
            step = Step(reordered(before, strengths), {"strength": tuple(strengths)})
        seconds = time.perf_counter() - start
        each = 1e3 * seconds / len(space.queries)
        return replace(step, ms_per_query=(each,) * len(space.queries),
                       phases_s={"diffusion": seconds})  # fmt: skip

    def scores(self, queries: Float64, rows: Float64) -> Float64:
        """Return the scores (n_queries, n_rows)."""
        if self.search == "joint":
            return self._joint(queries, rows)
        similarity, found = queries @ rows.T, np.empty((len(queries), len(rows)))
        asked = min(self.asked or ASKED, len(rows))
        first = np.argsort(-similarity, axis=1, kind="stable")[:, :asked]
        wanted = np.unique(first)
        solved = dict(zip(wanted.tolist(), self._solutions(rows, wanted), strict=True))
        for query, near in enumerate(first):
            total = np.zeros(len(rows))
            for row in near.tolist():
                weight = max(similarity[query, row], 0) ** self.gamma
                ids, values = solved[row]
                total[ids] += weight * values
            found[query] = total
        return found

    def _joint(self, queries: Float64, rows: Float64) -> Float64:
        import scipy.sparse

        every = np.concatenate([queries, rows])
        solved = self._solutions(every, np.arange(len(every)))
        ends = np.cumsum([0, *(len(ids) for ids, _ in solved)])
        values = np.concatenate([f / np.linalg.norm(f) for _, f in solved])
        columns = np.concatenate([ids for ids, _ in solved])
        spread = scipy.sparse.csr_array((values, columns, ends), shape=(len(every), len(every)))
        count = len(queries)
        scores: Float64 = (spread[:count] @ spread[count:].T).toarray()
        return scores

    def _solutions(self, rows: Float64, wanted: Rows) -> list[tuple[Rows, Float64]]:
        """Return for each of the rows `wanted` the rows of its solution, and the solution."""
        import scipy.sparse.linalg

        kept = min(self.truncated or TRUNCATED, len(rows))
        near = np.empty((len(rows), min(self.nearest or NEAREST, kept)), dtype=np.int64)
        similar, lists = np.empty(near.shape), dict[int, Rows]()
        looked = np.zeros(len(rows), dtype=bool)
        looked[wanted] = True
        for low, product in graph.products(rows):
            own = np.arange(low, low + len(product))
            order, score = graph.nearest(product, kept, own)
            near[own], similar[own] = (part[:, : near.shape[1]] for part in (order, score))
            lists |= {int(row): order[row - low] for row in own[looked[own]]}
        matrix, out = self._laplacian(near, similar), []
        with Progress("diffusion", len(wanted), "rows") as progress:
            for row in wanted.tolist():
                ids, vector = lists[row], np.zeros(kept)
                vector[0] = 1
                part = matrix[ids][:, ids]
                solution, _ = scipy.sparse.linalg.cg(part, vector, rtol=TOLERANCE, maxiter=STEPS)
                out.append((ids, solution))
                progress.advance(1)
        return out

    def _laplacian(self, near: Rows, similar: Float64) -> scipy.sparse.csr_array:
        """Return L (n, n) of the nearest rows (n, k), each itself first, and their similarity."""
        import scipy.sparse

        n, k = near.shape
        rows, columns = np.repeat(np.arange(n), k), near.ravel()
        apart = rows != columns
        weight = np.maximum(similar.ravel(), 0) ** self.gamma
        there = scipy.sparse.csr_array((apart.astype(float), (rows, columns)), shape=(n, n))
        weights = scipy.sparse.csr_array((weight * apart, (rows, columns)), shape=(n, n))
        mutual = scipy.sparse.csr_array(weights.multiply(there.T))
        scale = scipy.sparse.diags_array((mutual @ np.ones(n) + ADDED) ** -0.5)
        whole = scipy.sparse.eye_array(n) - self.alpha * (scale @ mutual @ scale)
        return scipy.sparse.csr_array(whole)

    def faults(self, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]) -> list[str]:
        """Check that every row of a list has a strength, where lists are reordered."""
        if self.scope == "all":
            return []
        rows = [listed.row for listed in before.shortlist]
        return [] if graph.finite(arrays["strength"], rows) else ["rows of a list lack a strength"]

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with its values."""
        asked = f", k_q {self.asked}" if self.search == "paper" else ""
        return (
            f"diffusion ({self.search}), n {self.truncated}, k_d {self.nearest}{asked}, "
            f"γ {self.gamma:g}, α {self.alpha:g}, "
            f"{'all rows' if self.scope == 'all' else 'rows of each list'}"
        )


def of_entry(entry: Mapping[str, Any]) -> Diffusion:
    """Return the stage of an entry of a card."""
    counts = [entry["n"], entry["kd"], entry.get("kq", 1)]
    gamma, alpha = float(entry["gamma"]), float(entry["alpha"])
    if any(type(count) is not int or count < 1 for count in counts) or not 0 < alpha < 1:
        raise ValueError("n, kd and kq must be numbers of rows, and alpha must be between 0 and 1")
    if entry["search"] not in ("paper", "joint") or not 0 <= gamma <= 100:
        raise ValueError("search must be paper or joint, and gamma an exponent")
    scope = graph.scope_of("stage", entry["scope"])
    return Diffusion(entry["search"], counts[0], counts[1], entry.get("kq"), gamma, alpha, scope)


def make(first: str | None, options: Mapping[str, str]) -> Diffusion:
    """Return the stage of `--stage diffusion:paper|joint[,n=N][,kd=K][,kq=K][,gamma=G]…`."""
    where = "--stage diffusion"
    numbers.check_names(where, options, ("n", "kd", "kq", "gamma", "alpha", "scope"))
    if first not in ("paper", "joint"):
        raise BenchError(
            f"{where}: write diffusion:paper (a graph of the database) or diffusion:joint (of "
            "queries and database)."
        )
    if first == "joint" and "kq" in options:
        raise BenchError(f"{where}: kq belongs to diffusion:paper.")
    alpha = numbers.decimal(where, "alpha", options.get("alpha", str(ALPHA)), 0, 1)
    if not 0 < alpha < 1:
        raise BenchError(f"{where}: alpha is {alpha:g}; it must be between 0 and 1.")
    truncated, nearest, asked = (
        numbers.whole(where, name, options[name]) if name in options else None
        for name in ("n", "kd", "kq")
    )
    return Diffusion(
        "joint" if first == "joint" else "paper",
        truncated,
        nearest,
        asked,
        numbers.decimal(where, "gamma", options.get("gamma", str(GAMMA))),
        alpha,
        graph.scope_of(where, options.get("scope", "all")),
    )
