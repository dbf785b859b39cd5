"""Published and measured numbers: what differs between rows, and that they stay apart."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.records.rows import flat
from bench.report.build import build
from bench.report.tables import differences
from tests.support.published import FILE, GOOD, load_text
from tests.support.reports import text_of


def measured(method: str = "dolg", **changes: Any) -> Any:
    """Return a measured row as far as a comparison looks at it."""
    card = {
        "crop_rule": changes.get("crop", "box"),
        "preprocess": {"scales": changes.get("scales", [0.70710678, 1.0, 1.41421356]),
                       "max_side_px": changes.get("cap", 1024)},
        "candidates_rule": changes.get("reranking", "none"),
        "compression": changes.get("compression", "none (float32)"),
    }  # fmt: skip
    if changes.get("brought"):
        card.update(preprocess=None, crop_rule="not-stated")
    sha256 = changes.get("sha256", "a" * 64)
    return SimpleNamespace(
        method=method, name=changes.get("name", f"{method}.x"), card=card, card_id=sha256,
        card8=sha256[:8], marks=changes.get("marks", ()), partial=changes.get("partial", False),
        leaves=flat(card), dim=changes.get("dim", 512),
        training_set=changes.get("training_set", "GLDv2-clean"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row_change", "runs", "says"),
    [
        ({}, [measured(crop="whole")], "none known"),
        ({}, [measured()], "published without query crop; measured with crop"),
        (
            {'crop = "whole"': 'crop = "box"'},
            [measured(crop="whole")],
            "published with query crop; measured without crop",
        ),
        (
            {'reranking = "none"': 'reranking = "global + local re-ranking"'},
            [measured(crop="whole")],
            "published row is global + local re-ranking; measured without re-ranking",
        ),
        (
            {},
            [measured(crop="whole", scales=[1.0], cap=None)],
            (
                "scales: published 0.7071, 1, 1.4142, measured 1<br>size cap: published 1,024 px, "
                "measured none"
            ),
        ),
        (
            {'compression = "none"': 'compression = "PQ8"'},
            [measured(crop="whole")],
            "compression: published PQ8, measured none",
        ),
        (
            {},
            [measured(crop="whole", dim=64, marks=("untrained",))],
            (
                "trained on: published GLDv2-clean, measured nothing (untrained)<br>"
                "dimension: published 512, measured 64"
            ),
        ),
        (
            {},
            [measured(), measured(crop="whole", sha256="b" * 64)],
            (
                "published without query crop; measured with crop (`aaaaaaaa`), "
                "without crop (`bbbbbbbb`)"
            ),
        ),
        (
            {'scales = ["0.7071", "1", "1.4142"]\n': "", 'crop = "whole"': 'crop = "not stated"'},
            [measured()],
            "not stated in the source: query crop, scales",
        ),
        (
            {},
            [measured(brought=True)],
            "not known for the measured `aaaaaaaa`: query crop, scales, size cap",
        ),
        ({}, [measured("gem", dim=7, training_set="x", crop="whole")], "none known"),
        (
            {},
            [measured("gem", sha256="b" * 64), measured(crop="whole")],
            "none known",
        ),
        ({}, [measured(partial=True), measured(crop="whole")], "none known"),
        ({}, [], "nothing was measured"),
    ],
)
def test_what_differs_from_the_measured_rows(
    tmp_path: Path, row_change: dict[str, str], runs: list[Any], says: str
) -> None:
    text = GOOD
    for old, new in row_change.items():
        assert old in text
        text = text.replace(old, new)
    (row,) = load_text(tmp_path, text)
    assert differences.differences(row, runs) == says


@pytest.mark.slow
def test_measured_numbers_never_stand_in_a_published_table(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path)
    build(tmp_path)
    text = text_of(tmp_path)
    heads = [line for line in text.splitlines() if line.startswith("| method |")]
    published_heads = [line for line in heads if " source |" in line]
    assert published_heads
    assert all("interval" not in head and "record" not in head for head in published_heads)
