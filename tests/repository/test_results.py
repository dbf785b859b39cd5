"""What is committed below results/: records that verify, and a report that is theirs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.pipeline import sensitivity
from bench.records import contribution, record
from bench.records.verify import verify
from bench.report.build import build
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow


def committed() -> list[Path]:
    """Return the files of results/ that git knows: records of a user's own runs are not meant."""
    asked = ["git", "ls-files", "-z", "results"]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    return [ROOT / name for name in names if name]


MADE = {"report.md", "report", "index.html", "figures", "tables"}
STUDIES = [
    path
    for path in committed()
    if "sensitivity" in path.parts and "runs" not in path.parts and path.suffix == ".json"
]


def copied(folder: Path) -> Path:
    """Return a copy of what the report is made from, and of nothing that it makes."""
    for path in committed():
        if path.is_file() and not MADE & {*path.parts}:
            target = folder / "results" / path.relative_to(ROOT / "results")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return folder / "results"


def head(name: str) -> bytes:
    """Return a file of results/ as it was committed last."""
    asked = ["git", "show", f"HEAD:results/{name}"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=True).stdout


RECORDS = [path for path in committed() if "runs" in path.parts and path.suffix == ".json"]
needs_git = pytest.mark.skipif(not RECORDS, reason="no git checkout with committed records")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem[:8]}")
def test_every_committed_record_verifies(path: Path) -> None:
    faults, _ = verify(path)
    assert not faults + contribution.faults(path, record.read(path))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_committed_study_verifies(path: Path) -> None:
    assert sensitivity.verify(path)[0] == []


@needs_git
def test_the_committed_report_is_what_the_records_give(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    made = {path.relative_to(copy).as_posix(): path.read_bytes() for path in build(copy)}
    there = {path.relative_to(ROOT / "results").as_posix() for path in committed()}
    rebuilt = {
        name for name in there if {"report.md", "report", "figures", "tables"} & {*name.split("/")}
    }
    assert rebuilt == set(made), "run: python -m nox -s report"
    for name in sorted(rebuilt):
        if not name.startswith("figures/"):  # another matplotlib draws other bytes
            assert made[name] == head(name), f"{name} is stale; run: python -m nox -s report"


@needs_git
def test_the_committed_page_is_what_the_records_give(tmp_path: Path) -> None:
    copy = copied(tmp_path)
    build(copy, html=True)
    assert (copy / "index.html").read_bytes() == head("index.html"), "run: python -m nox -s report"


@needs_git
def test_the_committed_sheet_has_every_row_of_mini(tmp_path: Path) -> None:
    from bench.records import rows

    shown, _ = rows.newest(rows.load(copied(tmp_path))[0])
    wanted = {run.run_id for run in shown if run.dataset == "mini"}
    page = head("sheets/mini.html").decode("utf-8")
    assert set(re.findall(r'<section id="run-([^"]+)"', page)) == wanted, "run: nox -s report"
    assert len(page) <= 350_000
