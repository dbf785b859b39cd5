"""The table of DOLG without its parts: from records of networks that say what they have."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bench.records import record
from bench.report.build import build
from bench.report.tables import ablation
from tests.support.checkout import ROOT

RUNS = ROOT / "results" / "runs" / "mini"
WRITTEN = ("sha256", "card_sha256", "arrays_sha256")


def written(
    results: Path, number: int, mean: float | None, weights: str | None = None, **config: Any
) -> None:
    source = min((RUNS / "dolg.lite0").glob("*.json"))
    content = record.read(source)
    new = copy.deepcopy({k: v for k, v in content.items() if k not in WRITTEN})
    new["run_id"] = f"20260101T00000{number}Z-00000{number}"
    new["created"] = f"2026-01-01T00:00:0{number}Z"
    new["method"]["config"] = new["method"]["config"] | config
    new["method"]["weights"]["sha256"] = weights or new["method"]["weights"]["sha256"]
    score = new["scores"]["hard"][content["card"]["metrics"][0]]
    score["mean"], score["interval"] = mean, mean and [mean - 0.1, mean + 0.1]
    record.write(results / "ablation", new, record.read_arrays(source, content))


def test_a_row_per_network_in_the_order_of_the_parts(tmp_path: Path) -> None:
    written(tmp_path, 1, 0.5, fusion="none", multi_atrous=False)
    written(tmp_path, 2, 0.25, fusion="orthogonal", multi_atrous=True)
    written(tmp_path, 3, 0.75, fusion="orthogonal", multi_atrous=True)
    written(tmp_path, 4, None, fusion="concatenation", multi_atrous=True)
    written(tmp_path, 5, 0.5, fusion="a sum", multi_atrous=True)
    found, left_out = ablation.load(tmp_path)
    assert [reason for _, reason in left_out] == ["it is not of a network of this study."]
    text = ablation.section(found)
    rows = [
        line.split(" | ")
        for line in text.splitlines()
        if line.startswith("| ") and "---" not in line
    ]
    assert [row[0].strip("| ") for row in rows[1:]] == [item for item, _ in ablation.PARTS]
    assert [row[-1].strip(" |") for row in rows] == [
        "hard", "75.00 [65.00, 85.00]", "50.00 [40.00, 60.00]", "–", "–",
    ]  # fmt: skip
    assert "demonstration" in text.replace("\n", " ")
    assert ablation.EQUAL not in text


def test_equal_rows_are_explained_where_the_weights_differ(tmp_path: Path) -> None:
    written(tmp_path, 1, 0.5, weights="1" * 64, fusion="none")
    written(tmp_path, 2, 0.5, weights="2" * 64, fusion="concatenation")
    assert ablation.EQUAL in ablation.section(ablation.load(tmp_path)[0])
    written(tmp_path, 3, 0.5, weights="1" * 64, fusion="concatenation")
    assert ablation.EQUAL not in ablation.section(
        [(part, run) for part, run in ablation.load(tmp_path)[0] if run.weights_sha256 == "1" * 64]
    ), "one file under two names explains itself otherwise"


def test_the_report_has_it_where_there_are_such_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path)
    assert not (tmp_path / "report" / "ablation.md").exists()
    written(tmp_path, 1, 0.5, fusion="none")
    broken = tmp_path / "ablation" / "runs" / "mini" / "dolg.lite0" / "broken.json"
    broken.write_text("{")
    build(tmp_path)
    text = (tmp_path / "report" / "ablation.md").read_text(encoding="utf-8")
    assert "(report/ablation.md)" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert ablation.TITLE.strip() in text
    assert "| without local branch |" in text
    assert "not shown: ablation/runs/mini/dolg.lite0/broken.json" in capsys.readouterr().err
