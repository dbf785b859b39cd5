"""Mapillary's own tables: which images of a city take part, and where they were taken.

`<split>/<city>/{query,database}/` holds subtask_index.csv, raw.csv and postprocessed.csv, whose
rows belong together, and `images/<key>.jpg` (Warburg et al., CVPR 2020; program mapillary_sls).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.datasets._readers import by_distance, numpy_files
from bench.errors import BenchError

TABLES = ("subtask_index.csv", "raw.csv", "postprocessed.csv")
_COLUMNS = {
    "subtask_index.csv": ("all",),
    "raw.csv": ("key", "pano", "ca"),
    "postprocessed.csv": ("key", "easting", "northing"),
}


@dataclass(frozen=True, eq=False)
class Side:
    """The images of one city and one side: names, (n, 2) metres, and compass angle in degrees."""

    names: list[str]
    xy: NDArray[np.float64]
    angle: NDArray[np.float64]


def side(contents: list[bytes], paths: list[Path], folder: str, *, subtask: bool) -> Side:
    """Return the images that are not panoramas; with `subtask` those that the subtask "all" has.

    `contents` are those of TABLES; `folder` is the beginning of the names, up to the key.
    """
    import pandas as pd

    tables = {
        name: _table(content, path, _COLUMNS[name])
        for name, content, path in zip(TABLES, contents, paths, strict=True)
    }
    raw, post = tables["raw.csv"], tables["postprocessed.csv"]
    sizes = {len(table) for table in tables.values()}
    if len(sizes) > 1 or (raw["key"] != post["key"]).any():
        raise BenchError(f"{paths[0].parent}: the rows of its tables do not belong together.")
    kept = ~_booleans(raw["pano"], paths[1])
    if subtask:
        kept &= _booleans(tables["subtask_index.csv"]["all"], paths[0])
    chosen = np.flatnonzero(kept)
    xy = post[["easting", "northing"]].to_numpy()[chosen]
    angle = pd.to_numeric(raw["ca"], errors="coerce").to_numpy(dtype=np.float64)[chosen]
    names = [f"{folder}/images/{key}.jpg" for key in raw["key"].iloc[chosen]]
    return Side(names, by_distance.checked(xy, len(names), paths[2]), angle)


def _table(content: bytes, path: Path, columns: tuple[str, ...]) -> Any:
    import pandas as pd

    try:
        table = pd.read_csv(io.BytesIO(content), dtype={"key": str}, low_memory=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise BenchError(
            f"{path} cannot be read as a table: {numpy_files.reason(error)}."
        ) from error
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise BenchError(
            f"{path} has no column {lacking[0]!r}; it has {', '.join(map(str, table.columns))}."
        )
    return table


def _booleans(column: Any, path: Path) -> NDArray[np.bool_]:
    known = column.map({True: True, False: False, "True": True, "False": False})
    if known.isna().any():
        raise BenchError(f"{path}: {column.name} must be True or False in every row.")
    values: NDArray[np.bool_] = known.to_numpy(dtype=np.bool_)
    return values
