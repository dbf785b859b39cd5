"""What a user states of descriptors that were brought: recorded as stated, and not checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown
from bench.pipeline.score import BROUGHT
from bench.types import MethodInfo

MOST_BYTES, MOST_LETTERS, MOST_SCALES = 1 << 16, 200, 100
# What each key is; `size` is the longer side in pixels, `time_ms` that of one image.
TEXTS, NUMBERS = ("backbone", "training_set", "crop"), ("size", "time_ms")
KEYS = (*TEXTS, "scales", *NUMBERS)


def read(facts: Any) -> dict[str, Any]:
    """Return the facts of a TOML file, or of a mapping; raises BenchError for any other value."""
    label = str(facts) if isinstance(facts, str | Path) else "facts"
    if isinstance(facts, str | Path):
        try:
            with Path(facts).open("rb") as file:
                content = file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise ValueError(f"it has more than {MOST_BYTES} bytes")
            facts = tomllib.loads(content.decode("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BenchError(f"{label} cannot be read as TOML: {error}.") from error
    if not isinstance(facts, Mapping):
        raise BenchError(
            f"facts is a {type(facts).__name__}; give a mapping, or the path of a TOML file."
        )
    for key, value in facts.items():
        if key not in KEYS:
            raise unknown(f"fact in {label}", str(key), KEYS)
        if not _fits(key, value):
            kind = f"a line of 1 to {MOST_LETTERS} letters" if key in TEXTS else "above 0"
            raise BenchError(f"{label}: {key} is {str(value)[:80]!r}, and must be {kind}.")
    return dict(facts)


def _fits(key: str, value: Any) -> bool:
    if key in TEXTS:
        return isinstance(value, str) and value.isprintable() and 0 < len(value) <= MOST_LETTERS
    if key == "scales":
        return (isinstance(value, list | tuple) and 0 < len(value) <= MOST_SCALES
                and all(_positive(scale) for scale in value))  # fmt: skip
    return _positive(value)


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e9


def method(label: str, dim: int, facts: Mapping[str, Any]) -> MethodInfo:
    """Return the method of descriptors that were brought, with what the user states of it."""
    weights = {"source": BROUGHT, "licence": BROUGHT, "sha256": None, "training_set": BROUGHT}
    config: dict[str, Any] = {}
    if "training_set" in facts:
        weights["training_set"] = f"{facts['training_set']} (as stated)"
    if "backbone" in facts:
        config["backbone"] = f"{facts['backbone']} (as stated)"
    more = {key: facts[key] for key in KEYS if key in facts}
    if more:
        config["as_stated"] = more
        words = ", ".join(f"{key} {value}" for key, value in more.items())
        weights["source"] = f"descriptors were brought; as stated: {words}"
    return MethodInfo("brought", label, "0", dim, config, {**weights, "trained": None})
