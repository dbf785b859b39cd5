"""Learned whitening: from pairs of matching images (Lw).

L Lᵀ = mean of (a - b)(a - b)ᵀ over the pairs (a, b), with the lower triangle L; V are eigenvectors,
largest eigenvalue first, of the scatter of L⁻¹(x - m) over all rows x, m the mean of the a;
y = Vᵀ L⁻¹ (x - m), then y / (‖y‖ + 1e-6) (Radenović, Tolias, Chum, TPAMI 2019, section 3.4;
Mikolajczyk and Matas, ICCV 2007; `whitenlearn` of cirtorch).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.stage import Block, Cost, Float64, Need, Shape, SimpleRows, Supply
from bench.system import numbers
from bench.whitening.pca import EVALUATED, falling, learned_on, projected, source_of

FIRST_ADDED = 1e-10  # to the diagonal, ten times more until the matrix has a triangle


@dataclass(frozen=True)
class LearnedWhitening(SimpleRows):
    """Learned whitening to `kept` dimensions (None: all) from the pairs of `source`.

    `on` is the card's entry for the training rows; `shared` says that these have images that are
    evaluated, whose pairs are labels.
    """

    kept: int | None
    source: str | None
    on: Mapping[str, Any] | str = field(default=EVALUATED, hash=False)
    shared: bool = True

    name = "lw-whiten"
    learned = ("mean", "projection")

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """Return whether it is trained on evaluated data, whose pairs are labels."""
        return frozenset({"database", "labels", "queries"} if self.shared else ())

    def needs(self) -> tuple[Need, ...]:
        """Return the rows that it is learned on, with pairs."""
        return (Need("fit", None, self.source, ("database", "queries", "pairs")),)

    def fit_to(self, shape: Shape) -> LearnedWhitening:
        """Return the stage with its number of dimensions; more than there are, are refused."""
        (facts,) = shape.facts
        if self.kept is not None and self.kept > shape.dim:
            raise BenchError(
                f"--stage {self.name}:{self.kept} keeps {self.kept} dimensions, but descriptors "
                f"have {shape.dim}; choose a smaller number."
            )
        on = EVALUATED if self.source is None else {**facts.about, "pairs": facts.pairs}
        return replace(self, kept=self.kept or shape.dim, on=on, shared=facts.evaluated)

    def entry(self) -> Mapping[str, Any]:
        """Return dimensions, and what it is learned on."""
        return {"stage": self.name, "dim": self.kept, "on": self.on}

    def dim(self, before: int) -> int:
        """Return the dimensions that are kept."""
        return self.kept or before

    def cost(self, shape: Shape) -> Cost:
        """Return the cost of two matrices of moments and of the projection."""
        dim, rows = shape.dim, shape.facts[0].rows + shape.rows
        return Cost(8 * 6 * dim * dim, 4.0 * rows * dim * dim + 30.0 * dim**3)

    def fit(self, supplies: Sequence[Supply]) -> Mapping[str, NDArray[Any]]:
        """Return `mean` (dim) and `projection` (kept, dim)."""
        rows, pairs = supplies[0].database, supplies[0].pairs
        assert pairs is not None
        mean, between = np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2)
        for low in range(0, len(pairs), 4096):
            left, other = (rows.take(pairs[low : low + 4096, side]) for side in (0, 1))
            mean += left.sum(axis=0)
            between += (left - other).T @ (left - other)
        if not np.isfinite(between).all():
            for _ in rows.blocks():  # which names the row
                pass
        mean, inverse = mean / len(pairs), _inverse_of_triangle(between / len(pairs), self.name)
        scatter = np.zeros_like(between)
        for _, block in rows.blocks():
            seen = (block - mean) @ inverse.T
            scatter += seen.T @ seen
        _, vector = falling(scatter)
        return {"mean": mean, "projection": vector[:, : self.kept].T @ inverse}

    def transform(self, block: Block) -> Float64:
        """Project the rows."""
        return projected(block)

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with dimensions, and what it is learned on."""
        return f"learned whitening to {self.kept}, {learned_on(self.on)}"


def _inverse_of_triangle(matrix: Float64, name: str) -> Float64:
    """Return L⁻¹ of L Lᵀ = matrix; the addition to the diagonal grows until L exists."""
    import scipy.linalg

    added, whole = 0.0, np.eye(len(matrix))
    while added <= np.trace(matrix):
        try:
            triangle = np.linalg.cholesky(matrix + added * whole)
        except np.linalg.LinAlgError:
            added = 10 * added or FIRST_ADDED
            continue
        inverse: Float64 = scipy.linalg.solve_triangular(triangle, whole, lower=True)
        return inverse
    raise BenchError(
        f"--stage {name}: all its training pairs have equal descriptors; learn on other pairs."
    )


def of_entry(entry: Mapping[str, Any]) -> LearnedWhitening:
    """Return the stage of an entry of a card."""
    if type(entry["dim"]) is not int or entry["dim"] < 1:
        raise ValueError("dim must be a number of dimensions")
    return LearnedWhitening(entry["dim"], *source_of(entry), "labels" in entry.get("uses", ()))


def make(first: str | None, options: Mapping[str, str]) -> LearnedWhitening:
    """Return the stage of `--stage lw-whiten[:D],on=DATASET or FILE`."""
    where = "--stage lw-whiten"
    numbers.check_names(where, options, ("on",))
    if not options.get("on"):
        raise BenchError(
            f"{where} is learned from pairs of matching images: name a data set whose queries have "
            "positives with on=DATASET; in `evaluate`, on=FILE.npz with `vectors` and `pairs`."
        )
    kept = None if first is None else numbers.whole(where, "the number of dimensions", first)
    return LearnedWhitening(kept, options["on"])
