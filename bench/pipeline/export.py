"""What `evaluate --export` writes: queries, rows and scores after the search and every stage."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.pipeline.chain import Chain
from bench.pipeline.lists import Lists
from bench.pipeline.walk import Walked
from bench.store.matrix import Matrix, count_rows, read
from bench.system.notes import note
from bench.system.paths import write_bytes
from bench.types import Dataset

MOST_BYTES = 1 << 30  # of database rows after one stage


def export(path: Path, walked: Walked, dataset: Dataset, chain: Chain) -> None:
    """Write lists and queries after the search and after every stage as an .npz.

    `search_rows` and `search_scores` (n_queries, depth) are the list of the search. A stage on
    descriptors gives `stage0_database` (n, dim), up to 1 GiB, and `stage0_queries` (n_queries,
    dim), float32, without missing images; one on lists gives `stage1_rows`, `stage1_scores` and,
    where it searched with other queries, `stage1_queries`, and what the stage names besides. A list
    that differs by protocol has its name behind it. A row of -1 fills a list.
    """
    out: dict[str, Any] = {"stages": np.array([stage.name for stage in chain.stages])}
    for place, lists in enumerate(walked.rows):
        out |= _rows(f"stage{place}", lists)
    first = len(walked.rows)
    lists_of = [("search", walked.first.before)]
    lists_of += [(f"stage{place}", step.ranking) for place, step in enumerate(walked.steps, first)]
    for name, ranking in lists_of:
        for at, listed in enumerate(ranking.shortlist):
            protocol = dataset.protocols[ranking.of.index(at)].name
            end = f"_{protocol}" if len(ranking.shortlist) > 1 else ""
            out |= {f"{name}_rows{end}": listed.row, f"{name}_scores{end}": listed.score}
    for place, step in enumerate(walked.steps, first):
        if step.queries is not None:
            out[f"stage{place}_queries"] = step.queries
        out |= {f"stage{place}_{name}": array for name, array in step.export.items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **out)
    write_bytes(path, packed.getvalue())


def _rows(name: str, lists: Lists) -> dict[str, NDArray[Any]]:
    """Return the rows of a stage on descriptors, without those of a database that is too large."""
    out = {f"{name}_queries": _whole(lists.queries)}
    count = count_rows(lists.database)
    if 4 * count * lists.database[0].shape[1] <= MOST_BYTES:
        return out | {f"{name}_database": _whole(lists.database)}
    text = f"--export skips {name}_database: its {count} rows take more than 1 GiB"
    note(text)
    return out


def _whole(parts: Sequence[Matrix]) -> NDArray[Any]:
    return np.array(read(parts, 0, count_rows(parts)))
