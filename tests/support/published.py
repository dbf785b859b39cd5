"""The published rows by id, and a file of one good row for tests to spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.report.tables import published
from tests.support.checkout import ROOT

FILE = ROOT / "results" / "published.toml"
GOOD = """
schema = 1
[source.paper]
text = "a paper"
[[row]]
id = "one"
method = "dolg"
variant = "R101"
backbone = "ResNet-101"
training_set = "GLDv2-clean"
dim = 512
crop = "whole"
scales = ["0.7071", "1", "1.4142"]
size_cap = "1024"
reranking = "none"
compression = "none"
source = "paper"
tag = "img"
[row.values]
"roxford5k.medium.map" = "80.50"
"""


def rows() -> dict[str, Any]:
    """Return the rows of the real file by id."""
    return {row.id: row for row in published.load(FILE)}


def load_text(folder: Path, text: str) -> Any:
    """Load a file that holds `text`."""
    path = folder / "published.toml"
    path.write_text(text, encoding="utf-8")
    return published.load(path)
