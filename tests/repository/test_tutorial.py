"""The tutorial, methods/tutorial.md, is followed as it stands, but for the installation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow


def test_the_tutorial_leads_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = (ROOT / "methods" / "tutorial.md").read_text(encoding="utf-8")
    install, *steps = text.split("\n## ")[1:]
    assert "pip install ." in install
    printed = {}
    for step in steps:
        for language, code in re.findall(r"^```(\w*)\n(.*?)^```", step, re.DOTALL | re.MULTILINE):
            if language == "python":
                (tmp_path / "colours.py").write_text(code, encoding="utf-8")
                continue
            for line in code.splitlines():
                assert line.startswith("retrieval-bench ")
                command = line.replace("retrieval-bench", f"{sys.executable} -m bench", 1)
                command += " --measure none" if " run " in line else ""  # costs have tests
                # A shell, as the reader has one: it expands *.json and writes `> table.tex`.
                done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True,
                                      text=True, check=False)  # fmt: skip
                assert done.returncode == 0, f"{line}\n{done.stderr}"
                printed[line] = done.stdout
    assert r"\toprule" in (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert "match" in printed["retrieval-bench verify results/runs/mini/colours.bins8/*.json"]
    for file in ("worst.html", "results/report.md", "results/index.html"):
        assert (tmp_path / file).is_file()
