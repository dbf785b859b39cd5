"""The gallery: every figure of every page once, and the sheets."""

from __future__ import annotations

from pathlib import Path

from bench.report import gallery
from tests.support.checkout import ROOT


def test_figures_lead_to_their_pages_and_sheets_are_listed(tmp_path: Path) -> None:
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets" / "mini.html").touch()
    pages = {
        "report/b.md": ["# B\n", "![two](figures/b.png)\n", "text [SVG](figures/b.svg)"],
        "report/a.md": [r"![a \] b](figures/a.png)" + "\n"],
    }
    made = "".join(gallery.page(tmp_path, pages))
    assert made.index("figures/a.png") < made.index("figures/b.png") < made.index("mini.html")
    assert r"[![a \] b](figures/a.png)](report/a.md)" in made
    assert "[b](report/b.md)" in made
    assert gallery.page(tmp_path / "sheets", {"report/c.md": ["no figure"]}) == []


def test_the_committed_gallery_has_every_figure() -> None:
    text = (ROOT / "results" / "report" / "gallery.md").read_text(encoding="utf-8")
    for path in (ROOT / "results" / "figures").glob("*.png"):
        assert f"](../figures/{path.name})]" in text
