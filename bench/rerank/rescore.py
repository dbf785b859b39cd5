"""Re-scoring: the first rows of a list of codes or of an index, ordered by full descriptors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.ranking import reordered
from bench.stage import Shape, Simple, Space, Step
from bench.system import numbers
from bench.types import NO_ROW, Ranking


@dataclass(frozen=True)
class Rescoring(Simple):
    """The first `count` rows of every list, ordered by their products in float64 before codes."""

    count: int

    name = "rescore"

    def fit_to(self, shape: Shape) -> Rescoring:
        """Return the stage; more rows than a query searches, or exact lists, are refused."""
        if self.count > shape.least_rows:
            raise BenchError(
                f"--stage {self.name}:{self.count} needs {self.count} rows of every list, but a "
                f"query searches only {shape.least_rows} rows; choose a smaller number."
            )
        if not shape.inexact:
            raise BenchError(
                f"--stage {self.name} re-scores lists of codes or of an index, but this search "
                "is exact on full rows; add --compression or --search, or remove the stage."
            )
        return self

    def entry(self) -> Mapping[str, Any]:
        """Return the number of rows."""
        return {"stage": self.name, "rows": self.count}

    def depth(self, wanted: int, protocols: Any) -> int:
        """Return the length of list that holds all rows that are scored."""
        return max(wanted, self.count)

    def apply(self, before: Ranking, space: Space, depth: int) -> Step:
        """Score the first rows of every list, and order the list by it."""
        start, ms = time.perf_counter(), np.zeros(len(space.uncoded_queries))
        strengths = []
        for listed in before.shortlist:
            strength = np.full(listed.row.shape, np.nan)
            for query, vector in enumerate(space.uncoded_queries):
                begun = time.perf_counter()
                rows = listed.row[query, : self.count]
                rows = rows[rows != NO_ROW]
                strength[query, : len(rows)] = space.uncoded(rows) @ vector
                ms[query] += 1e3 * (time.perf_counter() - begun)
            strengths.append(strength)
        seconds = {"re-score": time.perf_counter() - start}
        return Step(
            reordered(before, strengths),
            {"strength": tuple(strengths)},
            tuple(ms.tolist()),
            about={"bytes_per_image": space.uncoded_bytes},
            phases_s=seconds,
        )

    def faults(self, arrays: Any, before: Ranking, protocols: Any) -> list[str]:
        """Check that exactly the first rows have a score."""
        for strength in arrays["strength"]:
            if not np.isnan(strength[:, self.count :]).all():
                return [f"rows after the first {self.count} have a score"]
        return []

    def words(self, entry: Mapping[str, Any]) -> str:
        """Return its name with the number of rows."""
        return f"first {self.count} re-scored with full descriptors"


def of_entry(entry: Mapping[str, Any]) -> Rescoring:
    """Return the stage of an entry of a card."""
    if type(entry["rows"]) is not int or entry["rows"] < 1:
        raise ValueError("rows must be a number of rows")
    return Rescoring(entry["rows"])


def make(first: str | None, options: Mapping[str, str]) -> Rescoring:
    """Return the stage of `--stage rescore:R`."""
    where = "--stage rescore"
    numbers.check_names(where, options, ())
    if first is None:
        raise BenchError(f"{where}: write rescore:R, with the number of rows to score.")
    return Rescoring(numbers.whole(where, "the number of rows", first))
