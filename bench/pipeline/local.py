"""The local features of a run: of its queries, database and distractors, for a stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import datasets, methods
from bench.describe import engine, extract, local_store
from bench.pipeline.plan import Plan
from bench.pipeline.space import Features
from bench.stage import Local
from bench.types import Image, LocalFeatures, Rows


def features_of(
    planned: Plan,
    absent: Sequence[dict[int, str]],
    by: extract.Doer | None = None,
    copied: Rows | None = None,
) -> Features:
    """Return a function that reads local features, and computes those that the store lacks.

    `absent` are the images without a descriptor, list by list, the queries last; `by` describes.
    `copied` has the database row of every query, where all are images of the database.
    """
    reader = _Reader(planned, planned.local or planned.loaded, by)
    shown = datasets.shown_queries(planned.dataset)

    def features(queries: Rows, rows: Rows) -> Local:
        phases: dict[str, float] = {}
        of_rows, first = [], 0
        for (what, images), gone in zip(planned.database_lists(), absent, strict=False):
            mine = rows[(rows >= first) & (rows < first + len(images.database))] - first
            if len(mine):
                found, seconds = reader.read(what, (images.folder, images.database), mine, gone)
                of_rows.append((first, len(mine), found))
                phases[f"local features, {what}"] = seconds
            first += len(images.database)
        numbers, listed, gone = queries, shown, absent[-1]
        if copied is not None:
            numbers, listed, gone = copied[queries], planned.dataset.database, absent[0]
        asked, seconds = reader.read("queries", (planned.dataset.folder, listed), numbers, gone)
        phases["local features, queries"] = seconds

        def of_query(query: int) -> LocalFeatures:
            return asked.read(query if copied is None else int(copied[query]))

        def of_row(row: int) -> LocalFeatures:
            first, _, found = next(of for of in reversed(of_rows) if of[0] <= row)
            return found.read(row - first)

        total = max(1, len(rows))
        return Local(
            of_query,
            of_row,
            sum(n * found.features for _, n, found in of_rows) / total,
            sum(n * found.bytes for _, n, found in of_rows) / total,
            phases,
        )

    return features


@dataclass(frozen=True)
class _Reader:
    """Reads the local features that a method gives, and computes what the store lacks."""

    planned: Plan
    loaded: engine.Loaded
    by: extract.Doer | None

    def read(
        self, what: str, listed: tuple[Path, Sequence[Image]], rows: Rows, gone: dict[int, str]
    ) -> tuple[local_store.Kept, float]:
        """Return the features of the images `rows` of a list, and the seconds that took."""
        start, options = time.perf_counter(), self.planned.options
        kept = local_store.extract_local(
            self.loaded,
            *listed,
            rows,
            methods.local_of(self.loaded.method, self.loaded.info),
            options.local_precision,
            f"local features, {what}",
            force=options.force,
            missing=gone if options.allow_missing else None,
            by=self.by,
        )
        return kept, time.perf_counter() - start
