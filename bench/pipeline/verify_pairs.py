"""The stage of a run that verifies pairs of its lists by their local features."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import datasets, methods
from bench.describe import extract, local_store
from bench.measure import timing
from bench.pipeline.plan import Plan
from bench.rerank import verification
from bench.types import Image, LocalFeatures, Rows, Shortlist


def reranking(
    planned: Plan, absent: Sequence[dict[int, str]], by: extract.Doer | None = None
) -> verification.Reranking:
    """Return the stage that re-ranks the lists of this run; nothing is computed yet."""
    dataset, loaded, options = planned.dataset, planned.loaded, planned.options
    assert options.rerank is not None
    rule = methods.local_of(loaded.method, loaded.info)

    def verify(
        shortlist: Shortlist, mask: NDArray[np.bool_], phases: dict[str, float]
    ) -> verification.Verified:
        def features(
            what: str, folder: Path, wanted: Sequence[Image], rows: Rows, gone: dict[int, str]
        ) -> Any:
            start, phase = time.perf_counter(), f"local features, {what}"
            kept = local_store.extract_local(
                loaded,
                folder,
                wanted,
                rows,
                rule,
                options.local_precision,
                phase,
                force=options.force,
                missing=gone if options.allow_missing else None,
                by=by,
            )
            phases[phase] = time.perf_counter() - start
            return kept

        wanted = np.unique(shortlist.row[mask])
        of_rows, first = [], 0
        for (what, one), gone in zip(planned.database_lists(), absent, strict=False):
            rows = wanted[(wanted >= first) & (wanted < first + len(one.database))] - first
            if len(rows):
                kept = features(what, one.folder, one.database, rows, gone)
                of_rows.append((first, len(rows), kept))
            first += len(one.database)
        shown = datasets.shown_queries(dataset)
        asked = np.flatnonzero(mask.any(axis=1))
        of_queries = features("queries", dataset.folder, shown, asked, absent[-1])

        def read(row: int) -> LocalFeatures:
            first, _, kept = next(of for of in reversed(of_rows) if of[0] <= row)
            found: LocalFeatures = kept.read(row - first)
            return found

        start = time.perf_counter()
        inliers, query_ms = verification.count_inliers(
            shortlist, mask, of_queries.read, read, rule, options.ransac
        )
        phases["re-rank"] = time.perf_counter() - start
        about = {
            "pairs": int(mask.sum()),
            "ms_per_query": timing.summarise(timing.in_blocks(query_ms)),
            "features_per_image": sum(n * kept.features for _, n, kept in of_rows) / len(wanted),
            "bytes_per_image": sum(n * kept.bytes for _, n, kept in of_rows) / len(wanted),
        }
        return verification.Verified(inliers, about)

    return verification.Reranking(verification.stage_of(options.rerank, rule), verify)
