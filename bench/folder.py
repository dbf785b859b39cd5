"""The data set format `dataset.json`, checked; what data set plug-ins return has the same form.

The schema is published in `datasets/dataset.schema.json`; what a schema cannot say (rows inside
the list, no row both positive and ignored, boxes with an area) is checked here. Every defect is
one sentence that names the place.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import numpy as np

from bench.errors import BenchError, unknown
from bench.metrics import REVISITED_METRICS, families, metric
from bench.paths import ROOT
from bench.types import Box, Dataset, GroundTruth, Image, Protocol

MOST_ERRORS = 10_000  # looked at to name the first
PLAIN = re.compile(r"([0-9A-Za-z_-]+/)*[0-9A-Za-z_-]+\.[0-9A-Za-z]+")  # names that need no thought


def read(path: Path) -> Dataset:
    """Return the data set of a dataset.json, or of a folder that holds one."""
    if path.is_dir():
        path = path / "dataset.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BenchError(f"there is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    try:
        data = json.loads(text, object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BenchError(
            f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise BenchError(f"{path} is nested too deeply.") from None
    except ValueError as error:
        raise BenchError(f"{path}: {error}.") from None
    return parse(data, str(path), path.parent)


def parse(data: Any, where: str, base: Path) -> Dataset:
    """Check `data`, in the form of a dataset.json, and return the data set.

    `where` begins the error sentences; `base` is what a relative `images` is relative to.
    """
    data = _json_form(data)
    errors = itertools.islice(_validator().iter_errors(_shortened(data)), MOST_ERRORS)
    first = min(errors, key=_order, default=None)
    if first is not None:
        raise BenchError(f"{where}: {_place(first.absolute_path)}{_sentence(first)}.")
    if bool(data["queries"]) != bool(data["protocols"]):
        empty = "protocols" if data["queries"] else "queries"
        raise BenchError(f"{where}: {empty}: must not be empty.")
    if not _can_be_a_path(data["images"]):
        raise BenchError(f"{where}: images: {data['images']!r} cannot be the name of a folder.")
    database = tuple(
        Image(_id(file), _inside(file, f"{where}: database[{i}]"))
        for i, file in enumerate(data["database"])
    )
    seen: dict[str, int] = {}
    for i, image in enumerate(database):
        if image.file in seen:
            raise BenchError(
                f"{where}: database[{i}] repeats {image.file!r} of database[{seen[image.file]}]; "
                "every row must be another image."
            )
        seen[image.file] = i
    queries = tuple(
        Image(
            _id(query["file"]),
            _inside(query["file"], f"{where}: queries[{i}].file"),
            _box(query.get("box"), f"{where}: queries[{i}].box"),
        )
        for i, query in enumerate(data["queries"])
    )
    metrics = tuple(data.get("metrics", REVISITED_METRICS))
    for metric_id in metrics:
        try:
            metric(metric_id)
        except KeyError:
            raise BenchError(
                f"{where}: metrics: {unknown('metric', metric_id, families())}"
            ) from None
    protocols = []
    for name, entries in data["protocols"].items():
        place = f"{where}: protocols.{name}"
        if len(entries) != len(queries):
            raise BenchError(
                f"{place} has {len(entries)} entries for {len(queries)} queries; it needs one "
                "entry per query, in the same order."
            )
        truth = tuple(_truth(e, len(database), f"{place}[{i}]") for i, e in enumerate(entries))
        protocols.append(Protocol(name, truth, metrics, data.get("empty", "skip")))
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
    )


@cache
def _validator() -> Any:
    schema = json.loads((ROOT / "datasets" / "dataset.schema.json").read_text(encoding="utf-8"))
    return jsonschema.Draft202012Validator(schema)


def _json_form(value: Any) -> Any:
    """Return plug-in data as JSON would have it: lists for tuples, whole numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(key): _json_form(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_json_form(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def _shortened(data: Any) -> Any:
    """Return the data without what is plainly right in long lists: the validator is slow."""
    if not isinstance(data, dict):
        return data
    short = dict(data)
    names, protocols = data.get("database"), data.get("protocols")
    if isinstance(names, list) and names and all(isinstance(n, str) and n for n in names):
        short["database"] = names[:1]
    if isinstance(protocols, dict):
        short["protocols"] = {
            name: [] if isinstance(entries, list) and all(map(_plain_rows, entries)) else entries
            for name, entries in protocols.items()
        }
    return short


def _plain_rows(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and "positive" in entry
        and entry.keys() <= {"positive", "ignored"}
        and all(
            isinstance(rows, list) and all(type(row) is int and row >= 0 for row in rows)
            for rows in entry.values()
        )
    )


def _order(error: Any) -> list[str]:
    """Return the place as a key for sorting: the validator goes through keys in any order."""
    return [f"{step:12}" for step in error.absolute_path]


def _place(path: Any) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return f"{text}: " if text else ""


def _sentence(error: Any) -> str:
    """Say in words what a schema error means."""
    value = json.dumps(error.instance, default=str)
    value = value if len(value) <= 60 else f"{value[:57]}..."
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"the key {missing[0]!r} is missing"
    if error.validator == "additionalProperties":
        allowed = error.schema["properties"]
        extra = next(key for key in error.instance if key not in allowed)
        return str(unknown("key", extra, allowed)).rstrip(".")
    if error.validator == "type":
        return f"must be of type {error.validator_value}, but is {value}"
    if error.validator in ("minItems", "minProperties", "minLength"):
        return "must not be empty"
    if error.validator == "minimum":
        return f"must not be below {error.validator_value}, but is {value}"
    if error.validator == "oneOf":
        return f"must be [left, top, right, bottom] in pixels or null, but is {value}"
    if error.validator == "pattern":
        return (
            f"{value} may hold only lower-case letters, digits, '.', '_', '+' and '-', "
            "and must start with a letter or digit"
        )
    return str(error.message)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twins = (
        sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    )
    if twins:
        raise ValueError(f"the key {twins[0]!r} stands twice in one object")
    return dict(pairs)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number that JSON knows")


def _can_be_a_path(text: str) -> bool:
    return "\0" not in text and not re.search("[\ud800-\udfff]", text)


def _id(file: str) -> str:
    """Return the id of an image: its file name, folders included, without the suffix."""
    if PLAIN.fullmatch(file):
        return file.rpartition(".")[0]
    return str(PurePosixPath(file).with_suffix("")) if PurePosixPath(file).name else file


def _inside(file: str, place: str) -> str:
    if PLAIN.fullmatch(file):
        return file
    parts = PurePosixPath(file).parts
    if not _can_be_a_path(file) or file.startswith("/") or ".." in parts or not parts:
        raise BenchError(f"{place}: {file!r} must be a file name inside the folder `images`.")
    if str(PurePosixPath(file)) != file:
        raise BenchError(f"{place}: {file!r} must be written {str(PurePosixPath(file))!r}.")
    return file


def _box(value: list[float] | None, place: str) -> Box | None:
    if value is None:
        return None
    if not all(abs(x) < 1e9 for x in value):
        raise BenchError(f"{place}: the corners must be finite and within a thousand million.")
    left, top, right, bottom = (float(x) for x in value)
    if left >= right or top >= bottom:
        raise BenchError(
            f"{place}: {value} has no area; the order is left, top, right, bottom in pixels."
        )
    return left, top, right, bottom


def _truth(entry: dict[str, list[int]], n_rows: int, place: str) -> GroundTruth:
    sets = {}
    for kind in ("positive", "ignored"):
        rows = entry.get(kind, [])
        if any(not isinstance(row, int) for row in rows):
            raise BenchError(f"{place}.{kind}: rows must be whole numbers.")
        beyond = [row for row in rows if row >= n_rows]
        if beyond:
            raise BenchError(
                f"{place}.{kind}: row {beyond[0]} is not in the database, whose rows are "
                f"0 to {n_rows - 1}."
            )
        if len(set(rows)) < len(rows):
            twice = next(row for row in rows if rows.count(row) > 1)
            raise BenchError(f"{place}.{kind}: row {twice} stands twice.")
        sets[kind] = rows
    both = sorted(set(sets["positive"]) & set(sets["ignored"]))
    if both:
        raise BenchError(f"{place}: row {both[0]} is both positive and ignored.")
    return GroundTruth(
        np.array(sorted(sets["positive"]), dtype=np.int64),
        np.array(sorted(sets["ignored"]), dtype=np.int64),
    )
