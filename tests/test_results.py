"""What is committed below results/: records that verify, and a report that is theirs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bench import record, sensitivity
from bench.report.build import build
from bench.verify import verify

ROOT = Path(__file__).resolve().parent.parent


def committed() -> list[Path]:
    """Return the files of results/ that git knows: records of a user's own runs are not meant."""
    asked = ["git", "ls-files", "-z", "results"]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    return [ROOT / name for name in names if name]


REBUILT = {"report.md", "figures", "tables"}
STUDIES = [
    path
    for path in committed()
    if "sensitivity" in path.parts and "runs" not in path.parts and path.suffix == ".json"
]
RECORDS = [path for path in committed() if "runs" in path.parts and path.suffix == ".json"]
needs_git = pytest.mark.skipif(not RECORDS, reason="no git checkout with committed records")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem[:8]}")
def test_every_committed_record_verifies(path: Path) -> None:
    faults, _ = verify(path)
    assert not faults


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_committed_study_verifies(path: Path) -> None:
    assert sensitivity.verify(path)[0] == []


@needs_git
def test_the_committed_report_is_what_the_records_give(tmp_path: Path) -> None:
    copy = tmp_path / "results"
    for path in committed():
        if path.is_file() and not REBUILT & {*path.parts}:
            target = copy / path.relative_to(ROOT / "results")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    made = {path.relative_to(copy).as_posix(): path.read_bytes() for path in build(copy)}
    there = {path.relative_to(ROOT / "results").as_posix() for path in committed()}
    rebuilt = {name for name in there if REBUILT & {*name.split("/")}}
    assert rebuilt == set(made), "run: python -m nox -s report"
    for name in sorted(rebuilt):
        if not name.startswith("figures/"):  # another matplotlib draws other bytes
            asked = ["git", "show", f"HEAD:results/{name}"]
            shown = subprocess.run(asked, cwd=ROOT, capture_output=True, check=True)
            assert made[name] == shown.stdout, f"{name} is stale; run: python -m nox -s report"


@needs_git
def test_committed_records_come_from_a_clean_commit() -> None:
    for path in RECORDS:
        source = record.read(path)["source"]
        assert source["commit"], path
        assert source["dirty"] is False, path
