"""Canonical JSON and its sha256: the identity of cards, cache keys and records."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any


def plain(value: Any) -> Any:
    """Turn dataclasses, tuples and mappings into dicts, lists and scalars that JSON knows."""
    if value is None or type(value) in (float, int, str, bool):  # nearly all, so looked at first
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys, no spaces, ASCII only; NaN is refused."""
    return json.dumps(
        plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def sha256_json(value: Any) -> str:
    """Return the sha256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def sha256_lines(lines: list[str] | tuple[str, ...]) -> str:
    """Return the sha256 of the lines joined with a newline, without one at the end."""
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()
