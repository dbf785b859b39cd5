"""Revisited Paris: easy, medium and hard protocols, 70 boxed queries outside the database."""

from pathlib import Path
from typing import Any

from bench.datasets import _revisited

GROUND_TRUTH_SHA256 = "d2e729a5293dda7dda8a15c8383424a42e4964a2c4cfea2f32fa85d11d2df499"


def load(root: Path) -> dict[str, Any]:
    """Return the data set from <root>/rparis6k/gnd_rparis6k.pkl and <root>/rparis6k/jpg."""
    return _revisited.load(root, "rparis6k", GROUND_TRUTH_SHA256)
