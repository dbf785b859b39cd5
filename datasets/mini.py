"""Real photographs in the checkout: 15 queries, 49 database images; to try things, not to rank."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent / "mini-data"


def load(_root: Path) -> dict[str, Any]:
    """Return the data set from its folder beside this file; the root is not used."""
    data: dict[str, Any] = json.loads((HERE / "dataset.json").read_text(encoding="utf-8"))
    data["images"] = str(HERE / data["images"])
    return data
