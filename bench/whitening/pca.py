"""PCA whitening: rotate descriptors to principal components and scale them by their variance.

y = diag(λ^-p) Vᵀ (x - m), then y / (‖y‖ + 1e-6), with the mean m and the eigenvalues λ, largest
first, and eigenvectors V of the covariance (1/N) of the rows it is learned on (Jégou and Chum,
ECCV 2012, section 2; `pcawhitenlearn` of Radenović's cirtorch with p = 0.5; Revaud et al., ICCV
2019, take p = 0.25). Learned on the database that is evaluated it is transductive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.stage import Block, Cost, Float64, Need, Shape, SimpleRows, Supply, Table
from bench.system import numbers

POWER = 0.5
ADDED = 1e-6  # to the norm
EVALUATED = "evaluated"  # on the card, if it is learned on the evaluated database


@dataclass(frozen=True)
class Whitening(SimpleRows):
    """PCA whitening to `kept` dimensions (None: all), learned on `source` or the database.

    `on` is the card's entry for the training rows; `shared` says that these have images that are
    evaluated.
    """

    kept: int | None
    power: float = POWER
    source: str | None = None
    on: Mapping[str, Any] | str = field(default=EVALUATED, hash=False)
    shared: bool = True

    name = "pca-whiten"
    learned = ("mean", "projection")

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """Return whether it is learned on the database that is evaluated."""
        return frozenset({"database"} if self.shared else ())

    def needs(self) -> tuple[Need, ...]:
        """Return the rows that it is learned on."""
        return (Need("fit", None, self.source),)

    def fit_to(self, shape: Shape) -> Whitening:
        """Return the stage with its number of dimensions; more than rows can span are refused."""
        (facts,) = shape.facts
        most = min(shape.dim, facts.rows - 1)
        if most < 1 or (self.kept or 1) > most:
            raise BenchError(
                f"--stage {self.name}: {facts.rows} rows of {shape.dim} dimensions give {most} "
                f"components, but {self.kept or 1} are requested; choose a smaller number."
            )
        on = EVALUATED if self.source is None else facts.about
        return replace(self, kept=self.kept or most, on=on, shared=facts.evaluated)

    def entry(self) -> Mapping[str, Any]:
        """Return dimensions, power, and what it is learned on."""
        return {"stage": self.name, "dim": self.kept, "power": self.power, "on": self.on}

    def dim(self, before: int) -> int:
        """Return the components that are kept."""
        return self.kept or before

    def cost(self, shape: Shape) -> Cost:
        """Return the cost of the covariance, its eigenvectors and the projection."""
        dim, rows = shape.dim, shape.facts[0].rows
        return Cost(8 * 4 * dim * dim, 2.0 * (rows + shape.rows) * dim * dim + 30.0 * dim**3)

    def fit(self, supplies: Sequence[Supply]) -> Mapping[str, NDArray[Any]]:
        """Return `mean` (dim) and `projection` (kept, dim)."""
        mean, covariance = moments(supplies[0].database)
        value, vector = falling(covariance)
        kept = self.kept or len(value)
        if value[kept - 1] <= value[0] * np.finfo(np.float32).eps:
            rank = int(np.count_nonzero(value > value[0] * np.finfo(np.float32).eps))
            raise BenchError(
                f"--stage {self.name}: its training rows span {rank} dimensions, but {kept} are "
                "requested; choose a smaller number."
            )
        return {"mean": mean, "projection": (vector[:, :kept] * value[:kept] ** -self.power).T}

    def transform(self, block: Block) -> Float64:
        """Project the rows."""
        return projected(block)

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with dimensions, power, and what it is learned on."""
        return f"PCA whitening to {self.kept}, power {self.power:g}, {learned_on(self.on)}"


def projected(block: Block) -> Float64:
    """Return rows (n, kept) through `mean` and `projection`, divided by norm + 1e-6."""
    rows: Float64 = (block.rows - block.fitted["mean"]) @ block.fitted["projection"].T
    scaled: Float64 = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + ADDED)
    return scaled


def moments(rows: Table) -> tuple[Float64, Float64]:
    """Return mean (dim) and covariance (dim, dim) with 1/N, in two passes."""
    count, dim = rows.shape
    mean = np.zeros(dim)
    for _, block in rows.blocks():
        mean += block.sum(axis=0)
    mean /= count
    covariance = np.zeros((dim, dim))
    for _, block in rows.blocks():
        centred = block - mean
        covariance += centred.T @ centred
    return mean, covariance / count


def falling(symmetric: Float64) -> tuple[Float64, Float64]:
    """Return eigenvalues, largest first, and eigenvectors as columns of a sign of our choice.

    The largest component of a vector is positive, so that two machines give one answer.
    """
    value, vector = np.linalg.eigh(symmetric)
    value, vector = value[::-1], vector[:, ::-1]
    largest = np.argmax(np.abs(vector), axis=0)
    return value, vector * np.sign(vector[largest, np.arange(len(value))])


def learned_on(on: Mapping[str, Any] | str) -> str:
    """Return the training data of a stage as text."""
    if on == EVALUATED:
        return "learned on the evaluated database"
    assert not isinstance(on, str)
    return f"learned on {on.get('name', 'rows of a file')}, {on['rows']} rows"


def source_of(entry: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any] | str]:
    """Return the data set that an entry names, None for the evaluated database; and its `on`."""
    on = entry["on"]
    if on == EVALUATED:
        return None, on
    if not isinstance(on, Mapping) or type(on["rows"]) is not int:
        raise ValueError("on must name the data that the stage is learned on")
    return (str(on["name"]) if "name" in on else None), on


def of_entry(entry: Mapping[str, Any]) -> Whitening:
    """Return the stage of an entry of a card."""
    kept, power = entry["dim"], float(entry["power"])
    if type(kept) is not int or kept < 1 or not 0 <= power <= 1:
        raise ValueError("dim must be a number of dimensions, and power must be from 0 to 1")
    return Whitening(kept, power, *source_of(entry), "database" in entry.get("uses", ()))


def make(first: str | None, options: Mapping[str, str]) -> Whitening:
    """Return the stage of `--stage pca-whiten[:D][,power=P][,on=DATASET or FILE]`."""
    where = "--stage pca-whiten"
    numbers.check_names(where, options, ("power", "on"))
    kept = None if first is None else numbers.whole(where, "the number of dimensions", first)
    if options.get("on") == "":
        raise BenchError(
            f"{where}: on must name the data set, or in `evaluate` the file, to learn on."
        )
    power = numbers.decimal(where, "power", options.get("power", str(POWER)), 0, 1)
    return Whitening(kept, power, options.get("on"))
