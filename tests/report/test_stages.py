"""The table of what stages add: paired with the same method without, and what nothing shows."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.records import compare, record
from bench.report.tables import stages
from tests.support.checkout import ROOT


def kept(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "results" / "stages", tmp_path / "stages")
    return tmp_path


def test_every_row_is_paired_with_its_method_without_stages(tmp_path: Path) -> None:
    results = kept(tmp_path)
    found, left_out = stages.load(results)
    assert left_out == []
    assert len(found) == len(record.find(results / "stages"))
    text = stages.section(found)
    assert text.count("| [plain](") == 2
    assert "64 + 2,048" in text, "codes in memory, full rows on disk"
    for run, pairs in found:
        if not pairs:
            continue
        plain = next(
            r for r, p in found if not p and (r.method, r.variant) == (run.method, run.variant)
        )
        paths = [results / "stages" / item.file for item in (plain, run)]
        again = compare.compare(compare.load(paths))
        medium = next(item for item in again if item["protocol"] == "medium")
        (line,) = [line for line in text.splitlines() if str(run.file) in line]
        assert f" {100 * medium['difference']:+.1f}" in line
        assert ("not significant" in line) == any(item["p"] >= 0.05 for item in again)


def test_a_record_without_its_plain_one_is_left_out(tmp_path: Path) -> None:
    results = kept(tmp_path)
    for path in record.find(results / "stages"):
        card = record.read(path)["card"]
        if "gem" in str(path) and not card["stages"] and "none" in str(card["compression"]):
            path.unlink()
    found, left_out = stages.load(results)
    assert {run.method for run, _ in found} == {"delg"}
    assert {reason for _, reason in left_out} == {"its method has no record without stages"}


def test_without_records_there_is_no_page(tmp_path: Path) -> None:
    assert stages.section(stages.load(tmp_path)[0]) == ""
