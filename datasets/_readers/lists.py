"""Lists in three `.npy` files: database names, query names, and the positives of each query.

The form of GSV-Cities, MixVPR and SALAD, and of VPR-Bench with its rows [query, positives].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.data import ground_truth
from bench.datasets._readers import numpy_files, places, utm
from bench.errors import BenchError
from bench.facts import Facts

KINDS = ("dbImages", "qImages", "gt")


def load(root: Path, name: str, facts: Facts, stem: str) -> dict[str, Any] | None:
    """Return what `<stem>_dbImages.npy`, `_qImages.npy` and `_gt.npy` hold, or None."""
    paths = places.find(root, name, facts, *(f"{stem}_{kind}.npy" for kind in KINDS))
    return (
        None
        if paths is None
        else ground_truth.once(paths, "lists-1", lambda held: npy(held, paths))
    )


def npy(contents: list[bytes], paths: list[Path]) -> dict[str, Any]:
    """Return `database`, `queries` and `positive` of the files, in this order."""
    database, queries = (
        numpy_files.strings(content, path)
        for content, path in zip(contents, paths[:2], strict=False)
    )
    positive = numpy_files.rows(contents[2], paths[2])
    if len(positive) != len(queries):
        raise BenchError(f"{paths[2]} has {len(positive)} lists for {len(queries)} queries.")
    return {"database": database, "queries": queries, "positive": positive}


def vpr_bench(root: Path, name: str, stem: str, facts: Facts) -> dict[str, Any]:
    """Return a data set of VPR-Bench, whose images are called ref/0000000.jpg, query/0000000.jpg.

    Its lists are `<stem>_dbImages.npy`, `<stem>_qImages.npy` and `<stem>_gt.npy`, as GSV-Cities
    made them; or `ground_truth_new.npy` of VPR-Bench, whose images are found in the two folders.
    """
    listed = load(root, name, facts, stem)
    if listed is not None:
        return listed
    found = places.find(root, name, facts, "ground_truth_new.npy")
    if found is None:
        files = ", ".join(f"{stem}_{kind}.npy" for kind in KINDS)
        wanted = f"{files}, or ground_truth_new.npy with the folders ref and query"
        raise places.missing(root, name, wanted, facts)
    images = found[0].parent
    read = {"database": utm.names(images, "ref"), "queries": utm.names(images, "query")}
    pairs = numpy_files.pairs(found[0].read_bytes(), found[0])
    if [query for query, _ in pairs] != list(range(len(read["queries"]))):
        raise BenchError(
            f"{found[0]} has the positives of {len(pairs)} queries, and {images / 'query'} holds "
            f"{len(read['queries'])} images; there must be one entry for each, in order."
        )
    return {**read, "positive": [rows for _, rows in pairs]}
