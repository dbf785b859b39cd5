"""The leaderboard page in a browser: sorting, filtering, opening rows, keys, a phone, odd names.

The browser is Debian's chromium, driven by selenium and chromedriver; without them these tests are
skipped.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.browser import Open, choose, element, key, names, press
from tests.support.checkout import ROOT
from tests.support.pages import HOSTILE, data_of, page_of, some

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, made: ModuleType) -> Path:
    """Return a page of six rows and the published ones."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(ROOT / "results" / "published.toml", folder)
    return page_of(folder, made, *some(made))


def test_rows_are_grouped_by_card_and_never_ranked_across_without_saying_so(
    opened: Open, page: Path
) -> None:
    browser = opened(page)
    order = [name.split(".")[1][:1] for name in names(browser)]
    assert order == ["b", "a", "e", "c", "<", "d"]  # by medium within a group; partial at the end
    assert len(browser.find_elements("css selector", "tr.group")) == 3
    assert "2 protocol cards in view" in element(browser, "#cards").text
    assert "across" not in element(browser, "#cards").get_attribute("class")
    element(browser, "#more-filters summary").click()
    element(browser, "#f-group").click()
    element(browser, "#more-filters summary").click()
    assert [name.split(".")[1][:1] for name in names(browser)] == ["b", "c", "a", "<", "e", "d"]
    assert "runs across protocols" in element(browser, "#cards").text
    assert "across" in element(browser, "#cards").get_attribute("class")
    bold = browser.execute_script(
        "return [...document.querySelectorAll('td.c-score b')].map((b) => b.textContent)"
    )
    assert sorted(bold) == sorted(["80.0", "40.0", "90.0", "90.0", "70.0"])
    element(browser, "#cards summary").click()
    browser.execute_script("return new Promise((done) => requestAnimationFrame(done))")
    assert "scales" in element(browser, ".differences").text


def test_a_column_sorts_both_ways_and_says_so(opened: Open, page: Path) -> None:
    browser = opened(page, "group=no&cols=latency")
    header = element(browser, "th[data-key='latency'] button")
    header.click()
    assert element(browser, "th[data-key='latency']").get_attribute("aria-sort") == "ascending"
    assert [name.split(".")[0] for name in names(browser)] == [
        "gem", "gem", "delg", "delg", "random", "solar",
    ]  # fmt: skip
    press(browser, key("ENTER"))  # the focus stayed on the header
    assert element(browser, "th[data-key='latency']").get_attribute("aria-sort") == "descending"
    assert names(browser)[0].startswith("random")
    assert "sort=latency" in browser.current_url


def test_a_missing_value_comes_last_in_both_directions(opened: Open, page: Path) -> None:
    for order in ("asc", "desc"):
        browser = opened(page, f"group=no&protocol=hard&order={order}")
        assert names(browser)[-2] == f"delg.{HOSTILE}"  # before the partial one


def test_filters_narrow_the_rows_and_live_in_the_address(opened: Open, page: Path) -> None:
    browser = opened(page)
    element(browser, "#more-filters summary").click()
    choose(browser, "crop", "whole image")
    assert len(names(browser)) == 2
    choose(browser, "backbone", "ResNet-50")
    assert names(browser) == ["delg.c"]
    address = browser.current_url
    assert "crop=whole+image" in address
    browser = opened(page, address.partition("#")[2])
    assert names(browser) == ["delg.c"]
    assert "1 of 6 measured rows" in element(browser, "#status").text
    assert "Filters (2)" in element(browser, "#more-filters summary").text
    element(browser, "#more-filters summary").click()
    choose(browser, "device", "a processor")
    assert names(browser) == []


def test_bounds_leave_out_what_is_above_and_what_is_not_known(opened: Open, page: Path) -> None:
    browser = opened(page, "maxkb=2.0")
    assert [name.split(".")[1][:1] for name in names(browser)] == ["<", "e", "d"]
    browser = opened(page, "maxpar=5")
    assert names(browser) == [], "no row says how many parameters it has"
    element(browser, "#clear").click()
    assert len(names(browser)) == 6


def test_ranks_are_of_one_protocol_and_system(opened: Open, page: Path) -> None:
    browser = opened(page)
    ranks = browser.execute_script(
        "return Object.fromEntries(DATA.rows.map(row => [row.name.slice(0, 8), row.rank]))"
    )
    assert ranks["gem.b"] == 1
    assert ranks["gem.a"] == 2
    assert ranks["delg.c"] == 1
    assert ranks["random.e"] is None, "chance is not ranked"
    assert ranks["solar.d"] is None, "partial is not ranked"


def test_columns_are_chosen_and_live_in_the_address(opened: Open, page: Path) -> None:
    browser = opened(page)
    element(browser, "#columns summary").click()
    element(browser, "[data-column='backbone']").click()
    assert "backbone" in browser.current_url
    assert browser.find_elements("css selector", "th[data-key='backbone']")
    element(browser, "[data-column='size']").click()
    shown = element(browser, "td.c-size").text
    assert shown.endswith("GB")
    again = opened(page, "cols=size&n=2000000")
    text = element(again, "tr.row td.c-size").text
    row = again.execute_script("return DATA.rows.find((row) => row.name === 'gem.b')")
    assert text == f"{2e6 * row['bytes'] / 1e9:.3g} GB"


def test_an_empty_list_says_so_and_can_be_left(opened: Open, page: Path) -> None:
    browser = opened(page)
    element(browser, "#f-q").send_keys("nothing has this name")
    assert names(browser) == []
    assert "No measured row fits these filters" in element(browser, "#empty").text
    assert browser.switch_to.active_element.get_attribute("id") == "f-q"
    element(browser, "#empty button").click()
    assert len(names(browser)) == 6


def test_a_row_opens_its_card_its_timings_and_its_links(opened: Open, page: Path) -> None:
    browser = opened(page)
    assert browser.execute_script("return facts === null"), "facts are read when a row is opened"
    element(browser, "button.name").click()
    shown = element(browser, "tr.more").text
    for words in ("trained on", "measured", "record (.json)", "no sheet", "python -m bench run"):
        assert words in shown, words
    assert "latency, describe, p50, ms" not in shown, "folded"
    lines = browser.find_elements("css selector", "tr.more .detail > dl > div")
    assert len(lines) <= 10
    element(browser, "tr.more .more-facts summary").click()
    assert "latency, describe, p50, ms" in element(browser, "tr.more").text
    assert element(browser, "button.name").get_attribute("aria-expanded") == "true"
    link = element(browser, "tr.more .links a").get_attribute("href")
    assert link.startswith("file:")
    assert Path(link.removeprefix("file://")).is_file()
    browser = opened(page, browser.current_url.partition("#")[2])
    assert len(browser.find_elements("css selector", "tr.more")) == 1, "the address opens it again"


def test_it_works_by_keyboard_alone(opened: Open, page: Path) -> None:
    browser = opened(page)
    press(browser, "/")
    assert browser.switch_to.active_element.get_attribute("id") == "f-q"
    press(browser, "g", "e", "m")
    assert len(names(browser)) == 2
    browser.execute_script("document.querySelector('button.name').focus()")
    press(browser, key("ARROW_DOWN"), key("ENTER"))
    assert element(browser, "button.name[aria-expanded=true]").text == names(browser)[1]
    press(browser, key("ESCAPE"))
    assert browser.find_elements("css selector", "tr.more") == []
    assert browser.switch_to.active_element.text == names(browser)[1]


def test_the_plot_shows_names_and_opens_rows(opened: Open, page: Path) -> None:
    browser = opened(page, "x=latency")
    points = browser.find_elements("css selector", ".point")
    assert len(points) == 4  # neither chance nor partial
    assert "Not drawn: 2" in element(browser, "#plot .note").text
    assert "4 groups of rows in view" in element(browser, "#plot .note").text
    assert browser.find_elements("css selector", ".front") == [], "no two may be compared"
    browser.execute_script("arguments[0].focus()", points[0])
    assert "gem.a" in element(browser, "#plot .tip").text
    press(browser, key("ARROW_RIGHT"))
    assert "gem.b" in element(browser, "#plot .tip").text
    press(browser, key("ENTER"))
    assert element(browser, "button.name[aria-expanded=true]").text == "gem.b"
    element(browser, "[data-x=bytes]").click()
    assert "x=bytes" in browser.current_url
    assert element(browser, ".canvas svg").get_attribute("aria-label").endswith("bytes per image")
    assert len(browser.find_elements("css selector", ".front")) == 2, "one of each query crop"
    element(browser, "[data-x=query]").click()
    assert "No row in view has the time of a query" in element(browser, ".canvas").text


def test_the_front_is_what_nothing_dominates(opened: Open, page: Path) -> None:
    browser = opened(page)
    kept = browser.execute_script(
        "return front([{x: 3, y: 5}, {x: 1, y: 2}, {x: 2, y: 1}, {x: 1, y: 1}, {x: 4, y: 5}])"
    )
    assert kept == [{"x": 1, "y": 2}, {"x": 3, "y": 5}]


def test_a_front_never_runs_over_rows_that_may_not_be_compared(opened: Open, page: Path) -> None:
    browser = opened(page)
    rows = browser.execute_script(
        "return Object.fromEntries(DATA.rows.map(row => [row.name, [row.group, row.machine]]))"
    )
    assert rows["gem.a"][0] == rows["gem.b"][0] != rows["delg.c"][0], "another query crop"
    assert rows["gem.a"][1] == rows["delg.c"][1] != rows["gem.b"][1], "another device"
    text = """
        const row = (group, machine, rerank) => ({ row: { group, machine, rerank }, x: 1, y: 1 });
        const points = [row(0, 0, "none"), row(0, 0, "deployable"), row(0, 1, "none"),
                        row(1, 0, "none")];
        return ["latency", "query", "bytes"].map((x) => frontsOf(points, x).map(([, of]) => of));
    """
    assert browser.execute_script(text) == [[1, 1, 1, 1], [2, 1, 1], [3, 1]]


def test_published_rows_are_in_a_section_of_their_own(opened: Open, page: Path) -> None:
    browser = opened(page, "data=roxford5k")
    assert names(browser) == []
    assert "No method was measured on roxford5k" in element(browser, "#empty").text
    section = element(browser, "#published").text
    assert "not measured here" in section
    assert "82.37" in section
    assert "82.37" not in element(browser, "#rows").text
    texts = "return [...document.querySelectorAll('#published {}')].map((td) => td.textContent)"
    first = texts.format("td.digits:nth-child(2)")
    values = [float(text) for text in browser.execute_script(first) if text != "–"]
    assert values == sorted(values, reverse=True)
    element(browser, "[data-published='hard|mAP']").click()
    element(browser, "[data-published='hard|mAP']").click()
    assert "psort=hard" in browser.current_url
    second = first.replace("nth-child(2)", "nth-child(3)")
    values = [float(text) for text in browser.execute_script(second) if text != "–"]
    assert values == sorted(values)
    browser = opened(page, "data=roxford5k&crop=box")
    crops = texts.format('[data-label="Query: "]')
    assert set(browser.execute_script(crops)) == {"box"}


def test_hostile_names_stay_names(opened: Open, page: Path) -> None:
    browser = opened(page, "q=img")
    assert names(browser) == [f"delg.{HOSTILE}"]
    element(browser, "button.name").click()
    assert browser.title == "Leaderboard"
    assert browser.find_elements("css selector", "img") == []


@pytest.mark.parametrize("view", ["", "protocol=hard", "data=roxford5k", "open"])
def test_a_phone_never_scrolls_sideways(opened: Open, page: Path, view: str) -> None:
    browser = opened(page, "" if view == "open" else view, width=360)
    if view == "open":
        element(browser, "button.name").click()
        element(browser, "#columns summary").click()
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 360
    if view != "data=roxford5k":
        assert element(browser, "button.name").is_displayed()
        assert element(browser, "td.c-score").is_displayed()
        assert element(browser, "#f-sort").is_displayed()


def overview(count: int) -> dict[str, Any]:
    """Return the overview of so many methods on two data sets, as the page has it."""
    lines = [
        {"name": f"method{i % 40}.v{i}", "rows": [f"run-{i}", f"run-{i}"], "means": [i % 90, i % 7],
         "draws": [None, None], "query": 1.0, "bytes": 4}
        for i in range(count)
    ]  # fmt: skip
    sets = [["mini", "medium"], ["other", "all"]]
    return {"metric": "mAP", "system": "plain", "sets": sets, "lines": lines}


def test_two_thousand_rows_filter_without_lag_and_print_whole(
    opened: Open, tmp_path: Path, made: ModuleType
) -> None:
    page = page_of(tmp_path, made, *some(made))
    content = data_of(page)
    text = page.read_text(encoding="utf-8")
    rows = [
        {**content["rows"][i % 6], "id": f"run-{i}", "name": f"method{i % 40}.v{i}", "marks": []}
        for i in range(2000)
    ]
    many = json.dumps({**content, "rows": rows, "overviews": [overview(100)]}).replace(
        "<", "\\u003c"
    )
    before, _, rest = text.partition('id="data">')
    page.write_text(before + 'id="data">' + many + "</script>" + rest.partition("</script>")[2])
    browser = opened(page)
    assert "2,000 of 2,000 measured rows" in element(browser, "#status").text
    assert len(names(browser)) == 100
    each, whole = browser.execute_script(
        """
        const took = (change) => {
          const start = performance.now();
          change();
          document.body.offsetHeight;
          return performance.now() - start;
        };
        const texts = ["method7", "method7.v", "", "resnet101", "nothing at all", "", "v19"];
        const times = texts.map((q) => took(() => set({ q }))).sort((a, b) => a - b);
        return [times[3], took(() => { state.q = ""; limit = Infinity; render(); })];
        """
    )
    assert each < whole / 2, "typing must not cost what drawing every row costs"
    ranked = """
        const calls = [], done = arguments[0], genuine = rankLines;
        rankLines = (...given) => { calls.push(given[0].length); return genuine(...given); };
        set({ q: "method7.v7" });
        set({ q: "method" });
        const atOnce = calls.slice();
        setTimeout(() => { rankLines = genuine; done([atOnce, calls]); }, 1500);
    """
    assert browser.execute_async_script(ranked) == [[1], [1, 100]], "many are ranked once"
    browser.execute_script("set({q: ''}); window.dispatchEvent(new Event('beforeprint'))")
    assert len(names(browser)) == 2000
    assert "scales" in element(browser, ".differences").text, "what differs is printed as well"
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert len(names(browser)) == 100
    element(browser, "#more").click()
    assert len(names(browser)) == 1100
