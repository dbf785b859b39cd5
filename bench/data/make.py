"""A dataset.json from photographs of one's own: folders of classes, a table, or positions.

classes    a folder per class: its first images are queries, the others their positives
pairs      a CSV with the columns `query` and `positive`: file names
groups     a CSV with the columns `file` and `group`: as classes
positions  a CSV with `file`, `x` and `y` in metres, GPS in the EXIF of the photographs, or names
           that begin @east@north@: positives are within a distance
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from bench.data import listing, metres, raw
from bench.errors import BenchError, first_few

EARTH_M = 6_371_000.0  # mean radius
WITHIN_M = 25.0
METRICS = ("map.trapezoid.junk-removed", "mp@1.clipped.junk-removed",
           "recall@1.any-hit.junk-removed", "recall@5.any-hit.junk-removed")  # fmt: skip
RECALLS = tuple(f"recall@{k}.any-hit.junk-removed" for k in (1, 5, 10))
Positions = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Made:
    """The content of a dataset.json, and what to tell of it."""

    content: dict[str, Any]
    notes: tuple[str, ...] = ()


def from_classes(folder: Path, per_class: int) -> Made:
    """Return the data set of a folder with a folder per class."""
    found = listing.images(folder)
    groups: dict[str, list[str]] = {}
    loose = [name for name in found.files if "/" not in name]
    for name in found.files:
        if "/" in name:
            groups.setdefault(name.rpartition("/")[0], []).append(name)
    if len(groups) < 2:
        raise BenchError(
            f"{folder} has {len(groups)} folders with images; it needs a folder for every class, a "
            "--pairs, --groups or --positions table, or GPS in the photographs (--gps)."
        )
    notes = (
        [f"{len(loose)} images outside any class folder are skipped: {first_few(loose)}"]
        if loose
        else []
    )
    return _grouped(groups, per_class, [*notes, *found.notes])


def from_groups(table: Path, folder: Path, per_class: int) -> Made:
    """Return the data set of a table with the columns `file` and `group`."""
    groups: dict[str, list[str]] = {}
    for row in read_table(table, ("file", "group")):
        groups.setdefault(row["group"], []).append(_there(folder, row["file"], table))
    return _grouped(groups, per_class, [])


def _grouped(groups: Mapping[str, Sequence[str]], per_class: int, notes: Sequence[str]) -> Made:
    database: list[str] = []
    queries: list[dict[str, str]] = []
    positive: list[list[str]] = []
    single = 0
    for name in sorted(groups):
        files = listing.by_numbers(dict.fromkeys(groups[name]), strict=False)
        asked = files[:per_class] if len(files) > per_class else []
        single += not asked
        database += files[len(asked) :]
        queries += [{"file": file, "landmark": name} for file in asked]
        positive += [files[len(asked) :]] * len(asked)
    if not queries:
        raise BenchError(
            f"no class has more than {per_class} images; a query needs another image of its class."
        )
    more = (
        [f"classes with too few images for a query: {single}; their images are negatives"]
        if single
        else []
    )
    entries = [{"positive": files} for files in positive]
    return Made(_content(database, queries, entries, METRICS), (*notes, *more))


def from_pairs(table: Path, folder: Path) -> Made:
    """Return the data set of a table with the columns `query` and `positive`.

    The database has the positives, and all other images of the folder except queries.
    """
    positive: dict[str, list[str]] = {}
    for row in read_table(table, ("query", "positive")):
        query, match = (_there(folder, row[column], table) for column in ("query", "positive"))
        if match == query:
            raise BenchError(f"{table}: {query} is its own positive; a query needs another image.")
        files = positive.setdefault(query, [])
        if match not in files:
            files.append(match)
    matches = dict.fromkeys(file for files in positive.values() for file in files)
    others = [n for n in listing.images(folder).files if n not in positive and n not in matches]
    both = [name for name in matches if name in positive]
    entries: list[dict[str, list[str]]] = []
    for query, files in positive.items():
        own = {"ignored": [query]} if query in matches else {}
        entries.append({"positive": files, **own})
    notes = (
        [f"{len(both)} queries are also in the database; each of them is ignored for its own query"]
        if both
        else []
    )
    queries = [{"file": file} for file in positive]
    return Made(_content([*matches, *others], queries, entries, METRICS), tuple(notes))


def from_positions(positions: Positions, within_m: float, unit: str) -> Made:
    """Return the data set of positions in metres: every image asks for those near it.

    Where the folder has `database` and `queries`, those ask and are asked; else every image is
    both, and is ignored for itself.
    """
    from scipy.spatial import cKDTree  # so that listing data sets stays quick

    names = listing.by_numbers(positions, strict=False)
    database = [n for n in names if n.startswith("database/")]
    queries = [n for n in names if n.startswith("queries/")]
    apart = bool(database and queries)
    database, queries = (database, queries) if apart else (names, names)
    points = np.array([positions[name] for name in database])
    asked = np.array([positions[name] for name in queries])
    near = cKDTree(points).query_ball_point(asked, within_m, return_sorted=True)
    entries: list[dict[str, list[str]]] = []
    for query, rows in zip(queries, near, strict=True):
        files = [database[row] for row in rows if database[row] != query]
        entries.append({"positive": files} | ({} if apart else {"ignored": [query]}))
    alone = sum(not entry["positive"] for entry in entries)
    notes = [f"{alone} queries have no image within {within_m:g} m, and count as misses"]
    content = _content(database, [{"file": file} for file in queries], entries, RECALLS)
    content |= {
        "empty": "miss",
        "rules": {"positive": "planar-distance", "threshold_m": within_m, "comparison": "<=",
                  "positions": unit},
        "positions": asked.round(3).tolist(),
    }  # fmt: skip
    return Made(content, tuple(notes if alone else ()))


def table_positions(table: Path, folder: Path, within_m: float) -> dict[str, tuple[float, float]]:
    """Return the positions of a table with the columns `file`, `x` and `y`, in metres."""
    out = {}
    for row in read_table(table, ("file", "x", "y")):
        try:
            point = float(row["x"]), float(row["y"])
        except ValueError:
            raise BenchError(
                f"{table}: {row['file']} has the position {row['x']!r}, {row['y']!r}, which is "
                "not two numbers; correct it."
            ) from None
        if not all(map(math.isfinite, point)):
            raise BenchError(
                f"{table}: {row['file']} has a position that is not finite; correct it."
            )
        out[_there(folder, row["file"], table)] = point
    points = np.array(list(out.values())).reshape(-1, 2)
    metres.check(points, points, within_m, table)
    return out


def gps_positions(folder: Path) -> dict[str, tuple[float, float]]:
    """Return the positions in metres of the photographs of a folder that have GPS in their EXIF.

    They are projected on a plane that touches the earth in their middle.
    """
    degrees = {}
    names = listing.images(folder).files
    for name in names:
        point = gps(folder / name)
        if point is not None:
            degrees[name] = point
    if not degrees:
        raise BenchError(
            f"none of the {len(names)} images of {folder} has GPS in its EXIF; give a table with "
            "--positions."
        )
    radians = np.radians(list(degrees.values()))
    middle = radians.mean(axis=0)
    north = EARTH_M * (radians[:, 0] - middle[0])
    east = EARTH_M * np.cos(middle[0]) * (radians[:, 1] - middle[1])
    return dict(zip(degrees, zip(east.tolist(), north.tolist(), strict=True), strict=True))


def gps(path: Path) -> tuple[float, float] | None:
    """Return latitude and longitude in degrees of a photograph, None where it says none."""
    try:
        with Image.open(path) as image:
            found = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
        values = []
        for key, sign, negative in ((2, 1, "S"), (4, 3, "W")):  # latitude, longitude, their sides
            parts = [float(part) for part in found[key]]
            value = sum(part / 60**place for place, part in enumerate(parts))
            values.append(-value if str(found.get(sign, "")).strip("\0 ") == negative else value)
    except (OSError, LookupError, TypeError, ValueError, ZeroDivisionError, SyntaxError):
        return None
    latitude, longitude = values
    well = math.isfinite(latitude + longitude) and abs(latitude) <= 90 and abs(longitude) <= 180
    return (latitude, longitude) if well and (latitude, longitude) != (0.0, 0.0) else None


def boxes(table: Path, folder: Path) -> dict[str, list[float]]:
    """Return query boxes of a table with `file`, `left`, `top`, `right` and `bottom`, in pixels."""
    out = {}
    sides = ("left", "top", "right", "bottom")
    for row in read_table(table, ("file", *sides)):
        try:
            out[_there(folder, row["file"], table)] = [float(row[side]) for side in sides]
        except ValueError:
            raise BenchError(
                f"{table}: the box of {row['file']} contains a value that is not a number; "
                "correct it."
            ) from None
    return out


def read_table(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV that has a head with these columns."""
    lines = raw.text(raw.read(table), table).splitlines()
    rows = csv.DictReader(lines)
    lacking = [column for column in columns if column not in (rows.fieldnames or ())]
    if lacking:
        raise BenchError(
            f"{table} has no column {', '.join(lacking)}; its first line must name the columns "
            f"{', '.join(columns)}."
        )
    out = []
    try:
        for number, row in enumerate(rows, start=2):
            values = {column: (row[column] or "").strip() for column in columns}
            if not all(values.values()):
                raise BenchError(f"{table}, line {number}: {', '.join(columns)} must not be empty.")
            out.append(values)
    except csv.Error as error:
        raise BenchError(f"{table} cannot be read as CSV: {error}.") from None
    if not out:
        raise BenchError(f"{table} has no rows.")
    return out


def _content(
    database: Sequence[str],
    queries: Sequence[Mapping[str, str]],
    entries: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
) -> dict[str, Any]:
    return {
        "database": list(database),
        "queries": [dict(query) for query in queries],
        "protocols": {"all": [dict(entry) for entry in entries]},
        "metrics": list(metrics),
    }


def _there(folder: Path, name: str, table: Path) -> str:
    """Return the name of a file that is there, or refuse it."""
    path = folder / name
    if re.match(r"[/\\~]|\.\.", name) or not path.is_file():
        raise BenchError(
            f"{table}: the file {name!r} does not exist in {folder}; correct the name."
        )
    return name
