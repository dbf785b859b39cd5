"""Tables of papers: what stands in a line, what is bold, LaTeX that compiles, published rows."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.records import rows as runs_of
from bench.report.build import load
from bench.report.tables import letters, paper, paper_formats, published
from bench.report.tables.paper import Wanted
from tests.support import boards
from tests.support.checkout import ROOT

ROWS = published.load(ROOT / "results" / "published.toml")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return records of five methods on four data sets, with a gap."""
    folder = tmp_path_factory.mktemp("paper")
    boards.fill(folder, 5, ("roxford5k", "rparis6k", "pitts30k", "sped"), gaps=False)
    dataset = boards.dataset_of("roxford5k")
    boards.write(folder, "solar.r101", dataset, 90, changes={"crop_rule": "whole"})
    boards.write(folder, "gem.untrained", dataset, 91, 0.1, trained=False)
    boards.write(folder, "cvnet.r50", dataset, 92)
    return folder


def made(results: Path, *names: str, **about: Any) -> paper.Paper:
    return paper.make(load(results).by_dataset, ROWS, Wanted(names, **about))


@pytest.mark.slow
def test_a_line_is_a_method_on_all_data_sets_and_gaps_stay(results: Path) -> None:
    table = made(results, "roxford5k", "rparis6k")
    assert [(c.dataset, c.head) for c in table.columns] == [
        ("roxford5k", "M"), ("roxford5k", "H"), ("rparis6k", "M"), ("rparis6k", "H"),
    ]  # fmt: skip
    assert [heading for heading, _ in table.groups] == ["query box", "whole query"]
    lines = {line.name: line for line in table.groups[0][1]}
    assert "gem.untrained (untrained)" not in lines, "only on request"
    assert [cell.shown for cell in lines["cvnet.r50"].cells[2:]] == ["–", "–"]
    runs = {r.name: r for r in runs_of.load(results)[0]
            if r.dataset == "roxford5k" and r.card["crop_rule"] == "box"}  # fmt: skip
    for name in ("dolg.r101", "gem.lite0"):
        mean = runs[name].score("medium", runs[name].headline).mean
        assert lines[name].cells[0].shown == f"{100 * mean:.1f}"
        assert lines[name].extra == (f"{runs[name].dim:,}",)
    best = max(float(line.cells[0].shown) for line in lines.values())
    assert {line.cells[0].shown for line in lines.values() if line.cells[0].place == 1} == {
        f"{best:.1f}"
    }
    (alone,) = table.groups[1][1]
    assert [cell.place for cell in alone.cells] == [0, 0, 0, 0], "alone under its protocol"


def test_digits_columns_and_chosen_methods(results: Path) -> None:
    table = made(
        results, "sped", methods=("gem", "dolg.r101"), extra=("ms", "bytes"), digits=2,
        intervals=False,
    )  # fmt: skip
    assert [c.head for c in table.columns] == ["R@1", "R@5", "R@10"]
    ((_, lines),) = table.groups
    assert sorted(line.name for line in lines) == ["dolg.r101", "gem.lite0"]
    assert lines[0].extra == ("430", "2,048")
    assert all(len(cell.shown.split(".")[1]) == 2 for line in lines for cell in line.cells)
    assert all(cell.interval is None for line in lines for cell in line.cells)
    shown = made(results, "roxford5k", methods=("gem",), easy=True)
    assert [c.head for c in shown.columns] == ["E", "M", "H"]
    names = [line.name for _, lines in shown.groups for line in lines]
    assert "gem.untrained (untrained)" in names, "asked for by name, and marked"


def test_published_rows_keep_their_digits_and_their_own_lines(results: Path) -> None:
    table = made(results, "roxford5k", "roxford5k+r1m", methods=("dolg",), published=True)
    heading, lines = table.groups[-1]
    assert heading == "published"
    line = next(line for line in lines if "R101, paper" in line.name)
    assert [cell.shown for cell in line.cells] == ["81.50", "61.10", "77.43", "54.81"]
    assert all(cell.place == 0 for line in lines for cell in line.cells)
    assert all(line.cite in table.sources for line in lines)
    bib = paper_formats.as_bib(table)
    for key, row in table.sources.items():
        assert f"@misc{{{key}," in bib
        assert row.source.url is None or row.source.url in bib
    assert not any(row.tag == "mem" for row in table.sources.values())


def test_csv_has_the_same_cells(results: Path) -> None:
    table = made(results, "rparis6k")
    read = list(csv.reader(io.StringIO(paper_formats.as_csv(table))))
    lines = [line for _, lines in table.groups for line in lines]
    assert len(read) == 1 + len(lines)
    for row, line in zip(read[1:], lines, strict=True):
        assert row[1] == line.name
        assert [row[4], row[8]] == [cell.shown for cell in line.cells]
        assert row[7] == str(line.cells[0].place or "")


def test_letters_are_those_of_compare(results: Path) -> None:
    content = load(results)
    wanted = letters.marked(results, content.by_dataset, Wanted(("roxford5k",)))
    table = paper.make(content.by_dataset, ROWS, wanted)
    marks = {line.name: line.cells[0].mark for line in table.groups[0][1]}
    assert set("".join(marks.values())) >= {"a", "b"}
    assert marks["dolg.r101"][0] == "a"
    assert not set(marks["gem.lite0"]) & set(marks["dolg.r101"]), "far apart"
    assert r"\textsuperscript{a" in paper_formats.as_latex(table)


@pytest.mark.parametrize(
    ("names", "about", "says"),
    [
        (("roxford5",), {}, "roxford5k"),
        (("sped",), {"methods": ("dlog",)}, "dolg"),
        (("sped",), {"extra": ("mss",)}, "ms"),
        (("sped",), {"digits": 9}, "9"),
        (("msls.challenge",), {"published": False}, "msls"),
    ],
)
def test_wrong_names_are_one_sentence(
    results: Path, names: tuple[str, ...], about: dict[str, Any], says: str
) -> None:
    with pytest.raises(BenchError, match=says):
        made(results, *names, **about)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_tables_of_the_field_compile_in_two_columns(results: Path, tmp_path: Path) -> None:
    tables = (
        made(results, "roxford5k", "rparis6k", "roxford5k+r1m", "rparis6k+r1m", published=True,
             methods=("dolg", "token"), intervals=False),
        made(results, "pitts30k", "sped", intervals=False),
        made(results, "msls.val-gsv-cities", "nordland.vpr-bench", published=True, extra=()),
    )  # fmt: skip
    for number, table in enumerate(tables):
        text = re.sub(r"~\\cite\{[^}]*\}", "~[12]", paper_formats.as_latex(table))
        (tmp_path / f"{number}.tex").write_text(text, encoding="utf-8")
    inputs = "".join(rf"\input{{{number}.tex}}" for number in range(3))
    (tmp_path / "all.tex").write_text(
        "\\documentclass[10pt,twocolumn]{article}\\usepackage[margin=0.75in]{geometry}"
        f"\\usepackage{{booktabs}}\\begin{{document}}{inputs}\\end{{document}}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
