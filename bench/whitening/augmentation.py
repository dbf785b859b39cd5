"""Database-side augmentation (DBA): each database row becomes a mean of itself and its neighbours.

x' = (x + Σ (x · x_j)^α x_j) / (K + 1), brought to unit norm, over the K rows x_j nearest to x, all
from the original rows (the program of Revaud et al., ICCV 2019, option --adba K ALPHA; Turcot and
Lowe, ICCV workshops 2009). A row's neighbours are those that are searched with it: of its area.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.errors import BenchError
from bench.stage import Block, Cost, Float64, Shape, SimpleRows
from bench.system import numbers
from bench.whitening.truncation import unit

LARGEST_ALPHA = 100


@dataclass(frozen=True)
class Augmentation(SimpleRows):
    """Database-side augmentation with `k` neighbours, weighted by similarity to the `alpha`."""

    k: int
    alpha: float

    name = "dba"
    uses = frozenset({"database"})
    sides: frozenset[Literal["database", "queries"]] = frozenset({"database"})

    def fit_to(self, shape: Shape) -> Augmentation:
        """Return the stage; more neighbours than there are rows are refused."""
        if self.k >= shape.least_rows:
            raise BenchError(
                f"--stage {self.name}:{self.k} needs {self.k} neighbours of every row, but a row "
                f"has only {shape.least_rows - 1}; choose a smaller number."
            )
        if shape.areas > 1 and shape.added:
            raise BenchError(
                f"--stage {self.name} makes one row per image, but distractors would have "
                f"different neighbours in each of the {shape.areas} areas; remove --distractors."
            )
        return self

    def entry(self) -> Mapping[str, Any]:
        """Return the two numbers."""
        return {"stage": self.name, "k": self.k, "alpha": self.alpha}

    def cost(self, shape: Shape) -> Cost:
        """Return the cost of searching with every row."""
        return Cost(0, 2.0 * shape.rows * shape.most_rows * shape.dim)

    def transform(self, block: Block) -> Float64:
        """Augment the rows of a block, area by area."""
        out = block.rows.copy()
        for group in block.space.groups:
            inside = np.isin(block.number, group.rows)
            if not inside.any():
                continue
            near, similarity = block.space.neighbours(block.number[inside], self.k, group)
            if self.alpha != int(self.alpha) and similarity.min() < 0:
                raise BenchError(
                    f"a neighbour of a database row has the similarity {similarity.min():.3g}, "
                    f"whose power {self.alpha:g} is undefined; choose an integer alpha, or fewer "
                    "neighbours."
                )
            if near.shape[1] < self.k:
                raise BenchError(
                    f"--stage {self.name}:{self.k} needs {self.k} neighbours of every row, but "
                    f"without the missing images a row has only {near.shape[1]}; choose a "
                    "smaller number."
                )
            with np.errstate(over="ignore", invalid="ignore"):  # the rows are looked at after it
                weight = similarity**self.alpha
                added = np.stack(
                    [w @ block.space.rows(row) for w, row in zip(weight, near, strict=True)]
                )
            out[inside] = unit((block.rows[inside] + added) / (self.k + 1))
        return out

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with the two numbers."""
        return f"database augmentation, K {self.k}, α {self.alpha:g}"


def of_entry(entry: Mapping[str, Any]) -> Augmentation:
    """Return the stage of an entry of a card."""
    k, alpha = entry["k"], float(entry["alpha"])
    if type(k) is not int or k < 1 or not 0 <= alpha <= LARGEST_ALPHA:
        raise ValueError("k must be a number of rows, and alpha must be an exponent")
    return Augmentation(k, alpha)


def make(first: str | None, options: Mapping[str, str]) -> Augmentation:
    """Return the stage of `--stage dba:K,alpha=A`."""
    where = "--stage dba"
    numbers.check_names(where, options, ("alpha",))
    if first is None or "alpha" not in options:
        raise BenchError(
            f"{where}: write dba:K,alpha=A, with the number of neighbours K and the exponent A "
            "of the similarities, for instance dba:10,alpha=3."
        )
    k = numbers.whole(where, "the number of neighbours", first)
    return Augmentation(k, numbers.decimal(where, "alpha", options["alpha"], 0, LARGEST_ALPHA))
