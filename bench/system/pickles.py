"""Pickles of plain data, read without running anything and without growing beyond the file.

Before anything is made, the instructions are looked through (`pickletools.genops`): places of the
memo beyond the file, numbers of many digits and long byte arrays are refused, for the reader of C
makes room for them before it looks. Objects are counted as if written out: a list that holds
another twice counts it twice, so that a few hundred bytes cannot become 2^28 items.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any, cast

from bench.system.reading import MOST_DEPTH

MOST_BYTES = 256 << 20
MOST_CONTAINERS = 4 << 20
MOST_BITS = 128
GROWTH, SPARE, MOST_ITEMS = 8, 4096, 32 << 20  # items for each byte of a pickle, and in all
LETTERS = 64  # that count as an item
_CONTAINERS = {
    "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "LIST", "DICT", "FROZENSET", "TUPLE", "TUPLE1",
    "TUPLE2", "TUPLE3", "NEWOBJ", "REDUCE", "BUILD", "OBJ", "INST",
}  # fmt: skip


class PlainUnpickler(pickle.Unpickler):
    """Unpickles dicts, lists, strings and numbers; anything that names code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function."""
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, but data must not need code")


def load(content: bytes, unpickler: type[pickle.Unpickler] = PlainUnpickler) -> Any:
    """Return the content of a pickle; ValueError or UnpicklingError if it is refused.

    An `unpickler` of the caller decides which names it follows.
    """
    check(content)
    value = unpickler(io.BytesIO(content)).load()
    check_size(value, GROWTH * len(content) + SPARE)
    return value


def check(content: bytes) -> None:
    """Refuse instructions that make an unpickler take more memory than the file's size warrants."""
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has {len(content)} bytes, more than {MOST_BYTES}")
    containers = 0
    for code, argument, place in pickletools.genops(content):
        name, argument = code.name, cast(Any, argument)
        if name in ("LONG_BINPUT", "PUT") and not 0 <= argument < len(content):
            raise ValueError(f"it refers to place {argument} of the memo at byte {place}")
        if name == "FRAME" and argument > len(content):
            raise ValueError(f"it announces {argument} bytes at byte {place}")
        if name in ("INT", "LONG", "LONG1", "LONG4") and int(argument).bit_length() > MOST_BITS:
            raise ValueError(f"it contains a number of more than {MOST_BITS} bits at byte {place}")
        if name in ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER"):
            raise ValueError(
                f"it refers to objects outside the file ({name}), but data must not need code"
            )
        if name in _CONTAINERS:
            containers += 1
            if containers > MOST_CONTAINERS:
                raise ValueError(f"it makes more than {MOST_CONTAINERS} lists and dicts")


def check_size(value: Any, most: int = MOST_ITEMS) -> None:
    """Refuse what holds more than `most` items, written out, or is nested deeply."""
    level, left = [value], min(most, MOST_ITEMS)
    for _ in range(MOST_DEPTH):
        inner: list[Any] = []
        for container in level:
            for item in _items(container):
                left -= 1 + _weight(item)
                if left < 0:
                    raise ValueError("it repeats the same lists too often")
                if _items(item):
                    inner.append(item)
        if not inner:
            return
        level = inner
    raise ValueError("it is nested too deeply")


def _items(container: Any) -> Any:
    """Return what a container holds, in any order; nothing for all else."""
    if isinstance(container, dict):
        return (*container, *container.values())
    if isinstance(container, list | tuple | set | frozenset):
        return container
    value = getattr(container, "value", None)  # of an array of objects
    return value if isinstance(value, list) else ()


def _weight(item: Any) -> int:
    if isinstance(item, str | bytes | bytearray):
        return len(item) // LETTERS
    if isinstance(item, list | tuple | set | frozenset | dict):
        return len(item)
    return int(getattr(getattr(item, "value", item), "size", 0))  # of an array
