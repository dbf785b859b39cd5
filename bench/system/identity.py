"""The identity of a card or a store: its chosen options, not the options that this version knows.

An option that is added later has a neutral value, with which the bytes are those of the versions
before it. `INTRODUCED` lists every such option with that value, and what has it is left out of what
is hashed; so a new option moves no identity and no key until a user chooses another value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.system.hashing import canonical_json, plain, sha256_json


@dataclass(frozen=True)
class Introduced:
    """An option that version 0.1 did not have: the object it belongs to, its name, its neutral.

    `of` is the key under which the object stands, at any depth of a card or key: "preprocess",
    "local" for `LocalRule`, "method" for `MethodInfo`, "settings"; "" is the card or key itself.
    `neutral` is the JSON value with which everything is as it was before; it is not the default,
    which may change.
    """

    of: str
    field: str
    neutral: Any


# Append only: an entry is never changed or removed, and fields of version 0.1 never enter.
INTRODUCED: tuple[Introduced, ...] = (
    Introduced("", "stages", []),
    Introduced("preprocess", "resize", "native"),
    Introduced("preprocess", "combine_power", 1.0),
    Introduced("", "limit_rule", "first-rows"),
)

# Objects whose keys are others' own (plug-ins, data sets): nothing below them is ours.
FOREIGN = ("config", "weights", "rules")
NAMES = {"protocols": "protocol"}  # objects whose keys are names, and what stands under each


def elided(value: Any) -> Any:
    """Return a card or a key, as plain JSON values, without the options that are neutral.

    An object that this empties goes too.
    """
    return _elided(plain(value), "")


def completed(value: Any) -> Any:
    """Return a card, as plain JSON values, with the neutral value of every option it lacks."""
    return _completed(plain(value), "")


def method_identity(method: Any) -> str:
    """Return the hash of what makes two methods of records the same one.

    Name, variant, version, dimension, configuration and the hash of the weights; sources, licences
    and training sets are words about them.
    """
    stated = plain(method)
    keys = ("name", "variant", "version", "dim", "config")
    weights = stated["weights"].get("sha256")
    return sha256_json({**{key: stated[key] for key in keys}, "weights": {"sha256": weights}})


def _neutral(of: str) -> dict[str, Any]:
    return {entry.field: entry.neutral for entry in INTRODUCED if entry.of == of}


def _is_foreign(of: str, key: str) -> bool:
    return of not in NAMES and key in FOREIGN


def _elided(value: Any, of: str) -> Any:
    if isinstance(value, list):
        return [_elided(item, of) for item in value]
    if not isinstance(value, dict):
        return value
    neutral, out = _neutral(of), {}
    for key, item in value.items():
        if key in neutral and canonical_json(item) == canonical_json(neutral[key]):
            continue
        kept = item if _is_foreign(of, key) else _elided(item, NAMES.get(of) or key)
        if kept == {} and item != {}:
            continue
        out[key] = kept
    return out


def _completed(value: Any, of: str) -> Any:
    if isinstance(value, list):
        return [_completed(item, of) for item in value]
    if not isinstance(value, dict):
        return value
    whole = _neutral(of) | value
    return {
        key: item if _is_foreign(of, key) else _completed(item, NAMES.get(of) or key)
        for key, item in whole.items()
    }
