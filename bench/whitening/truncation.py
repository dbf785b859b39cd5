"""Truncation: the first dimensions of a descriptor, brought to unit norm again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.stage import Block, Float64, Shape, SimpleRows
from bench.system import numbers


@dataclass(frozen=True)
class Truncation(SimpleRows):
    """The first `kept` dimensions of every row, brought to unit norm."""

    kept: int

    name = "truncate"

    def fit_to(self, shape: Shape) -> Truncation:
        """Return the stage; more dimensions than there are, are refused."""
        if self.kept > shape.dim:
            raise BenchError(
                f"--stage {self.name}:{self.kept} keeps {self.kept} dimensions, but descriptors "
                f"have {shape.dim}; choose a smaller number."
            )
        return self

    def entry(self) -> Mapping[str, Any]:
        """Return the number of dimensions."""
        return {"stage": self.name, "dim": self.kept}

    def dim(self, before: int) -> int:
        """Return the dimensions that are kept."""
        return self.kept

    def transform(self, block: Block) -> Float64:
        """Cut the rows."""
        return unit(block.rows[:, : self.kept])

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with the number of dimensions."""
        return f"truncated to {self.kept} dimensions"


def unit(rows: Float64) -> Float64:
    """Return rows (n, dim) of unit norm; those of nothing but zeros stay."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Float64 = rows / np.where(norm > 0, norm, 1.0)
    return scaled


def of_entry(entry: Mapping[str, Any]) -> Truncation:
    """Return the stage of an entry of a card."""
    if type(entry["dim"]) is not int or entry["dim"] < 1:
        raise ValueError("dim must be a number of dimensions")
    return Truncation(entry["dim"])


def make(first: str | None, options: Mapping[str, str]) -> Truncation:
    """Return the stage of `--stage truncate:D`."""
    where = "--stage truncate"
    numbers.check_names(where, options, ())
    if first is None:
        raise BenchError(f"{where}: write truncate:D, with the number of dimensions to keep.")
    return Truncation(numbers.whole(where, "the number of dimensions", first))
