"""Published ground truth, parsed once without trust, and cached as JSON.

The cache key is the hash of the source and of the reader, so that a changed file or reader never
gets an old result: `<cache>/truth/<sha256>.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.data.raw import read as read_content
from bench.data.raw import reason
from bench.errors import BenchError
from bench.system import pickles, reading
from bench.system.paths import cache_root, write_bytes


def plain_pickle(content: bytes, where: object) -> Any:
    """Return what a pickle of plain data holds; `where` begins the sentence of a refusal."""
    try:
        return pickles.load(content)
    except Exception as error:  # a hostile pickle can raise anything
        raise BenchError(f"{where} cannot be read as ground truth: {reason(error)}.") from error


def names(values: Any) -> list[str]:
    """Return a flat list of strings as a ground truth should have it; TypeError for all else."""
    if not isinstance(values, list | tuple) or any(type(name) is not str for name in values):
        raise TypeError("a list of names must be a list of strings")
    return list(values)


def whole_numbers(values: Any) -> list[int]:
    """Return a flat list of rows, 0 or more; TypeError for all else."""
    if not isinstance(values, list | tuple | set):
        raise TypeError(f"{reading.short(values)} is not a list of row numbers")
    for row in values:
        if type(row) is not int or row < 0:
            raise TypeError(f"{reading.short(row)} is not a row number")
    return list(values)


def once(paths: Sequence[Path], reader: str, read: Callable[[list[bytes]], Any]) -> Any:
    """Return what `read` makes of the contents of `paths`, as JSON data that is kept in the cache.

    `reader` names the reading code and its version; a change of that code needs another name. A
    kept answer that was damaged is made again.
    """
    contents = [read_content(path) for path in paths]
    digest = hashlib.sha256(_text([reader, *map(len, contents)]))
    for content in contents:
        digest.update(content)
    place = cache_root() / "truth" / f"{digest.hexdigest()}.json"
    stored = kept(place)
    if stored is not None:
        return stored["truth"]
    truth = read(contents)
    try:
        text = _text(truth)
    except (TypeError, ValueError, RecursionError):
        return truth  # not JSON: for the check of the data set to refuse in its own words
    about = {
        "reader": reader,
        "files": [path.name for path in paths],
        "sha256": hashlib.sha256(text).hexdigest(),
        "truth": truth,
    }
    write_bytes(place, _text(about))
    return json.loads(text)  # as it will be the next time


def kept(path: Path) -> dict[str, Any] | None:
    """Return what `once` wrote, or None where it is not there or damaged."""
    try:
        content: dict[str, Any] = reading.json_file(path)
        right = content["sha256"] == hashlib.sha256(_text(content["truth"])).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return content if right else None


def _text(value: Any) -> bytes:
    """Return JSON that keeps the order of keys: that of protocols is the order of the tables."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
