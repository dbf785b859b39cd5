"""Files from elsewhere, read within bounds: nothing is parsed that no honest file of its kind has.

What a file can make a reader do grows with the file and not with what the file says: nesting,
digits, and the size of the file itself have a limit, and keys stand once. Whatever is wrong is a
ValueError of one short line; the caller says which file it is.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MOST_DEPTH = 64
MOST_DIGITS = 300  # a number of more has no place in float64
MOST_TEXT_BYTES = 2 << 30
SHOWN = 80
# What a number beyond float64 has: many digits, or an exponent of three. Checks of each number of a
# text without either would take a third of the time of reading it.
_MAY_BE_LARGE = re.compile(r"[0-9]{200}|[eE]\+?[0-9]{3}")


def content(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> bytes:
    """Return the bytes of a plain file; ValueError for a device, a pipe or more than `most_bytes`.

    Raises OSError, FileNotFoundError among them, where the file cannot be read.
    """
    with open(path, "rb", opener=_opener) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is not a regular file")
        if about.st_size > most_bytes:
            raise ValueError(f"it has {about.st_size} bytes, more than {most_bytes}")
        return file.read(most_bytes + 1)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer is opened at once


def text(path: Path) -> str:
    """Return a file of UTF-8 text, as `content` reads it; line ends are newlines."""
    try:
        decoded = content(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it cannot be read as UTF-8 text: {error.reason}") from None
    return decoded.replace("\r\n", "\n").replace("\r", "\n")


def json_file(path: Path) -> Any:
    """Return what a file of JSON holds, by `content` and `json_value`."""
    return json_value(text(path))


def json_value(content: str | bytes) -> Any:
    """Return what JSON text holds.

    ValueError for invalid JSON, NaN, infinities and numbers beyond float64, a repeated key in an
    object, and nesting beyond `MOST_DEPTH`.
    """
    plain = isinstance(content, str) and _MAY_BE_LARGE.search(content) is None
    numbers: dict[str, Any] = {} if plain else {"parse_float": _fraction, "parse_int": _whole}
    try:
        value = json.loads(content, object_pairs_hook=_once, parse_constant=_no_constant, **numbers)
    except UnicodeDecodeError as error:
        raise ValueError(f"it cannot be read as UTF-8 text: {error.reason}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check_depth(value)
    return value


def toml_value(content: str) -> dict[str, Any]:
    """Return what TOML text holds; ValueError as in `json_value`."""
    try:
        value = tomllib.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):  # Python's advice to its own programs
            raise ValueError("a number with so many digits needs more than 64 bits") from None
        raise
    check_depth(value)
    return value


def check_depth(value: Any, most: int = MOST_DEPTH) -> None:
    """Refuse dicts, lists and tuples that are nested deeper than `most`, by ValueError."""
    level: list[Any] = [value]
    for _ in range(most):
        level = [item for container in level for item in _containers(container)]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _containers(container: Any) -> Iterable[Any]:
    items = container.values() if isinstance(container, dict) else container
    if not isinstance(container, dict | list | tuple):
        return ()
    if not any(issubclass(kind, dict | list | tuple) for kind in set(map(type, items))):
        return ()
    return [item for item in items if isinstance(item, dict | list | tuple)]


def first_twice(items: Iterable[Any]) -> Any:
    """Return the first repeated item, or None; in linear time."""
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def short(value: object, most: int = SHOWN) -> str:
    """Return `repr` of a value, or of as much of it as a sentence can hold.

    Nested values are not written out, because they may be large.
    """
    if isinstance(value, str | bytes):
        value = value[:most]
    elif not isinstance(value, int | float | None) and not _is_small(value):
        return f"a {type(value).__name__}"
    elif isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    written = repr(value)
    return written if len(written) <= most else f"{written[: most - 1]}…"


def line(error: BaseException, most: int = 200) -> str:
    """Return what an error of a library says: one line, cut, without a full stop."""
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= most else f"{text[: most - 1]}…").rstrip(".")


def _is_small(value: object) -> bool:
    kinds = (str, int, float, bool, type(None))
    return (
        isinstance(value, list | tuple) and len(value) < 10 and all(type(x) in kinds for x in value)
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = first_twice(key for key, _ in pairs)
        raise ValueError(f"the key {short(twice)} occurs twice in one object")
    return made


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _fraction(word: str) -> float:
    value = float(word)
    if value - value != 0:
        raise ValueError(f"{short(word, 20)} needs more than 64 bits")
    return value


def _whole(word: str) -> int:
    if len(word) > MOST_DIGITS:
        raise ValueError(f"a number of {len(word)} digits needs more than 64 bits")
    return int(word)
