"""What is committed below results/: records that verify, and a report that is theirs."""

import shutil
from pathlib import Path

import pytest

from bench import record
from bench.report.build import build
from bench.verify import verify

ROOT = Path(__file__).resolve().parent.parent
RECORDS = record.find(ROOT / "results")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem[:8]}")
def test_every_committed_record_verifies(path: Path) -> None:
    faults, _ = verify(path)
    assert not faults


def test_the_committed_report_is_what_the_records_give(tmp_path: Path) -> None:
    copy = tmp_path / "results"
    shutil.copytree(ROOT / "results", copy, ignore=shutil.ignore_patterns("figures", "report.md"))
    build(copy)
    committed = (ROOT / "results" / "report.md").read_bytes()
    assert (copy / "report.md").read_bytes() == committed, "run: python -m nox -s report"


def test_committed_records_come_from_a_clean_commit() -> None:
    for path in RECORDS:
        source = record.read(path)["source"]
        assert source["commit"], path
        assert source["dirty"] is False, path
