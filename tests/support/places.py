"""A small data set with the rules of place recognition, and a record of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

R1, R5 = "recall@1.any-hit.junk-removed", "recall@5.any-hit.junk-removed"
PLACES = {
    "name": "places",
    "images": "jpg",
    "database": [f"d{i}.png" for i in range(8)],
    "queries": [{"file": f"q{i}.png"} for i in range(3)],
    "protocols": {
        "all": [{"positive": [1]}, {"positive": [5]}, {"positive": [2]}],
        "night": [None, {"positive": [5]}, {"positive": [2]}],
    },
    "metrics": [R1],
    "empty": "miss",
    "rules": {"positive": "Euclidean distance", "threshold_m": 25, "comparison": "<="},
    "areas": {"database": [0] * 4 + [1] * 4, "queries": [0, 1, 0]},
    "groups": [0, 0, 1, 1, 2, 2, 3, 3],
}


def score_places(
    cli: Callable[..., Any], workspace: Any, brought: tuple[Path, Path], **change: object
) -> Path:
    """Score descriptors on that data set, with other keys where said; return the record."""
    path = workspace.folder / "places" / "dataset.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**PLACES, **change}), encoding="utf-8")
    db, asked = brought
    files = ("--database", db, "--queries", asked)
    result = cli("evaluate", "--dataset", path, *files, "--shortlist", 1)
    assert result.status == 0, result.err
    return Path(result.out.splitlines()[-1])
