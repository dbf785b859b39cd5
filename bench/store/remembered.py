"""Small facts that take long to find out, kept in the cache under what they follow from.

`<cache>/<kind>/<key>.json` holds the facts, the date, and in clear `about`, of which the key is the
hash. Losing or damaging a file costs finding out again and nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.system import reading
from bench.system.hashing import canonical_json, plain, sha256_json
from bench.system.paths import cache_root, clear_leftovers, write_bytes

KINDS = {
    "stated": "facts that methods state",
    "costs": "latencies that were measured",
    "figures": "pictures of reports",
}


@dataclass(frozen=True)
class Fact:
    """The facts, and the day of their discovery (UTC, YYYY-MM-DD)."""

    date: str
    content: dict[str, Any]


def read(kind: str, about: Mapping[str, Any]) -> Fact | None:
    """Return the facts stored under `about`; None if absent or damaged."""
    try:
        kept = reading.json_file(_path(kind, about))
        same = canonical_json(kept["about"]) == canonical_json(plain(about))
        whole = same and sha256_json(kept["content"]) == kept["sha256"]
        return Fact(str(kept["date"]), dict(kept["content"])) if whole else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def write(kind: str, about: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Keep plain values under `about`, in place of those before; a full disk keeps none."""
    fact = {
        "about": plain(about),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "content": plain(content),
        "sha256": sha256_json(plain(content)),
    }
    with contextlib.suppress(OSError):
        write_bytes(_path(kind, about), f"{json.dumps(fact, indent=1)}\n".encode())


def forget(kind: str, about: Mapping[str, Any]) -> None:
    """Remove the facts stored under `about`."""
    with contextlib.suppress(OSError):
        _path(kind, about).unlink()


def _path(kind: str, about: Mapping[str, Any]) -> Path:
    return cache_root() / kind / f"{sha256_json(plain(about))[:32]}.json"


def clear_killed() -> None:
    """Remove what killed writers of facts left; what is read again is not written again."""
    root = cache_root()
    with contextlib.suppress(OSError):  # a cache that cannot be written to
        for folder in (root, *(root / kind for kind in KINDS)):
            clear_leftovers(folder)
