"""Published numbers: reads results/published.toml, strictly; results/README.md describes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.errors import BenchError, first_few
from bench.system import reading

TAGS = {
    "code": "read in the official source",
    "readme": "README or instructions of the official repository",
    "img": "read from a table image or a paper's table stored in a repository",
    "issue": "statement in an issue thread",
    "3rd": "third party",
    "calc": "computed by arithmetic",
    "inf": "inferred",
    "mem": "not confirmed by a source: never printed",
}
NOT_STATED = "not stated"
CROPS = ("box", "whole", NOT_STATED)
PARTS = ("main", "ablation", "leaderboard")
UNITS = {"ms": "ms", "s": "s", "bytes": "bytes", "kb": "KB", "gb": "GB", "gib": "GiB",
         "m": "million", "gflops": "GFLOPs"}  # fmt: skip

_TEXTS = ("id", "method", "variant", "backbone", "training_set", "crop", "reranking",
          "compression", "source", "tag")  # fmt: skip
_OPTIONAL_TEXTS = ("part", "size_cap", "image_size", "machine", "note", "origin", "verdict")
_FLAGS = ("copied", "batch_dependent")
_KEYS = {*_TEXTS, *_OPTIONAL_TEXTS, *_FLAGS, "dim", "scales", "measured", "values", "costs"}
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VALUE_KEY = re.compile(
    r"([a-z0-9_-]+(?:\+[a-z0-9]+)?(?:\.[a-z0-9-]+)?)\.([a-z0-9-]+)\.([a-z-]+(?:@[1-9][0-9]*)?)"
)
_COST_KEY = re.compile(r"[a-z0-9+.-]+_(" + "|".join(UNITS) + ")")
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")


@dataclass(frozen=True)
class Source:
    """The source of a number: a reference, and its address if that is certain.

    `year` is that of the paper, the thread or the stored version; `read` is how often the numbers
    were read there.
    """

    text: str
    url: str | None = None
    year: int | None = None
    read: int = 1


@dataclass(frozen=True)
class Conflict:
    """Numbers of several rows for one thing, (row id, key of the value), and why they differ."""

    what: str
    entries: tuple[tuple[str, tuple[str, str, str]], ...]
    why: str


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table, as printed there; `measured` names variants of these weights.

    `values` maps (dataset, protocol, metric) to the printed digits of a percentage, `costs` maps
    a name that ends in its unit to the printed digits. `dim`, `scales` and `size_cap` are None
    where the source does not state them. `crop` is "box", "whole" or "not stated". `image_size` is
    the fixed size "322x322". `copied`: the source lists others' numbers. `batch_dependent`: a
    descriptor depends on the other images of its batch. `machine` is where the costs were timed.
    """

    id: str
    part: str
    method: str
    variant: str
    backbone: str
    training_set: str
    dim: int | None
    crop: str
    scales: tuple[Decimal, ...] | None
    size_cap: str | None
    reranking: str
    compression: str
    source: Source
    tag: str
    note: str | None
    origin: str | None
    verdict: str | None
    measured: tuple[str, ...]
    values: Mapping[tuple[str, str, str], str]
    costs: Mapping[str, str]
    image_size: str | None = None
    machine: str | None = None
    copied: bool = False
    batch_dependent: bool = False

    @property
    def marks(self) -> tuple[str, ...]:
        """Return what a reader must see beside the number."""
        marks = {"copied": self.copied, "depends on the batch": self.batch_dependent}
        return tuple(words for words, there in marks.items() if there)

    @property
    def printable(self) -> bool:
        """Say whether the row may be shown: numbers from memory are not."""
        return self.tag != "mem"

    @property
    def treatment(self) -> dict[str, str]:
        """Return the treatment of the images as text, "not stated" where the source is silent."""
        return {
            "query crop": {"whole": "whole image"}.get(self.crop, self.crop),
            "scales": NOT_STATED if self.scales is None else ", ".join(map(str, self.scales)),
            "size cap": self.size,
            "re-ranking": self.reranking,
            "compression": self.compression,
        }

    @property
    def size(self) -> str:
        """Return the size of the images: fixed, "322 × 322 px", capped, "1,024 px", or none."""
        if self.image_size is not None:
            return f"{self.image_size.replace('x', ' × ')} px"
        cap = self.size_cap
        return f"{int(cap):,} px" if cap and cap != "none" else cap or NOT_STATED

    @property
    def dim_text(self) -> str:
        """Return the dimension as text."""
        return NOT_STATED if self.dim is None else f"{self.dim:,}"


def load(path: Path) -> list[PublishedRow]:
    """Return every row of the file in its order, those from memory included.

    Raises BenchError with one sentence that names the row where anything is not as described.
    """
    try:
        data = reading.toml_value(reading.text(path))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path.name} cannot be read: {reading.line(error)}.") from error
    if data.get("schema") != 1 or set(data) - {"schema", "source", "row", "conflict"}:
        raise BenchError(
            f"{path.name} has {first_few(sorted(data))} at the top level; only schema = 1, "
            "[source.NAME], [[row]] and [[conflict]] are allowed."
        )
    sources = data.get("source", {})
    rows = data.get("row", [])
    if not isinstance(sources, dict) or not isinstance(rows, list):
        raise BenchError(f"{path.name}: write sources as [source.NAME] and rows as [[row]].")
    known = {name: _source(path.name, name, entry) for name, entry in sources.items()}
    loaded: list[PublishedRow] = []
    for number, entry in enumerate(rows, start=1):
        name = entry.get("id", f"number {number}") if isinstance(entry, dict) else number
        try:
            loaded.append(_row(entry, known))
        except (TypeError, ValueError) as error:
            raise BenchError(f"{path.name}, row {name}: {error}.") from error
    if (twice := reading.first_twice(row.id for row in loaded)) is not None:
        raise BenchError(f"{path.name}, row {twice}: a second row with this id.")
    return loaded


def _source(file: str, name: str, entry: Any) -> Source:
    kinds = {"text": str, "url": str, "year": int, "read": int}
    if (
        not isinstance(entry, dict)
        or "text" not in entry
        or any(type(value) is not kinds.get(key) for key, value in entry.items())
    ):
        raise BenchError(
            f"{file}, source {name}: give text and optionally url, both strings, and optionally "
            "year and read, integers."
        )
    if not entry.get("url", "https://").startswith("https://"):
        raise BenchError(
            f"{file}, source {name}: url is {entry['url']!r}; it must begin with https://."
        )
    return Source(**entry)


def _row(entry: Any, sources: Mapping[str, Source]) -> PublishedRow:
    """Check one row; TypeError or ValueError carries the end of the sentence."""
    if not isinstance(entry, dict):
        raise TypeError("it is not a table")
    if unknown := sorted(set(entry) - _KEYS):
        raise ValueError(f"unknown keys {first_few(unknown)}; known are {', '.join(sorted(_KEYS))}")
    for key in _TEXTS:
        if key not in entry:
            raise ValueError(f"the key {key} is missing")
    for key in (*_TEXTS, *_OPTIONAL_TEXTS):
        text = entry.get(key, "x")
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{key} is {text!r}, not a text")
    if not _ID.fullmatch(entry["id"]):
        raise ValueError(f"id is {entry['id']!r}; use a-z, 0-9 and single hyphens")
    part = entry.get("part", "main")
    allowed = {"part": PARTS, "crop": CROPS, "tag": tuple(TAGS), "source": tuple(sources)}
    for key, names in allowed.items():
        if entry.get(key, "main") not in names:
            raise ValueError(f"{key} is {entry[key]!r}; allowed are {', '.join(sorted(names))}")
    listed = {key for key in ("origin", "verdict") if key in entry}
    if listed != ({"origin", "verdict"} if part == "leaderboard" else set()):
        raise ValueError(
            "origin and verdict belong to every row of the leaderboard, and only there"
        )
    dim = entry.get("dim")
    if dim is not None and (type(dim) is not int or dim < 1):
        raise ValueError(f"dim is {dim!r}; it must be an integer of at least 1")
    values = {_value_key(k): _digits(k, v, 100) for k, v in _table(entry, "values").items()}
    costs = {_cost_key(k): _digits(k, v, None) for k, v in _table(entry, "costs").items()}
    if not values and not costs:
        raise ValueError("it lacks values and costs; give one of them")
    return PublishedRow(
        **{key: entry[key] for key in _TEXTS if key != "source"},
        part=part,
        note=entry.get("note"),
        origin=entry.get("origin"),
        verdict=entry.get("verdict"),
        source=sources[entry["source"]],
        dim=dim,
        scales=_scales(entry.get("scales")),
        size_cap=_size_cap(entry.get("size_cap")),
        measured=_measured(entry.get("measured", []), entry["method"]),
        values=values,
        costs=costs,
        image_size=_image_size(entry.get("image_size")),
        machine=entry.get("machine"),
        copied=_flag("copied", entry.get("copied", False)),
        batch_dependent=_flag("batch_dependent", entry.get("batch_dependent", False)),
    )


def conflicts(path: Path, rows: Sequence[PublishedRow]) -> list[Conflict]:
    """Return the conflicts that the file lists; BenchError where one names no printed value."""
    by_id = {row.id: row for row in rows}
    made = []
    for entry in reading.toml_value(reading.text(path)).get("conflict", []):
        try:
            listed = [(str(name), _value_key(key)) for name, key in entry["values"]]
            made.append(Conflict(str(entry["what"]), tuple(listed), str(entry["why"])))
        except (KeyError, TypeError, ValueError) as error:
            raise BenchError(f"{path.name}, a conflict: {error}.") from error
        for name, key in listed:
            if name not in by_id or key not in by_id[name].values:
                raise BenchError(
                    f"{path.name}, conflict {entry['what']!r}: the row {name} has no value "
                    f"{'.'.join(key)}."
                )
    return made


def _flag(key: str, value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{key} is {value!r}; allowed are true and false")
    return value


def _image_size(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[1-9][0-9]*x[1-9][0-9]*", value):
        raise ValueError(f'image_size is {value!r}; write height and width, "322x322"')
    return value


def _table(entry: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = entry.get(key, {})
    if not isinstance(table, dict):
        raise TypeError(f"{key} is not a table")
    return table


def _value_key(key: str) -> tuple[str, str, str]:
    """Return data set (its variant included), protocol and metric of the key of a value."""
    found = _VALUE_KEY.fullmatch(key)
    if found is None:
        raise ValueError(
            f'the value {key!r} is not named "dataset[.variant].protocol.metric", quoted'
        )
    return found.group(1), found.group(2), found.group(3)


def _cost_key(key: str) -> str:
    if not _COST_KEY.fullmatch(key):
        raise ValueError(f"the cost {key!r} does not end in its unit: _{', _'.join(UNITS)}")
    return key


def _digits(key: str, value: Any, largest: int | None) -> str:
    """Return the printed digits; they are strings in the file, so that "80.50" keeps its zero."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise ValueError(f'{key} is {value!r}; write the printed digits as a string, "80.50"')
    if largest is not None and Decimal(value) > largest:
        raise ValueError(f"{key} is {value}, more than {largest} %")
    return value


def _scales(value: Any) -> tuple[Decimal, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ValueError(f"scales is {value!r}, not a list of strings")
    return tuple(Decimal(_digits("scales", scale, None)) for scale in value)


def _measured(value: Any, method: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(
        isinstance(name, str) and re.fullmatch(rf"{re.escape(method)}\.[A-Za-z0-9._+-]+", name)
        for name in value
    ):
        raise ValueError(f'measured is {value!r}, not a list like ["{method}.r101"]')
    return tuple(value)


def _size_cap(value: str | None) -> str | None:
    if value is not None and value != "none" and not re.fullmatch(r"[1-9][0-9]*", value):
        raise ValueError(f'size_cap is {value!r}; allowed are "none" and pixels, e.g. "1024"')
    return value
