"""Facts that a user states of brought descriptors: on the record, marked, and not on the card."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.pipeline import stated
from bench.records import record, rows
from report.tables import main, markdown
from tests.support.town import path_of

FACTS = """
backbone = "ResNet-50"
training_set = "GLDv2-clean"
crop = "crop"
scales = [0.7, 1]
size = 1024
time_ms = 12.5
"""


def test_facts_are_shown_as_stated_and_leave_the_card(cli, town, tmp_path: Path) -> None:
    arguments, file = town(21), tmp_path / "model.toml"
    file.write_text(FACTS, encoding="utf-8")
    plain = record.read(path_of(cli(*arguments)))
    path = path_of(cli(*arguments, "--facts", file))
    told = record.read(path)
    assert (told["card_id"], told["scores"]) == (plain["card_id"], plain["scores"])
    assert plain["method"]["config"] == {}
    assert plain["method"]["weights"]["training_set"] == "not stated: descriptors were brought"
    assert told["method"]["config"]["as_stated"] == {
        "backbone": "ResNet-50", "training_set": "GLDv2-clean", "crop": "crop",
        "scales": [0.7, 1], "size": 1024, "time_ms": 12.5,
    }  # fmt: skip
    row = rows.parse(told, path)  # type: ignore[arg-type]
    assert row.backbone == "ResNet-50 (as stated)"
    assert row.training_set == "GLDv2-clean (as stated)"
    for value in ("as stated", "crop crop", "scales [0.7, 1]", "size 1024", "time_ms 12.5"):
        assert value in row.source
    assert row.marks == ()
    words = main.treatment(row)
    assert [words[key] for key in ("query crop", "scales", "size cap")] == [
        "crop (as stated)", "0.7, 1 (as stated)", "1024 (as stated)"]  # fmt: skip
    assert markdown.pixels(row) == "scales 0.7, 1, size cap 1024 (as stated)"
    told["method"]["config"]["as_stated"] = "other"
    assert rows.parse(told, path).stated == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("speed = 1", "speed"),
        ("backbone = 5", "backbone"),
        ('backbone = ""', "backbone"),
        ('crop = "a\\nb"', "crop"),
        ("scales = []", "scales"),
        ("scales = [1, 0]", "scales"),
        ("size = true", "size"),
        ("time_ms = nan", "time_ms"),
        ("time_ms = -1", "time_ms"),
        ("size =", "TOML"),
        ("# " + "x" * (1 << 16), "65536"),
    ],
)
def test_facts_that_do_not_fit(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "model.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BenchError, match=found):
        stated.read(tmp_path / "model.toml")
