"""Floating-point operations that cannot be counted: what a record and the report say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.measure import timing
from tests.support.commands import only

METHOD = """
from types import SimpleNamespace
import torch

VARIANTS = {"plain": "with an operation of its own", "known": "without"}
LIBRARY = torch.library.Library("bench_flops_method", "FRAGMENT")
LIBRARY.define("double(Tensor x) -> Tensor")
LIBRARY.impl("double", lambda x: 2 * x, "CPU")


def load(variant, weights, device):
    def describe(batch):
        rows = batch.mean((2, 3)) @ torch.eye(3, 6) + 0.5
        return torch.ops.bench_flops_method.double(rows) if variant == "plain" else rows

    facts = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": False}
    return SimpleNamespace(version="1", config={}, weights=facts, dim=6, describe=describe,
                           preprocess={"mean": (0, 0, 0), "std": (255, 255, 255)})
"""


@pytest.mark.slow
def test_a_run_says_that_operations_were_not_counted(
    workspace: Any, cli: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = timing.Effort(things=1, rounds=3, budget_s=0.1, round_s=0.0)
    monkeypatch.setattr(timing, "EFFORTS", {"sample": quick})
    file = tiny / "doubles.py"
    file.write_text(METHOD)
    for variant, figure, words in (("plain", None, "FLOPs not counted; "), ("known", 36, "")):
        result = cli("run", "--method", f"{file}:{variant}", "--dataset", tiny,
                   "--device", "cpu", "--measure", "sample")  # fmt: skip
        assert result.status == 0, result.err
        _, record = only(
            [path for path in workspace.records() if f"doubles.{variant}" in str(path)]
        )
        assert record["timing"]["latency"]["flops_per_image"] == figure
        (line,) = [line for line in result.out.splitlines() if line.startswith("latency: ")]
        assert f"; {words}float32 on " in line
        assert ("not counted" in line) == bool(words)
        assert cli("verify", workspace.records()[0]).status == 0
    assert cli("report", "--results", workspace.results).status == 0
    (path,) = (workspace.results / "report").glob("tiny*.md")
    report = path.read_text(encoding="utf-8")
    table = report.split("## Costs on ", 1)[1].split("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| [doubles")]
    rows = {line.split()[1].removeprefix("["): line for line in lines}
    assert "| not counted |" in rows["doubles.plain"]
    assert "not counted" not in rows["doubles.known"]
