"""Which queries are neighbours: the keys `positions` and `order` of a dataset.json, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.types import Rows

FARTHEST_M = 1e9  # the earth has 4e7 around it
LARGEST = 2**63 - 1
KINDS: dict[str, set[type]] = {"positions": {int, float}, "order": {int}}


def positions(data: dict[str, Any], count: int, where: str) -> NDArray[np.float64] | None:
    """Return metres (count, 2) float64, None where they are not stated; `where` begins errors."""
    pairs = _pairs(data, "positions", count, where)
    if pairs is None:
        return None
    for i, pair in enumerate(pairs):
        if not all(abs(number) < FARTHEST_M for number in pair):  # NaN is not
            raise BenchError(
                f"{where}: positions[{i}] is {pair}; metres must be finite and below "
                f"{FARTHEST_M:g}."
            )
    return np.array(pairs, dtype=np.float64).reshape(count, 2)


def order(data: dict[str, Any], count: int, where: str) -> Rows | None:
    """Return [recording, place in it] (count, 2) int64, None where it is not stated."""
    pairs = _pairs(data, "order", count, where)
    if pairs is None:
        return None
    for i, pair in enumerate(pairs):
        if any(type(number) is not int or abs(number) > LARGEST for number in pair):
            raise BenchError(
                f"{where}: order[{i}] is {pair}; it must be two whole numbers that 64 bits hold."
            )
    return np.array(pairs, dtype=np.int64).reshape(count, 2)


def shortened(data: dict[str, Any]) -> dict[str, Any]:
    """Return what the schema must still look at of the two keys: plain pairs are cut short."""
    out = {}
    for key, kinds in KINDS.items():
        pairs = data.get(key)
        if type(pairs) is list and all(
            type(pair) is list and len(pair) == 2 and set(map(type, pair)) <= kinds
            for pair in pairs
        ):
            out[key] = pairs[:1]
    return out


def _pairs(data: dict[str, Any], key: str, count: int, where: str) -> list[Any] | None:
    if key not in data:
        return None
    pairs: list[Any] = data[key]
    if len(pairs) != count:
        raise BenchError(f"{where}: {key} has {len(pairs)} entries for {count} queries.")
    return pairs
