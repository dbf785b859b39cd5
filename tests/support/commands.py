"""What the tests of the command line share: a quick command, and the one record of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RANDOM = ("run", "--method", "random-unit", "--device", "cpu")
HEADLINE = "map.trapezoid.junk-removed"


def only(paths: list[Path]) -> tuple[Path, dict[str, Any]]:
    """Return the one record there is."""
    (path,) = paths
    return path, json.loads(path.read_text(encoding="ascii"))
