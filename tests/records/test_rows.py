"""The rows that tables show: what of a record they are made of."""

from __future__ import annotations

import json

from bench.records import rows
from bench.scoring.card import is_compressed
from tests.support.checkout import ROOT


def test_the_dimension_is_that_which_was_searched() -> None:
    """Four bytes a number, in every committed record that compresses nothing."""
    moved = 0
    for path in (ROOT / "results" / "stages" / "runs").rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        dim = rows.parse(content, rows.PurePosixPath(path.name)).dim
        if not is_compressed(content["card"]):
            assert 4 * dim == content["bytes_per_image"], path
        moved += dim != content["method"]["dim"]
    assert moved >= 6  # truncated, whitened and fused, of two methods
