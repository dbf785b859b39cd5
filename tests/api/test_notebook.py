"""The notebook: its cells run one after the other, and end with a plot and a sheet."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from tests.support.checkout import ROOT

NOTEBOOK = json.loads((ROOT / "bench" / "from_python.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(item["source"]) for item in NOTEBOOK["cells"] if item["cell_type"] == "code"]


def shown(code: str, names: dict[str, Any]) -> Any:
    """Execute a cell; return the value of its last line, where that is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


def test_a_notebook_has_no_output_and_is_of_version_4() -> None:
    assert NOTEBOOK["nbformat"] == 4
    for number, cell in enumerate(NOTEBOOK["cells"]):
        assert cell["id"] == f"cell-{number}"
        assert not cell.get("outputs")
        assert not cell.get("execution_count")


@pytest.mark.slow
def test_its_cells_run_and_end_with_a_plot_and_a_sheet(workspace, monkeypatch, capfd) -> None:
    import matplotlib

    monkeypatch.chdir(workspace.folder)
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    names: dict[str, Any] = {}
    values = [shown(code, names) for code in CODE]
    assert capfd.readouterr() == ("", "")
    assert values[0] == (49, 15, ["easy", "medium", "hard"])
    tables = [value for value in values if isinstance(value, pd.DataFrame)]
    assert len(tables) == 3
    assert all(len(table) for table in tables)
    assert len(names["axes"].patches) == 2 * 15, "a bar for each query and result"
    assert isinstance(values[-1], Image.Image)
    assert values[-1].width > 600
    written = {path.name for path in workspace.folder.iterdir()} - {"cache"}
    assert written == {"sheet.png"}
    values[-1].close()
    import matplotlib.pyplot as plots

    plots.close("all")
    matplotlib.use(before)


def test_what_a_sheet_cannot_show_is_one_sentence(town, tmp_path: Path) -> None:
    import bench

    town(3)
    found = bench.evaluate(tmp_path / "town.json", database=tmp_path / "db.npy",
                           queries=tmp_path / "q.npy")  # fmt: skip
    calls = [
        ({"output": tmp_path / "a.gif"}, "a.gif"), ({"output": 5}, "int"),
        ({"queries": ["none"]}, "none"), ({"queries": "q1"}, "str"), ({"queries": 3}, "int"),
        ({"worst": 0}, "worst"), ({"top": "x"}, "top"), ({"protocol": "easy"}, "easy"),
        ({"against": 5}, "int"), ({}, "none of the images of town"),
    ]  # fmt: skip
    for item, value in calls:
        with pytest.raises(bench.BenchError, match=value):
            found.sheet(**{"output": tmp_path / "a.png", **item})
    kept = bench.read_record(found.save(tmp_path / "kept"))
    with pytest.raises(bench.BenchError, match="data="):
        kept.sheet(tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
