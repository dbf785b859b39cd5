"""The leaderboard page in a browser: sorting, filtering, opening rows, keys, a phone, odd names.

The browser is Debian's chromium, driven by selenium and chromedriver; without them these tests are
skipped.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench.report.build import build
from tests.support.checkout import ROOT
from tests.support.pages import HOSTILE, data_of, page_of, some

pytestmark = pytest.mark.slow

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """Return a browser, or skip."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium with chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = importlib.import_module("selenium.webdriver.chrome.service").Service(DRIVER)
    started = webdriver.Chrome(options=options, service=service)
    yield started
    started.quit()


@pytest.fixture
def opened(driver: Any) -> Iterator[Open]:
    """Return a function that opens a page at a width; afterwards the browser had no complaint."""

    def show(page: Path, view: str = "", width: int = 1280) -> Any:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        driver.get("about:blank")
        driver.get(f"file://{page}#{view}")
        return driver

    yield show
    assert driver.get_log("browser") == []


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, made: ModuleType) -> Path:
    """Return a page of six rows and the published ones."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copy(ROOT / "results" / "published.toml", folder)
    return page_of(folder, made, *some(made))


def names(browser: Any) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('button.name')].map((b) => b.textContent)"
    )
    return found


def press(browser: Any, *keys: str) -> None:
    chain = importlib.import_module("selenium.webdriver").ActionChains(browser)
    for key in keys:
        chain = chain.send_keys(key)
    chain.perform()


def key(name: str) -> str:
    keys = importlib.import_module("selenium.webdriver.common.keys").Keys
    return str(getattr(keys, name))


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def choose(browser: Any, field: str, value: str) -> None:
    select = importlib.import_module("selenium.webdriver.support.ui").Select
    select(one(browser, f"#f-{field}")).select_by_value(value)


def test_rows_are_grouped_by_card_and_never_ranked_across_without_saying_so(
    opened: Open, page: Path
) -> None:
    browser = opened(page)
    order = [name.split(".")[1][:1] for name in names(browser)]
    assert order == ["b", "a", "e", "c", "<", "d"]  # by medium within a group; partial at the end
    assert len(browser.find_elements("css selector", "tr.group")) == 3
    assert "2 protocol cards in view" in one(browser, "#cards").text
    assert "across" not in one(browser, "#cards").get_attribute("class")
    one(browser, "#more-filters summary").click()
    one(browser, "#f-group").click()
    one(browser, "#more-filters summary").click()
    assert [name.split(".")[1][:1] for name in names(browser)] == ["b", "c", "a", "<", "e", "d"]
    assert "runs across protocols" in one(browser, "#cards").text
    assert "across" in one(browser, "#cards").get_attribute("class")
    bold = browser.execute_script(
        "return [...document.querySelectorAll('td.c-score b')].map((b) => b.textContent)"
    )
    assert sorted(bold) == sorted(["80.0", "40.0", "90.0", "90.0", "70.0"])
    one(browser, "#cards summary").click()
    browser.execute_script("return new Promise((done) => requestAnimationFrame(done))")
    assert "scales" in one(browser, ".differences").text


def test_a_column_sorts_both_ways_and_says_so(opened: Open, page: Path) -> None:
    browser = opened(page, "group=no&cols=latency")
    header = one(browser, "th[data-key='latency'] button")
    header.click()
    assert one(browser, "th[data-key='latency']").get_attribute("aria-sort") == "ascending"
    assert [name.split(".")[0] for name in names(browser)] == [
        "gem", "gem", "delg", "delg", "random", "solar",
    ]  # fmt: skip
    press(browser, key("ENTER"))  # the focus stayed on the header
    assert one(browser, "th[data-key='latency']").get_attribute("aria-sort") == "descending"
    assert names(browser)[0].startswith("random")
    assert "sort=latency" in browser.current_url


def test_a_missing_value_comes_last_in_both_directions(opened: Open, page: Path) -> None:
    for order in ("asc", "desc"):
        browser = opened(page, f"group=no&protocol=hard&order={order}")
        assert names(browser)[-2] == f"delg.{HOSTILE}"  # before the partial one


def test_filters_narrow_the_rows_and_live_in_the_address(opened: Open, page: Path) -> None:
    browser = opened(page)
    one(browser, "#more-filters summary").click()
    choose(browser, "crop", "whole image")
    assert len(names(browser)) == 2
    choose(browser, "backbone", "ResNet-50")
    assert names(browser) == ["delg.c"]
    address = browser.current_url
    assert "crop=whole+image" in address
    browser = opened(page, address.partition("#")[2])
    assert names(browser) == ["delg.c"]
    assert "1 of 6 measured rows" in one(browser, "#status").text
    assert "Filters (2)" in one(browser, "#more-filters summary").text
    one(browser, "#more-filters summary").click()
    choose(browser, "device", "a processor")
    assert names(browser) == []


def test_bounds_leave_out_what_is_above_and_what_is_not_known(opened: Open, page: Path) -> None:
    browser = opened(page, "maxkb=2.0")
    assert [name.split(".")[1][:1] for name in names(browser)] == ["<", "e", "d"]
    browser = opened(page, "maxpar=5")
    assert names(browser) == [], "no row says how many parameters it has"
    one(browser, "#clear").click()
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
    one(browser, "#columns summary").click()
    one(browser, "[data-column='backbone']").click()
    assert "backbone" in browser.current_url
    assert browser.find_elements("css selector", "th[data-key='backbone']")
    one(browser, "[data-column='size']").click()
    shown = one(browser, "td.c-size").text
    assert shown.endswith("GB")
    again = opened(page, "cols=size&n=2000000")
    text = one(again, "tr.row td.c-size").text
    row = again.execute_script("return DATA.rows.find((row) => row.name === 'gem.b')")
    assert text == f"{2e6 * row['bytes'] / 1e9:.3g} GB"


def test_an_empty_list_says_so_and_can_be_left(opened: Open, page: Path) -> None:
    browser = opened(page)
    one(browser, "#f-q").send_keys("nothing has this name")
    assert names(browser) == []
    assert "No measured row fits these filters" in one(browser, "#empty").text
    assert browser.switch_to.active_element.get_attribute("id") == "f-q"
    one(browser, "#empty button").click()
    assert len(names(browser)) == 6


def test_a_row_opens_its_card_its_timings_and_its_links(opened: Open, page: Path) -> None:
    browser = opened(page)
    one(browser, "button.name").click()
    shown = one(browser, "tr.more").text
    for words in ("trained on", "measured", "record (.json)", "no sheet", "python -m bench run"):
        assert words in shown, words
    assert "latency, describe, p50, ms" not in shown, "folded"
    lines = browser.find_elements("css selector", "tr.more .detail > dl > div")
    assert len(lines) <= 10
    one(browser, "tr.more .more-facts summary").click()
    assert "latency, describe, p50, ms" in one(browser, "tr.more").text
    assert one(browser, "button.name").get_attribute("aria-expanded") == "true"
    link = one(browser, "tr.more .links a").get_attribute("href")
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
    assert one(browser, "button.name[aria-expanded=true]").text == names(browser)[1]
    press(browser, key("ESCAPE"))
    assert browser.find_elements("css selector", "tr.more") == []
    assert browser.switch_to.active_element.text == names(browser)[1]


def test_the_plot_shows_names_and_opens_rows(opened: Open, page: Path) -> None:
    browser = opened(page, "x=latency")
    points = browser.find_elements("css selector", ".point")
    assert len(points) == 4  # neither chance nor partial
    assert "Not drawn: 2" in one(browser, "#plot .note").text
    assert "4 groups of rows in view" in one(browser, "#plot .note").text
    assert browser.find_elements("css selector", ".front") == [], "no two may be compared"
    browser.execute_script("arguments[0].focus()", points[0])
    assert "gem.a" in one(browser, "#plot .tip").text
    press(browser, key("ARROW_RIGHT"))
    assert "gem.b" in one(browser, "#plot .tip").text
    press(browser, key("ENTER"))
    assert one(browser, "button.name[aria-expanded=true]").text == "gem.b"
    one(browser, "[data-x=bytes]").click()
    assert "x=bytes" in browser.current_url
    assert one(browser, ".canvas svg").get_attribute("aria-label").endswith("bytes per image")
    assert len(browser.find_elements("css selector", ".front")) == 2, "one of each query crop"
    one(browser, "[data-x=query]").click()
    assert "No row in view has the time of a query" in one(browser, ".canvas").text


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
    held = """
        const row = (group, machine, rerank) => ({ row: { group, machine, rerank }, x: 1, y: 1 });
        const points = [row(0, 0, "none"), row(0, 0, "deployable"), row(0, 1, "none"),
                        row(1, 0, "none")];
        return ["latency", "query", "bytes"].map((x) => frontsOf(points, x).map(([, of]) => of));
    """
    assert browser.execute_script(held) == [[1, 1, 1, 1], [2, 1, 1], [3, 1]]


def test_published_rows_are_in_a_section_of_their_own(opened: Open, page: Path) -> None:
    browser = opened(page, "data=roxford5k")
    assert names(browser) == []
    assert "Nothing was measured on roxford5k" in one(browser, "#empty").text
    section = one(browser, "#published").text
    assert "not measured here" in section
    assert "82.37" in section
    assert "82.37" not in one(browser, "#rows").text
    texts = "return [...document.querySelectorAll('#published {}')].map((td) => td.textContent)"
    first = texts.format("td.digits:nth-child(2)")
    values = [float(text) for text in browser.execute_script(first) if text != "–"]
    assert values == sorted(values, reverse=True)
    one(browser, "[data-published='hard|mAP']").click()
    one(browser, "[data-published='hard|mAP']").click()
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
    one(browser, "button.name").click()
    assert browser.title == "Leaderboard"
    assert browser.find_elements("css selector", "img") == []


@pytest.mark.parametrize("view", ["", "protocol=hard", "data=roxford5k", "open"])
def test_a_phone_never_scrolls_sideways(opened: Open, page: Path, view: str) -> None:
    browser = opened(page, "" if view == "open" else view, width=360)
    if view == "open":
        one(browser, "button.name").click()
        one(browser, "#columns summary").click()
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= 360
    if view != "data=roxford5k":
        assert one(browser, "button.name").is_displayed()
        assert one(browser, "td.c-score").is_displayed()
        assert one(browser, "#f-sort").is_displayed()


def test_two_thousand_rows_filter_without_lag_and_print_whole(
    opened: Open, tmp_path: Path, made: ModuleType
) -> None:
    page = page_of(tmp_path, made, *some(made))
    held = data_of(page)
    text = page.read_text(encoding="utf-8")
    rows = [
        {**held["rows"][i % 6], "id": f"run-{i}", "name": f"method{i % 40}.v{i}", "marks": []}
        for i in range(2000)
    ]
    many = json.dumps({**held, "rows": rows}).replace("<", "\\u003c")
    before, _, rest = text.partition('id="data">')
    page.write_text(before + 'id="data">' + many + "</script>" + rest.partition("</script>")[2])
    browser = opened(page)
    assert "2,000 of 2,000 measured rows" in one(browser, "#status").text
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
    browser.execute_script("set({q: ''}); window.dispatchEvent(new Event('beforeprint'))")
    assert len(names(browser)) == 2000
    assert "scales" in one(browser, ".differences").text, "what differs is printed as well"
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert len(names(browser)) == 100
    one(browser, "#more").click()
    assert len(names(browser)) == 1100


# --- several data sets ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of eight methods on four data sets, with gaps, made from real ranks."""
    from tests.support import boards

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
    one(browser, "#f-q").send_keys("dolg")
    assert [row[1] for row in overview_rows(browser)] == ["dolg.r101"]
    assert overview_rows(browser)[0][2] == "–", "nothing to be ranked among"
    one(browser, "#clear").click()
    browser.find_elements("css selector", "table.overview thead button")[1].click()
    assert browser.execute_script("return state.data") == "rparis6k"
    one(browser, "#f-q").send_keys("no method is called so")
    assert "No method fits" in one(browser, "#overview").text


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
    assert "to" in one(browser, "#pins tbody tr:nth-child(2) small").text + " to"
    one(browser, "#pins .unpin").click()
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
