"""Names and positions in one file: NetVLAD's `.mat` (dbStruct), Patch-NetVLAD's `.npz` with lists.

Both give positives by distance. What is read is a mapping: `database`, `queries` (names),
`positive` (rows per query), `database_xy` and `queries_xy` (metres).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import ground_truth, metres, raw
from bench.datasets._readers import by_distance, numpy_files, places
from bench.errors import BenchError
from bench.facts import Facts
from bench.system import array_files

_FIELDS = ("dbImageFns", "utmDb", "qImageFns", "utmQ", "posDistThr")


def load(
    root: Path,
    name: str,
    facts: Facts,
    stem: str,
    names: str | None,
    threshold: float = places.DISTANCE_M,
) -> dict[str, Any] | None:
    """Return what `<stem>.mat` holds, or else `<stem>.npz` with the lists of `names`, or None.

    The lists are `<names>_imageNames_index.txt` and `<names>_imageNames_query.txt`. Positives are
    those within `threshold`.
    """
    found = places.find(root, name, facts, f"{stem}.mat")
    read: dict[str, Any]
    if found is not None:
        [path] = found
        read = ground_truth.once(
            found, f"dbstruct-1 {threshold:g}", lambda contents: mat(contents[0], path, threshold)
        )
        return read
    lists = [f"{names}_imageNames_{kind}.txt" for kind in ("index", "query")]
    paths = places.find(root, name, facts, f"{stem}.npz", *lists) if names is not None else None
    if paths is None:
        return None
    read = ground_truth.once(
        paths, f"patchnetvlad-1 {threshold:g}", lambda contents: npz(contents, paths, threshold)
    )
    return read


def mat(content: bytes, where: Path, threshold: float) -> dict[str, Any]:
    """Return what a dbStruct of NetVLAD holds; its fields are found by name.

    MATLAB 5 files only: these hold no code, and scipy reads no other.
    """
    from scipy.io import loadmat

    file: Any = io.BytesIO(content)  # scipy-stubs before 1.18 know names of files only
    try:
        array_files.check_mat(file, len(content))
        variables = loadmat(file, variable_names=["dbStruct"])
    except Exception as error:  # a truncated file can raise anything
        raise BenchError(
            f"{where} cannot be read as a MATLAB 5 file: {numpy_files.reason(error)}."
        ) from error
    try:
        struct = variables["dbStruct"].ravel()[0]
        fields = {name: struct[name] for name in _FIELDS}
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise BenchError(
            f"{where} is not a dbStruct of NetVLAD: it must have the fields {', '.join(_FIELDS)} "
            f"({type(error).__name__}: {error})."
        ) from error
    database, queries = (_cells(fields[key], where, key) for key in ("dbImageFns", "qImageFns"))
    threshold_stated = np.asarray(fields["posDistThr"]).ravel()
    return _with_positives(
        database,
        queries,
        np.asarray(fields["utmDb"]).T,
        np.asarray(fields["utmQ"]).T,
        threshold_stated,
        threshold,
        where,
    )


def npz(contents: list[bytes], paths: list[Path], threshold: float) -> dict[str, Any]:
    """Return what Patch-NetVLAD's positions (.npz), list of index images and of queries hold."""
    arrays = numpy_files.arrays(contents[0], paths[0])
    lacking = [key for key in ("utmDb", "utmQ", "posDistThr") if key not in arrays]
    if lacking:
        raise BenchError(f"{paths[0]} has no array {lacking[0]!r}; it has {', '.join(arrays)}.")
    database, queries = (
        [places.without_first(line) for line in raw.lines(text, path)]
        for text, path in zip(contents[1:], paths[1:], strict=True)
    )
    threshold_stated = arrays["posDistThr"].ravel()
    return _with_positives(
        database, queries, arrays["utmDb"], arrays["utmQ"], threshold_stated, threshold, paths[0]
    )


def _cells(cells: Any, where: Path, key: str) -> list[str]:
    try:
        names = [str(np.asarray(cell).ravel()[0]) for cell in np.asarray(cells).ravel()]
    except (IndexError, TypeError, ValueError) as error:
        raise BenchError(f"{where}: {key} must be a list of names: {error}.") from error
    return [name.strip() for name in names]


def _with_positives(
    database: list[str],
    queries: list[str],
    database_xy: Any,
    queries_xy: Any,
    stated: Any,
    threshold: float,
    where: Path,
) -> dict[str, Any]:
    if stated.size != 1 or stated.dtype.kind not in "iuf" or float(stated[0]) != threshold:
        raise BenchError(
            f"{where}: posDistThr is {stated.tolist()}, but positives of this data set are "
            f"within {threshold:g}; use the published file."
        )
    xy = by_distance.checked(database_xy, len(database), f"{where}: utmDb")
    asked = by_distance.checked(queries_xy, len(queries), f"{where}: utmQ")
    metres.check(xy, asked, threshold, where)
    return {
        "database": database,
        "queries": queries,
        "positive": [rows.tolist() for rows in by_distance.positives(xy, asked, threshold)],
        "database_xy": xy.tolist(),
        "queries_xy": asked.tolist(),
    }
