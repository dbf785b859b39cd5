"""Revisited Oxford: easy, medium and hard protocols, 70 boxed queries outside the database."""

from pathlib import Path
from typing import Any

from bench.datasets import _revisited

GROUND_TRUTH_SHA256 = "ba7967754bd2d7d2210a5799f9c45ad5835e269a80ef9d3eba44caa35816c471"


def load(root: Path) -> dict[str, Any]:
    """Return the data set from <root>/roxford5k/gnd_roxford5k.pkl and <root>/roxford5k/jpg."""
    return _revisited.load(root, "roxford5k", GROUND_TRUTH_SHA256)
