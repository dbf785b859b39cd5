"""A minute of `nox -s torture` in the tests: nothing lost, no traceback, no silent difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

CAMPAIGNS = {"kills", "flips", "bad inputs", "writers", "injections"}


@pytest.mark.slow
def test_a_minute_of_torture_finds_nothing(tmp_path: Path) -> None:
    """It runs in a process of its own, as it forks before any thread is there."""
    words = ["--minutes", "1", "--seed", "1", "--results", str(tmp_path / "figures")]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", *words], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "figures").glob("*.json")
    figures = json.loads(path.read_text(encoding="ascii"))
    assert figures["seed"] == 1
    assert set(figures["campaigns"]) == CAMPAIGNS
    assert all(figure["failures"] == 0 for figure in figures["campaigns"].values())
    assert sum(figure["trials"] for figure in figures["campaigns"].values()) > 0
    assert figures["date"].endswith("Z")
    assert "commit" in figures["source"]


def test_what_torture_looks_for_is_found(tmp_path: Path) -> None:
    """Outcomes that no command may have are told from those that it may."""
    from tests.torture.world import Outcome

    good = Outcome(0, ">> mini: 1.0\n", "search: 8 rows\n", 1.0, 0)
    assert good.faults() == []
    assert Outcome(1, "", "error: x is not a file.\n", 1.0, 0).faults() == []
    assert Outcome(-9, "", "", 1.0, 0).faults() == []
    for bad in (
        Outcome(1, "", "Traceback (most recent call last):\nerror: x\n", 1.0, 0),
        Outcome(1, "", "", 1.0, 0),
        Outcome(-11, "", "", 1.0, 0),
        Outcome(0, "a\x1b[2J", "", 1.0, 0),
        Outcome(0, "", "", 91.0, 0),
    ):
        assert len(bad.faults()) == 1, bad
    assert len(Outcome(0, "", "", 1.0, 2 << 30).faults(1 << 30)) == 1
