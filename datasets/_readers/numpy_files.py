"""Arrays of lists in `.npy` and `.npz` files, read without running anything that they contain.

An array of objects is a pickle. Of its instructions those that make arrays, types of plain items,
lists, strings and numbers are followed, by stand-ins of our own: none of numpy's code that takes
such a state apart ever sees it.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import raw
from bench.errors import BenchError
from bench.system import array_files, pickles


def strings(content: bytes, where: object) -> list[str]:
    """Return the strings of a .npy file (n,); `where` begins the sentence of a refusal."""
    values = _read(content, where)
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list) or any(type(value) is not str for value in values):
        raise BenchError(f"{where} must contain a list of names, one string each.")
    return values


def rows(content: bytes, where: object) -> list[list[int]]:
    """Return the lists of whole numbers of a .npy file: of objects, or (n, m) of whole numbers."""
    values = _read(content, where)
    values = values.tolist() if isinstance(values, np.ndarray) else values
    try:
        flat = [_flat(value) if _is_list(value) else [value] for value in values]
        out = [[_whole(value) for value in entry] for entry in flat]
    except (TypeError, RecursionError):
        out = [[None]]
    if any(type(row) is not int or row < 0 for entry in out for row in entry):
        raise BenchError(f"{where} must contain one list of integers from 0 per query.")
    return out


def pairs(content: bytes, where: object) -> list[tuple[int, list[int]]]:
    """Return (query, rows) of a .npy file of objects (n, 2), the form of VPR-Bench."""
    lists = rows(content, where)
    if any(not pair for pair in lists):
        raise BenchError(f"{where} must contain pairs of a query and its list.")
    return [(pair[0], pair[1:]) for pair in lists]


def arrays(content: bytes, where: object) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file of numbers, by name."""
    try:
        return array_files.npz(content)
    except ValueError as error:
        raise BenchError(f"{where} cannot be read as .npz: {reason(error)}.") from error


def plain_pickle(content: bytes, where: object) -> Any:
    """Return what a pickle holds: dicts, lists, strings, numbers; arrays of such as lists."""
    try:
        return _listed(_Arrays(io.BytesIO(content)).load())
    except Exception as error:  # a hostile file can raise anything
        raise BenchError(f"{where} cannot be read as plain data: {reason(error)}.") from error


def _listed(value: Any) -> Any:
    """Return a value with lists in the place of arrays."""
    if isinstance(value, _Array):
        value = value.value.tolist() if isinstance(value.value, np.ndarray) else value.value
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def reason(error: Exception) -> str:
    """Return the message of a library error, on one line and without a full stop."""
    return raw.reason(error)


def _flat(values: Any) -> list[Any]:
    values = values.tolist() if isinstance(values, np.ndarray) else values
    out = []
    for value in values:
        out += _flat(value) if _is_list(value) else [value]
    return out


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _whole(value: Any) -> Any:
    """Return a decimal whose value is whole as that number: numpy saves no numbers as decimals."""
    decimal = isinstance(value, float | np.floating)
    return int(value) if decimal and value.is_integer() else value


def _read(content: bytes, where: object) -> Any:
    """Return an array, or the list that an array of objects is."""
    try:
        head = array_files.header(io.BytesIO(content))
        if head.dtype != np.dtype(object):
            return array_files.npy(content)
        value = pickles.load(content[head.offset :], _Arrays)
        if not isinstance(value, _Array):
            raise pickle.UnpicklingError("it holds no array")
        return value.value
    except Exception as error:  # a hostile file can raise anything
        raise BenchError(
            f"{where} cannot be read as a .npy file of plain data: {reason(error)}."
        ) from error


class _Array:
    """Stands for an array while it is unpickled; `value` is an array, or a list of objects."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        """Take (version, shape, type, whether columns come first, content)."""
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _Kind):
            raise pickle.UnpicklingError("an array must have a type of plain items")
        if any(type(side) is not int or side < 0 for side in shape):
            raise pickle.UnpicklingError(f"an array cannot have the shape {shape}")
        if kind.code == "O":
            if type(data) is not list:
                raise pickle.UnpicklingError("an array of objects must be a list")
            values = [item.value if isinstance(item, _Array) else item for item in data]
            if len(shape) == 2:  # row by row, in either order of memory
                values = _split(values, shape[1])
            self.value = values
        else:
            if type(data) is not bytes:
                raise pickle.UnpicklingError("an array of numbers must be bytes")
            flat = np.frombuffer(data, dtype=kind.code)
            self.value = flat.reshape(tuple(shape), order="F" if fortran else "C")


def _split(values: list[Any], width: int) -> list[list[Any]]:
    return [values[low : low + width] for low in range(0, len(values), width)] if width else []


class _Kind:
    """Stands for a type of items while it is unpickled: whole numbers, decimals, text, objects."""

    def __init__(self, code: Any, *_: Any) -> None:
        """Take the code of numpy, such as i8 or U15."""
        if type(code) is not str or not re.fullmatch(r"[iufU][1-9][0-9]{0,5}|O8?", code):
            raise pickle.UnpicklingError(f"items of type {code!r} are not plain data")
        self.code = "O" if code == "O8" else code

    def __setstate__(self, state: Any) -> None:
        """Take the byte order, the second of the state, and nothing else."""
        if self.code != "O" and state[1] in ("<", ">"):
            self.code = state[1] + self.code


def _scalar(kind: Any, data: Any) -> Any:
    if not isinstance(kind, _Kind) or type(data) is not bytes or kind.code == "O":
        raise pickle.UnpicklingError("a number must be bytes of a plain type")
    return np.frombuffer(data, dtype=kind.code)[0].item()


def _bytes(text: Any, encoding: Any) -> bytes:
    """Do what the second protocol of pickle asks of `codecs` for every string of bytes."""
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError("bytes must be latin1")
    return text.encode("latin1")


_ALLOWED = {
    ("multiarray", "_reconstruct"): lambda *_: _Array(),
    ("multiarray", "scalar"): _scalar,
    ("numpy", "ndarray"): None,  # an argument of _reconstruct, never called
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _bytes,
    ("__builtin__", "bytes"): lambda: b"",
}


class _Arrays(pickle.Unpickler):
    """Unpickles arrays of plain data; whatever else is named is refused."""

    def find_class(self, module: str, name: str) -> Any:
        short = "multiarray" if module.endswith("core.multiarray") else module
        if (short, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it refers to {module}.{name}, but data must not need code"
            )
        return _ALLOWED[short, name]
