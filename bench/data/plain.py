"""A folder of photographs without labels: a data set whose lists are looked at, not scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data import listing
from bench.errors import BenchError

METRICS = ("recall@1.any-hit.junk-removed",)
PARTS = ("database/", "queries/")


def of_folder(folder: Path, known: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return a folder of photographs in the form of a dataset.json; None where it has no image.

    Where it has the folders `database` and `queries`, the images of the one are searched for those
    of the other; else every image is searched for all others. No image is positive.
    """
    found = listing.images(folder)
    files = list(found.files)
    if not files:
        return None
    parts = [[file for file in files if file.startswith(part)] for part in PARTS]
    apart = all(parts)
    database, queries = parts if apart else (files, files)
    if len(files) < 2:
        raise BenchError(f"{folder} contains one image; a search needs at least two.")
    ignored = [[] if apart else [row] for row in range(len(queries))]
    return {
        "name": own_name(folder, known),
        "variant": "a folder of photographs without labels",
        "images": str(folder.absolute()),
        "database": database,
        "queries": [{"file": file} for file in queries],
        "protocols": {"unlabelled": [{"positive": [], "ignored": rows} for rows in ignored]},
        "metrics": list(METRICS),
        "notes": [
            *found.notes,
            "no labels, so nothing is scored, and a sheet shows the lists; `data make` makes "
            "labels from a folder per class, a table, or positions",
        ],
    }


def own_name(folder: Path, known: Sequence[str], default: str = "photographs") -> str:
    """Return the name of a data set for a user's folder; never one that is `known` for another."""
    own = next((p for p in folder.absolute().parts[::-1] if p not in ("images", "test")), default)
    name = re.sub(r"[^a-z0-9._+-]+", "-", own.lower()).strip("-._+") or default
    return f"{name}-own" if name.partition(".")[0] in known else name
