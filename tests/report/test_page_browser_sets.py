"""The leaderboard page of several data sets in a browser: overview, widths, pins, downloads."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from bench.report.build import build
from tests.support import boards
from tests.support.browser import Open, element, names

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of eight methods on four data sets, with gaps, made from real ranks."""
    folder = tmp_path_factory.mktemp("many")
    boards.fill(folder, 8, ("mini", "roxford5k", "rparis6k", "pitts30k"))
    build(folder, html=True)
    return folder / "index.html"


def overview_rows(browser: Any, table: int = 0) -> list[list[str]]:
    script = """
        const table = document.querySelectorAll("table.overview")[arguments[0]];
        return [...table.querySelectorAll("tbody tr")].map((row) => [...row.children].map((cell) =>
          cell.textContent.trim()));
    """
    found: list[list[str]] = browser.execute_script(script, table)
    return found


def test_the_overview_is_that_of_the_report(opened: Open, many: Path) -> None:
    browser = opened(many)
    report = (many.parent / "report.md").read_text(encoding="utf-8").replace("\u2060", "")
    table = report.split("### mAP\n")[1].split("\n\n")[0].strip().splitlines()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:]]
    shown = overview_rows(browser)
    assert len(shown) == len(lines) == 8
    for (name, mean, letters, *_), row in zip(lines, shown, strict=True):
        assert row[1] == name
        assert row[2].split(" ")[0] == mean.split("&nbsp;")[0]
        if "<sub>" in mean:
            assert row[2].split(" ")[1] == mean.split("<sub>")[1].removesuffix("</sub>")
            assert row[3] == letters


def test_the_overview_ranks_what_is_in_view_and_leads_to_a_data_set(
    opened: Open, many: Path
) -> None:
    browser = opened(many)
    assert browser.execute_script("return state.data") == "roxford5k", "mini is last"
    element(browser, "#f-q").send_keys("dolg")
    assert [row[1] for row in overview_rows(browser)] == ["dolg.r101"]
    assert overview_rows(browser)[0][2] == "–", "nothing to be ranked among"
    element(browser, "#clear").click()
    browser.find_elements("css selector", "table.overview thead button")[1].click()
    assert browser.execute_script("return state.data") == "rparis6k"
    element(browser, "#f-q").send_keys("no method is called so")
    assert "No method fits" in element(browser, "#overview").text


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (768, 1024), (390, 844)])
def test_the_table_is_above_the_fold(
    opened: Open, many: Path, driver: Any, width: int, height: int
) -> None:
    browser = opened(many, width=width)
    top = browser.execute_script(
        "return document.querySelector('tr.row').getBoundingClientRect().top"
    )
    assert top < 0.75 * height
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_pinned_rows_stand_side_by_side_with_paired_differences(opened: Open, many: Path) -> None:
    browser = opened(many)
    ids = browser.execute_script(
        "return DATA.rows.filter((row) => row.dataset === 'roxford5k').slice(0, 2).map((r) => r.id)"
    )
    browser = opened(many, f"pins={ids[0]},{ids[1]}")
    script = """
        const rows = arguments[0].map((id) => byId.get(id));
        const column = scoreColumns(rows, state).find((each) => each.protocol === "medium");
        return [rows.map((row) => scoreOf(row, "medium", column.metric)[0]),
                pairedDifference(rows[1], rows[0], column)];
    """
    scores, apart = browser.execute_script(script, ids)
    assert apart["points"] == pytest.approx(scores[1] - scores[0])
    low, high = apart["interval"]
    assert low < apart["points"] < high
    assert len(browser.find_elements("css selector", "#pins tbody tr")) == 2
    assert "to" in element(browser, "#pins tbody tr:nth-child(2) small").text + " to"
    element(browser, "#pins .unpin").click()
    assert len(browser.find_elements("css selector", "#pins tbody tr")) == 1


def test_the_view_can_be_taken_away(opened: Open, many: Path) -> None:
    browser = opened(many)
    text = browser.execute_script(
        "const c = columnsOf(filtered(state), state); return [asCsv(inView, c), asLatex(inView, c)]"
    )
    read = list(csv.DictReader(io.StringIO(text[0], newline="")))
    assert [row["Method"] for row in read] == names(browser)
    shown = browser.execute_script(
        "return [...document.querySelectorAll('tr.row')].map((r) => r.querySelectorAll('.c-score')"
        "[1].firstChild.textContent)"
    )
    assert [row["medium"] for row in read] == shown
    assert text[1].count("\\textbf{") >= 3
    assert "\\begin{tabular}" in text[1]
    wanted = browser.execute_script(
        """
        const made = [];
        const old = URL.createObjectURL;
        URL.createObjectURL = (blob) => { made.push(blob.size); return "#"; };
        document.querySelector("#take-csv").click();
        document.querySelector("#take-latex").click();
        URL.createObjectURL = old;
        return made;
        """
    )
    assert wanted == [len(text[0].encode()), len(text[1].encode())]
