"""Fusion of two methods: their unit descriptors side by side, weighted.

The row is [√(1 - w) x, √w y] with the weight w of the second method, so a similarity is the mean
(1 - w) x · x' + w y · y' of both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.stage import Block, Float64, Need, Shape, SimpleRows
from bench.system import numbers
from bench.whitening.truncation import unit

WEIGHT = 0.5


@dataclass(frozen=True)
class Fusion(SimpleRows):
    """Fusion with another `method`, or with rows of `files`; `weight` is that of the second.

    `second` is the card's entry for the other rows.
    """

    method: str | None
    files: str | None
    weight: float = WEIGHT
    second: Mapping[str, Any] = field(default_factory=dict, hash=False)

    name = "fuse"

    def needs(self) -> tuple[Need, ...]:
        """Return the descriptors of the other method."""
        return (Need("second", self.method, self.files, ("database", "queries")),)

    def fit_to(self, shape: Shape) -> Fusion:
        """Return the stage with what is known of the other method."""
        (facts,) = shape.facts
        return replace(self, second={"dim": facts.dim, **facts.about})

    def entry(self) -> Mapping[str, Any]:
        """Return the weight, and what is known of the other method."""
        return {"stage": self.name, "weight": self.weight, "second": self.second}

    def dim(self, before: int) -> int:
        """Return the sum of both dimensions."""
        return before + int(self.second["dim"])

    def transform(self, block: Block) -> Float64:
        """Put the rows of both methods side by side."""
        assert block.second is not None
        sides = (
            np.sqrt(1 - self.weight) * unit(block.rows),
            np.sqrt(self.weight) * unit(block.second),
        )
        return np.concatenate(sides, axis=1)

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with method and weight."""
        other = self.second.get("method", f"brought rows of {self.second['dim']} dimensions")
        return f"fused with {other}, weight {self.weight:g}"


def of_entry(entry: Mapping[str, Any]) -> Fusion:
    """Return the stage of an entry of a card."""
    weight, second = float(entry["weight"]), entry["second"]
    if not 0 < weight < 1 or type(second["dim"]) is not int or second["dim"] < 1:
        raise ValueError(
            "weight must be between 0 and 1, and the second method must have dimensions"
        )
    method = second.get("method")
    return Fusion(None if method is None else str(method), None, weight, second)


def make(first: str | None, options: Mapping[str, str]) -> Fusion:
    """Return the stage of `--stage fuse:METHOD[,weight=W]`; in `evaluate` of two files."""
    where = "--stage fuse"
    numbers.check_names(where, options, ("weight",))
    if not first:
        raise BenchError(
            f"{where}: write fuse:METHOD,weight=W; in `evaluate` "
            "fuse:DATABASE.npy+QUERIES.npy,weight=W."
        )
    weight = numbers.decimal(where, "weight", options.get("weight", str(WEIGHT)), 0, 1)
    if not 0 < weight < 1:
        raise BenchError(f"{where}: weight is {weight:g}; it must be between 0 and 1.")
    files = re.fullmatch(r".+\.(npy|npz|mat)(\+.+)+", first)
    return Fusion(None, first, weight) if files else Fusion(first, None, weight)
