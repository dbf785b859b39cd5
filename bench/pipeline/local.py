"""The local features of a run: of its queries, database and distractors, for a stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench import datasets, methods
from bench.describe import extract, local_store
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
    dataset, loaded, options = planned.dataset, planned.local or planned.loaded, planned.options
    rule = methods.local_of(loaded.method, loaded.info)

    def kept(
        what: str, folder: Path, wanted: Sequence[Image], rows: Rows, gone: dict[int, str]
    ) -> tuple[local_store.Kept, float]:
        start = time.perf_counter()
        found = local_store.extract_local(
            loaded,
            folder,
            wanted,
            rows,
            rule,
            options.local_precision,
            f"local features, {what}",
            force=options.force,
            missing=gone if options.allow_missing else None,
            by=by,
        )
        return found, time.perf_counter() - start

    def features(queries: Rows, rows: Rows) -> Local:
        phases: dict[str, float] = {}
        of_rows, first = [], 0
        for (what, one), gone in zip(planned.database_lists(), absent, strict=False):
            mine = rows[(rows >= first) & (rows < first + len(one.database))] - first
            if len(mine):
                found, seconds = kept(what, one.folder, one.database, mine, gone)
                of_rows.append((first, len(mine), found))
                phases[f"local features, {what}"] = seconds
            first += len(one.database)
        if copied is None:
            shown = datasets.shown_queries(dataset)
            asked, seconds = kept("queries", dataset.folder, shown, queries, absent[-1])
        else:
            asked, seconds = kept(
                "queries", dataset.folder, dataset.database, copied[queries], absent[0]
            )
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
