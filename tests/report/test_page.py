"""What the leaderboard page holds, as its file says without a browser."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from bench.report.build import build
from bench.scoring.card import card_id
from tests.support.checkout import ROOT
from tests.support.pages import HOSTILE, data_of, page_of, some


def test_the_same_records_give_the_same_page_that_asks_for_nothing(
    tmp_path: Path, made: ModuleType
) -> None:
    records = some(made)
    item = page_of(tmp_path / "one", made, *records).read_bytes()
    paths = build(made.results_of(tmp_path / "two", *reversed(records)), html=True)
    assert paths[-1].name == "index.html"
    assert paths[-1].read_bytes() == item
    text = item.decode("utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r'<script[^>]+src=|<link[^>]+href="(?!data:)|@import|url\(', text)
    assert str(tmp_path) not in text


def test_the_policy_lets_this_script_run_and_no_other(tmp_path: Path, made: ModuleType) -> None:
    import hashlib

    text = page_of(tmp_path, made, *some(made)).read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_texts_of_a_record_cannot_leave_the_data(tmp_path: Path, made: ModuleType) -> None:
    page = page_of(tmp_path, made, *some(made))
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 3
    assert "<img" not in text
    assert "<!--" not in text
    assert any(row["name"] == f"delg.{HOSTILE}" for row in data_of(page)["rows"])


def test_scores_are_rounded_as_in_the_report(tmp_path: Path, made: ModuleType) -> None:
    """A value that rounds twice to another digit, and a tie, which a script rounds up."""
    page = page_of(tmp_path, made, made.make_record("gem", "a", (0.7639502164502164, 0.78125, 0)))
    (row,) = data_of(page)["rows"]
    shown = [scores[0][0] for scores in row["scores"].values()]
    assert shown == [76.40, 78.12, 0]
    printed = [scores[0][3] for scores in row["scores"].values()]
    assert printed == [76.4, 78.1, 0]


def test_rows_have_what_the_record_says(tmp_path: Path, made: ModuleType) -> None:
    record = made.make_record("gem", "a", (0.8123, 0.6, None))
    record["timing"]["phases_s"]["a new phase"] = 12.5
    path = made.store(tmp_path, record)
    shutil.copy(ROOT / "results" / "published.toml", tmp_path)
    content = data_of(page_of(tmp_path, made))
    (row,) = content["rows"]
    assert row["scores"]["easy"][0] == [81.23, 76.1, 86.4, 81.2]
    assert row["scores"]["hard"][0] is None
    assert row["latency"] == [12.34, 23.45]
    assert (tmp_path / row["record"]) == path
    facts = dict(content["facts"][index] for index in row["facts"])
    assert ["phases, a new phase, s", "12.5"] in facts["timing"]
    assert ["latency, describe, p50, ms", "12.34"] in facts["timing"]
    fields = dict(content["cards"][row["card"]]["fields"])
    assert fields["scales"] == "1"
    assert row["card"] == card_id(record["card"])


def test_published_numbers_are_apart_and_those_from_memory_are_absent(
    tmp_path: Path, made: ModuleType
) -> None:
    source = (ROOT / "results" / "published.toml").read_text(encoding="utf-8")
    tmp_path.joinpath("published.toml").write_text(source, encoding="utf-8")
    content = data_of(page_of(tmp_path, made, *some(made)))
    assert content["published"]
    assert all(row["tag"] != "mem" for row in content["published"])
    assert {row["dataset"] for row in content["rows"]} == {"mini"}


def test_a_row_links_the_sheet_that_has_it(tmp_path: Path, made: ModuleType) -> None:
    records = some(made)
    (tmp_path / "sheets").mkdir()
    wanted = records[0]["run_id"]
    (tmp_path / "sheets" / "mini.html").write_text(f'<section id="run-{wanted}">', encoding="utf-8")
    sheets = {row["id"]: row["sheet"] for row in data_of(page_of(tmp_path, made, *records))["rows"]}
    assert sheets.pop(wanted) == f"sheets/mini.html#run-{wanted}"
    assert set(sheets.values()) == {None}


def test_a_page_without_records_says_so(tmp_path: Path, made: ModuleType) -> None:
    content = data_of(page_of(tmp_path, made))
    assert content["rows"] == content["published"] == []


def test_a_re_ranked_row_costs_its_local_features_too(tmp_path: Path, made: ModuleType) -> None:
    record = made.make_record()
    times = {"p50": 2.0, "p95": 3.0}
    record["timing"]["definitions"] = 2
    record["timing"]["search"] = {
        "measure": "sample", "rows": 60, "dim": 256, "shortlist": 60, "queries": 9, "warm_up": 1,
        "ms_per_query": times,
    }  # fmt: skip
    record["rerank"] = {
        "pairs": 9, "ms_per_query": times, "features_per_image": 2.0, "bytes_per_image": 976.0,
    }  # fmt: skip
    (row,) = data_of(page_of(tmp_path, made, record))["rows"]
    assert (row["bytes"], row["disk"]) == (1024 + 976, 976)
    assert row["query"] == pytest.approx(1.0 + 12.34 + 2.0 + 2.0)
    record = made.make_record(number=2)
    (row,) = data_of(page_of(tmp_path / "plain", made, record))["rows"]
    assert (row["bytes"], row["disk"], row["query"]) == (1024, 0, None)
