"""The data set format `dataset.json`, checked; what data set plug-ins return has the same form.

Its type is `bench.data.model.DatasetFile`. What a type cannot say (rows inside the list, no row
both positive and ignored, boxes with an area) is checked here. Every defect is one sentence that
names the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import raw
from bench.errors import BenchError, unknown
from bench.scoring import metric_names
from bench.scoring.metrics import REVISITED_METRICS
from bench.system import reading
from bench.types import Areas, Box, Dataset, GroundTruth, Image, Protocol

PLAIN = re.compile(r"(?:[\w@+,-][\w@+,.-]*/)*[\w@+,-][\w@+,.-]*\.[A-Za-z]+", re.ASCII)


def read(path: Path) -> Dataset:
    """Return the data set of a dataset.json, or of a folder that holds one."""
    if path.is_dir():
        if not (path / "dataset.json").exists():
            raise BenchError(
                f"{path / 'dataset.json'} does not exist; `data make {path} --output "
                "FILE.json` makes one from a folder of photographs."
            )
        path = path / "dataset.json"
    try:
        text = raw.text(raw.read(path), path)
    except FileNotFoundError:
        raise BenchError(f"the file {path} does not exist; check the path.") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error}.") from error
    try:
        data = reading.json_value(text)
    except json.JSONDecodeError as error:
        raise BenchError(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError as error:
        raise BenchError(f"{path}: {reading.line(error)}.") from None
    return parse(data, str(path), path.parent)


def parse(data: Any, where: str, base: Path) -> Dataset:
    """Check `data`, in the form of a dataset.json, and return the data set.

    `where` begins the error sentences; `base` is what a relative `images` is relative to.
    """
    from bench.data.model import DatasetFile  # pydantic is slow to import
    from bench.system import typed

    try:
        reading.check_depth(data)
    except ValueError as error:
        raise BenchError(f"{where}: {error}.") from None
    data, fault = typed.checked(DatasetFile, _numbered(_json_form(data), where))
    if fault:
        raise BenchError(f"{where}: {fault}.")
    if bool(data["queries"]) != bool(data["protocols"]):
        empty = "protocols" if data["queries"] else "queries"
        raise BenchError(
            f"{where}: {empty}: must not be empty; remove both protocols and queries for a set "
            "of distractors."
        )
    if not _can_be_a_path(data["images"]):
        raise BenchError(f"{where}: images: {data['images']!r} cannot be the name of a folder.")
    database = _database(data["database"], where)
    queries = tuple(
        _image(query["file"], f"{where}: queries[{i}].file", query.get("box"))
        for i, query in enumerate(data["queries"])
    )
    try:
        metrics = tuple(map(metric_names.named, data.get("metrics", REVISITED_METRICS)))
    except BenchError as error:
        raise BenchError(f"{where}: metrics: {error}") from None
    if len(set(metrics)) < len(metrics):
        raise BenchError(
            f"{where}: metrics: {reading.first_twice(metrics)} is listed twice; remove one."
        )
    protocols = []
    for name, entries in data["protocols"].items():
        place = f"{where}: protocols.{name}"
        if len(entries) != len(queries):
            raise BenchError(
                f"{place} has {len(entries)} entries for {len(queries)} queries; it needs one "
                "entry per query, in the same order."
            )
        truth = tuple(_truth(e, len(database), f"{place}[{i}]") for i, e in enumerate(entries))
        asked = None if None not in entries else tuple(e is not None for e in entries)
        protocols.append(Protocol(name, truth, metrics, data.get("empty", "skip"), asked))
    return Dataset(
        name=data["name"],
        variant=data.get("variant", data["name"]),
        folder=base / data["images"],
        database=database,
        queries=queries,
        protocols=tuple(protocols),
        licence=data.get("licence", "not stated"),
        citation=data.get("citation", "not stated"),
        description=data.get("description", ""),
        rules=data.get("rules", {}),
        areas=_areas(data, len(database), len(queries), where),
        groups=_groups(data, len(database), metrics, where),
        notes=tuple(data.get("notes", ())),
        positions=_pairs(data, "positions", np.float64, len(queries), where),
        order=_pairs(data, "order", np.int64, len(queries), where),
    )


def _database(files: list[str], where: str) -> tuple[Image, ...]:
    database = tuple(_image(file, f"{where}: database[{i}]") for i, file in enumerate(files))
    seen: dict[str, int] = {}
    for i, image in enumerate(database):
        if image.file in seen:
            raise BenchError(
                f"{where}: database[{i}] repeats {image.file!r} of database[{seen[image.file]}]; "
                "every row must be a different image."
            )
        seen[image.file] = i
    return database


def _pairs(data: dict[str, Any], key: str, kind: type, count: int, where: str) -> Any:
    """Return an array (count, 2) of a key with a pair per query, None where it is not stated."""
    if key not in data:
        return None
    if len(data[key]) != count:
        raise BenchError(f"{where}: {key} has {len(data[key])} entries for {count} queries.")
    return np.array(data[key], dtype=kind).reshape(count, 2)


def _areas(data: dict[str, Any], n_rows: int, n_queries: int, where: str) -> Areas | None:
    if "areas" not in data:
        return None
    numbers = {}
    for kind, count in (("database", n_rows), ("queries", n_queries)):
        numbers[kind] = _numbers(data["areas"][kind], count, f"{where}: areas.{kind}")
    if np.any(np.diff(numbers["database"]) < 0):
        raise BenchError(
            f"{where}: areas.database must ascend: list the images of an area together."
        )
    bare = np.flatnonzero(~np.isin(numbers["queries"], numbers["database"]))
    if len(bare):
        area = numbers["queries"][bare[0]]
        raise BenchError(
            f"{where}: areas.queries[{bare[0]}] is {area}, an area without database images."
        )
    return Areas(numbers["database"], numbers["queries"])


def _groups(
    data: dict[str, Any], n_rows: int, metrics: tuple[str, ...], where: str
) -> NDArray[np.int64] | None:
    if "groups" not in data:
        return None
    other = [name for name in metrics if not name.startswith("recall@")]
    if other:
        raise BenchError(
            f"{where}: groups need Recall@k; remove {other[0]!r} from metrics, which is not "
            "defined on lists without the suppressed images."
        )
    return _numbers(data["groups"], n_rows, f"{where}: groups")


def _numbers(values: list[int], count: int, place: str) -> NDArray[np.int64]:
    if len(values) != count:
        raise BenchError(f"{place} has {len(values)} numbers for {count} images.")
    return np.array(values, dtype=np.int64)


def _json_form(value: Any) -> Any:
    """Return plug-in data as JSON would have it: lists for tuples, whole numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(key): _json_form(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= {int, str}:
            return list(value)
        return [_json_form(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _numbered(data: Any, where: str) -> Any:
    """Return the data with row numbers where a protocol has file names of the database."""
    if not isinstance(data, dict) or not isinstance(data.get("protocols"), dict):
        return data
    listed = data.get("database")
    row = {name: number for number, name in enumerate(listed)} if isinstance(listed, list) else {}
    protocols = {}
    for protocol, entries in data["protocols"].items():
        made = protocols[protocol] = list(entries) if isinstance(entries, list) else entries
        for at, entry in enumerate(made if isinstance(made, list) else ()):
            named = {
                kind: [_row(name, row, f"{where}: protocols.{protocol}[{at}].{kind}") for name in v]
                for kind, v in (entry.items() if isinstance(entry, dict) else ())
                if isinstance(v, list) and any(isinstance(name, str) for name in v)
            }
            if named:
                made[at] = entry | named
    return data | {"protocols": protocols}


def _row(name: Any, row: Mapping[str, int], place: str) -> Any:
    if not isinstance(name, str):
        return name
    if name not in row:
        raise BenchError(f"{place}: {unknown('file of the database', name, row)}")
    return row[name]


def _can_be_a_path(text: str) -> bool:
    return "\0" not in text and not re.search("[\ud800-\udfff]", text)


def _image(file: str, place: str, box: list[float] | None = None) -> Image:
    """Return an image of a list; names of letters and digits need no look at their parts."""
    sides = None if box is None else _box(box, f"{place.removesuffix('.file')}.box")
    if PLAIN.fullmatch(file):
        return Image(file[: file.rindex(".")], file, sides)
    return Image(_id(file), _inside(file, place), sides)


def _id(file: str) -> str:
    """Return the id of an image: its file name, folders included, without the suffix."""
    return str(PurePosixPath(file).with_suffix("")) if PurePosixPath(file).name else file


def _inside(file: str, place: str) -> str:
    parts = PurePosixPath(file).parts
    if not _can_be_a_path(file) or file.startswith("/") or ".." in parts or not parts:
        raise BenchError(f"{place}: {file!r} must be a file name inside the folder `images`.")
    if str(PurePosixPath(file)) != file:
        raise BenchError(f"{place}: {file!r} must be written {str(PurePosixPath(file))!r}.")
    return file


def _box(value: list[float] | None, place: str) -> Box | None:
    if value is None:
        return None
    left, top, right, bottom = (float(x) for x in value)
    if left >= right or top >= bottom:
        corners = ", ".join(f"{corner:.12g}" for corner in value)
        raise BenchError(
            f"{place}: the box [{corners}] is empty; write left, top, right, bottom in pixels."
        )
    return left, top, right, bottom


def _truth(entry: dict[str, list[int]] | None, n_rows: int, place: str) -> GroundTruth:
    sets = {}
    entry = {} if entry is None else entry
    for kind in ("positive", "ignored"):
        rows = entry.get(kind, [])
        if max(rows, default=0) >= n_rows:
            beyond = next(row for row in rows if row >= n_rows)
            raise BenchError(
                f"{place}.{kind}: row {beyond} is not in the database, whose rows are "
                f"0 to {n_rows - 1}."
            )
        sets[kind] = np.sort(np.array(rows, dtype=np.int64))
        if np.any(sets[kind][1:] == sets[kind][:-1]):
            twice = reading.first_twice(rows)
            raise BenchError(f"{place}.{kind}: row {twice} is listed twice; remove one.")
    every = np.sort(np.concatenate([*sets.values()]))
    both = every[1:][every[1:] == every[:-1]]
    if len(both):
        raise BenchError(
            f"{place}: row {both[0]} is both positive and ignored; remove it from one of the lists."
        )
    return GroundTruth(sets["positive"], sets["ignored"])
