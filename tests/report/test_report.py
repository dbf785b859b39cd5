"""The report: built from hand-made records, read as text, never mixing cards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.records import text as words_of
from bench.records import words
from bench.records.rows import flat
from bench.report.figures import plot
from bench.scoring.card import NOT_STATED, card_id
from bench.scoring.metrics import REVISITED_METRICS
from bench.system.hashing import sha256_json
from bench.system.identity import elided
from tests.support.checkout import ROOT
from tests.support.reports import (
    HEADLINE,
    WHOLE,
    build,
    detail,
    hashed,
    main_rows,
    make_card,
    make_record,
    name_of,
    printed,
    report_of,
    results_of,
    rows_of,
    section,
    store,
    text_of,
)


def test_no_records_still_builds_and_says_so(tmp_path: Path) -> None:
    text = report_of(tmp_path)
    assert "No runs have been recorded yet" in text
    assert "`published.toml` does not exist" in text
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_published_rows_alone_are_shown_without_any_record(tmp_path: Path) -> None:
    shutil.copy(ROOT / "results" / "published.toml", tmp_path)
    text = report_of(tmp_path)
    assert "No runs have been recorded yet" in text
    assert "No method was measured on it." in text
    assert "| 82.37 | 64.93 |" in section(text, "### Published: roxford5k")


def test_a_row_has_every_score(tmp_path: Path) -> None:
    record = make_record()
    record["scores"]["easy"][HEADLINE] = {"mean": 0.84814, "interval": [0.79, 0.9],
                                          "per_query": [0.5]}  # fmt: skip
    record["scores"]["easy"]["mp@5.clipped.junk-removed"]["mean"] = 0.12344
    record["scores"]["easy"]["recall@10.any-hit.junk-removed"]["mean"] = None
    text = report_of(tmp_path, record)
    header, _, row = rows_of(detail(text, "mini, easy"))
    cells = dict(zip(header, map(printed, row), strict=True))
    card8 = card_id(record["card"])[:8]
    link = f"runs/mini/gem.lite0/{card8}-{record['run_id']}.json"
    assert cells == {
        "method": f"[gem.lite0](../{link})", "card": f"`{card8}`", "weights": "`eeeeeeee`",
        "mAP, %": "84.81 <sub>79.00–90.00</sub>",
        "mP@1, %": "80.00", "mP@5, %": "12.34", "mP@10, %": "80.00", "R@1, %": "80.00",
        "R@5, %": "80.00", "R@10, %": "–", "scored": "12 (2 skipped)", "tied": "3",
    }  # fmt: skip
    assert (tmp_path / link).exists()


def test_the_main_table_has_scores_first_and_costs_beside(tmp_path: Path) -> None:
    (row,) = main_rows(report_of(tmp_path, make_record()))
    assert list(row)[1:4] == ["method", "mAP M, %", "mAP H, %"]
    assert printed(row["mAP M, %"]) == "60.0 <sub>55–65</sub>"
    assert printed(row["mAP H, %"]) == "40.0 <sub>35–45</sub>"
    assert (row["query, ms"], row["bytes"], row["dim"]) == ("–", "1,024", "256")
    assert not any("mAP E" in head for head in row), "easy is shown on request"
    build(tmp_path, easy=True)
    (row,) = main_rows(text_of(tmp_path))
    assert printed(row["mAP E, %"]) == "80.0 <sub>75–85</sub>"


@pytest.mark.slow
def test_bytes_of_an_image_are_those_in_memory_and_those_on_disk(tmp_path: Path) -> None:
    """Full rows behind codes, and local features, are read for the images of a list alone."""
    coded = make_record("a", number=1)
    coded["card"]["compression"] = {"name": "binary", "bytes": 32, "rows": 60}
    coded["card"]["stages"] = [{"stage": "rescore", "rows": 9}]
    coded |= {"bytes_per_image": 32, "stages": [{"stage": "rescore", "bytes_per_image": 1024}]}
    text = report_of(tmp_path, coded, make_record("b", number=2))
    assert sorted(row["bytes"] for row in main_rows(text)) == ["1,024", "32 + 1,024"]
    assert "Bytes: memory + disk." in text


@pytest.mark.slow
def test_what_all_rows_share_is_said_once(tmp_path: Path) -> None:
    text = report_of(tmp_path, make_record("a", number=1), make_record("b", number=2))
    assert "All rows: system plain; pixels 1,024 px; backbone –; trained on ImageNet." in text
    other = make_record("c", card=make_card(**{"preprocess.max_side_px": 480}), number=3)
    other["method"]["weights"]["training_set"] = "a very long name of a training set " * 3
    rows = main_rows(report_of(tmp_path, other))
    assert {row["pixels"] for row in rows} == {"480 px", "1,024 px"}
    assert "<sup>2</sup> a very long name" in text_of(tmp_path)


def test_other_protocols_keep_their_names(tmp_path: Path) -> None:
    item = {"scored": 14, "skipped": 0, "empty": "miss", "truth_sha256": "b" * 64}
    card = make_card(protocols={"night": item})
    text = report_of(tmp_path, make_record(means=(0.5,), card=card))
    assert printed(main_rows(text)[0]["mAP, %"]) == "50.0 <sub>45–55</sub>"
    assert "a query without positives: counts as zero" in text
    assert "50.00" in detail(text, "mini, night")


@pytest.mark.slow
def test_rows_of_one_protocol_and_system_are_ranked_together(tmp_path: Path) -> None:
    text = report_of(
        tmp_path,
        make_record("gem", "a", (0.5, 0.5, 0.5), number=1),
        make_record("gem", "b", (0.6, 0.6, 0.3), number=2),
        make_record("gem", "r", (0.7, 0.7, 0.7), make_card(candidates_rule="deployable"), number=3),
        make_record("gem", "c", (0.99, 0.99, 0.99), WHOLE, number=4),
    )
    rows = {row["method"]: row for row in main_rows(text)}
    assert list(rows) == ["gem.b", "gem.a", "gem.r", "gem.c"]
    assert [row["group"] for row in rows.values()] == [
        *["Query: cropped to its box"] * 3, "Query: whole image",
    ]  # fmt: skip
    assert [row["system"] for row in rows.values()] == ["plain", "plain", "re-ranked", "plain"]
    assert rows["gem.b"]["mAP M, %"].startswith("**60.0**")
    assert rows["gem.a"]["mAP H, %"].startswith("**50.0**")
    assert rows["gem.r"]["mAP M, %"].startswith("70.0"), "alone in its system"
    assert rows["gem.c"]["mAP M, %"].startswith("99.0"), "alone under its protocol"
    listed = [name_of(row[0]) for row in rows_of(detail(text, "mini, easy"))[2:]]
    assert listed == list(rows), "the order of the main table"
    assert "**" not in detail(text, "mini, easy")


@pytest.mark.slow
def test_a_card_shows_what_differs_from_the_usual_one(tmp_path: Path) -> None:
    text = section(
        report_of(
            tmp_path,
            make_record(),
            make_record("delg", number=3),
            make_record(card=WHOLE, number=2),
        ),
        "## Cards",
    )
    usual, other = card_id(make_card())[:8], card_id(WHOLE)[:8]
    header, _, (card, count, differs) = rows_of(text)
    assert f"`{usual}`, the most common card" in header[2]
    assert (card, count) == (f"`{other}`", "1")
    assert set(differs.split("<br>")) == {
        "query: whole image / cropped to its box",
        "size cap, longest side: 480 px / 1,024 px",
        "cap of a cropped query: own cap of 480 px / relative to its full image",
        "scales: 0.7071, 1, 1.4142 / 1",
    }


@pytest.mark.parametrize("path", sorted(flat(make_card())))
def test_every_field_that_differs_is_found(path: str) -> None:
    card = make_card()
    before = flat(card)[path]
    if isinstance(before, list):
        after: Any = [*before, 2.0 if path.startswith("preprocess") else "another"]
    else:
        after = {"changed": 1} if isinstance(before, dict) else f"{before} changed"
    other = make_card(**{path: after})
    lines = words.what_differs({"a" * 64: card, "b" * 64: other})
    assert len(lines) == 1
    assert lines[0].startswith(f"{words_of.escape(words.label(path))}: ")
    assert "(`aaaaaaaa`)" in lines[0]
    assert "(`bbbbbbbb`)" in lines[0]


def test_differences_too_small_for_the_words_are_still_told() -> None:
    near = make_card(**{"preprocess.scales": [1.00001]})
    (line,) = words.what_differs({"a" * 64: make_card(), "b" * 64: near})
    assert line == r"scales: 1 (`aaaaaaaa`) / 1 \[\[1.00001\]\] (`bbbbbbbb`)"


def test_brought_descriptors_are_compared_as_a_whole() -> None:
    brought = make_card(preprocess=None, crop_rule=NOT_STATED)
    lines = words.what_differs({"a" * 64: make_card(), "b" * 64: brought, "c" * 64: WHOLE})
    joined = "\n".join(lines)
    assert "not known: descriptors were brought (`bbbbbbbb`) / stated field by field" in joined
    assert "scales: 1 (`aaaaaaaa`) / 0.7071, 1, 1.4142 (`cccccccc`)" in lines
    assert "not on the card" not in joined


@pytest.mark.slow
def test_the_usual_card_is_printed_in_full_once(tmp_path: Path) -> None:
    text = report_of(
        tmp_path, make_record(), make_record("b", number=3), make_record(card=WHOLE, number=2)
    )
    assert card_id(WHOLE) in text
    card = make_card()
    sha256 = card_id(card)
    assert text.count(f"<summary>card {sha256[:8]}: ") == 1
    block = text.split(f"<summary>card {sha256[:8]}: ", 1)[1].split("</details>", 1)[0]
    assert sha256 in block
    for path, value in flat(elided(card)).items():
        if path.startswith("protocols.") or path == "schema":
            continue
        line = next(li for li in block.splitlines() if li.startswith(f"- {words.label(path)}: "))
        worded = words._WORDS | words._SAY | words.SENTENCES
        if isinstance(value, int | str) and path not in worded:
            shown = f"{value:,}" if isinstance(value, int) else value
            assert shown in line.replace("\\", ""), path
    for name, counts in card["protocols"].items():
        assert (
            f"- protocol {name}: queries scored: {counts['scored']}; "
            f"queries without positives: {counts['skipped']}; "
            "a query without positives: left out of the mean; "
            f"ground truth (sha256): `{counts['truth_sha256']}`"
        ) in block
    for metric in REVISITED_METRICS:
        assert f"= {metric}".replace("_", r"\_") in block


@pytest.mark.slow
def test_untrained_chance_and_partial_are_marked_everywhere(tmp_path: Path) -> None:
    text = report_of(
        tmp_path,
        make_record("gem", "a", number=1),
        make_record("gem", "u", (0.1, 0.1, 0.1), number=2, trained=False),
        make_record("random-unit", "s", (0.05, 0.05, 0.05), number=3, trained=False,
                    source="chance: random unit vectors, seed 0"),
        make_record("gem", "p", (0.95, 0.95, 0.95), make_card(limit=20), number=4, partial=True),
        make_record("gem", "n", number=5, trained=None),
    )  # fmt: skip
    *whole, last = main_rows(text)
    assert [row["method"] for row in whole] == [
        "gem.a", "gem.n", "gem.u (untrained)", "random-unit.s (chance)",
    ]  # fmt: skip
    assert "partial: limited to 20, not comparable" in last["group"]
    assert last["method"] == "gem.p (partial)"
    assert "**60.0**" in whole[0]["mAP M, %"]
    assert "**95.0**" not in text
    for title in ("mini, easy", "mini, medium", "mini, hard"):
        listed = detail(text, title)
        for name in ("gem.u (untrained)", "random-unit.s (chance)", "[gem.n]", "gem.p (partial)"):
            assert name in listed
    overview = text.split("## Overview")[1].split("## Data sets")[0]
    assert "| gem.n |" in overview
    for name in ("gem.u", "random-unit", "gem.p"):
        assert name not in overview, "not ranked"
    svg = (tmp_path / "figures" / "mini.svg").read_text(encoding="utf-8")
    for name in ("gem.u (untrained)", "random-unit.s (chance)", "gem.p (partial)"):
        assert f">{name}</text>" in svg


def test_a_long_name_keeps_its_mark(tmp_path: Path) -> None:
    text = report_of(tmp_path, make_record("x" * 500, "y", trained=False))
    assert "x… (untrained)" in detail(text, "mini, easy")
    assert "x… (untrained)" in (tmp_path / "figures" / "mini.svg").read_text(encoding="utf-8")


def test_only_the_newest_record_is_shown(tmp_path: Path) -> None:
    other_machine = make_record(means=(0.31, 0.31, 0.31), number=1)
    other_machine["machine"]["device_name"] = "another processor"
    other_weights = make_record(means=(0.32, 0.32, 0.32), number=1)
    other_weights["method"]["weights"]["sha256"] = "1" * 64
    other_weights["run_id"] = "20260101T000001Z-aaaaaa"
    other_machine["run_id"] = "20260101T000001Z-bbbbbb"
    text = report_of(
        tmp_path,
        make_record(means=(0.22, 0.22, 0.22), number=2),
        make_record(means=(0.33, 0.33, 0.33), number=3),
        make_record(means=(0.11, 0.11, 0.11), number=1),
        make_record(means=(0.77, 0.77, 0.77), card=make_card(limit=5), number=9, partial=True),
        other_machine,
        other_weights,
    )
    assert "4 measured rows." in text
    assert "2 older records are not." in text
    for digits in ("33.00", "31.00", "32.00", "77.00"):
        assert digits in detail(text, "mini, medium")
    shown = [row["mAP M, %"][:5] for row in main_rows(text)]
    assert "**33." in shown, "the newest of the machines"
    assert not [cell for cell in shown if "31." in cell], "a machine is not a treatment"
    assert [cell for cell in shown if "32." in cell], "other weights are"
    assert "22.00" not in text
    assert "11.00" not in text


def test_broken_records_are_left_out_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = results_of(tmp_path, make_record(number=1))
    forged = store(results, make_record("gem", "forged", number=2))
    forged.write_text(forged.read_text().replace('"mean": 0.8', '"mean": 0.9'), encoding="ascii")
    (forged.parent / "torn.json").write_text('{"schema": 1', encoding="ascii")
    (forged.parent / "binary.json").write_bytes(b"\xff\xfe\x00")
    (forged.parent / "list.json").write_text("[]", encoding="ascii")
    (forged.parent / "deep.json").write_text("[" * 100_000, encoding="ascii")
    (forged.parent / "folder.json").mkdir()
    stranger = make_record("gem", "stranger", number=3)
    stranger["scores"]["unheard"] = stranger["scores"].pop("easy")
    store(results, stranger)
    interval = make_record("gem", "interval", number=4)
    interval["scores"]["easy"][HEADLINE]["interval"] = [0.9, 0.1]
    store(results, interval)
    old = make_record("gem", "old", number=6)
    old["schema"] = 0
    store(results, old)
    again = store(results, make_record(number=1))  # the same record twice is one row
    (again.parent / "copy.json").write_bytes(again.read_bytes())
    words = make_record("gem", "words", card=make_card(**{"preprocess.scales": ["1"]}), number=5)
    store(results, words)
    text = report_of(tmp_path)
    told = capsys.readouterr().err
    for name in ("forged", "stranger", "interval", "words", "gem.old", "torn.json", "binary.json",
                 "list.json", "deep.json", "folder.json"):  # fmt: skip
        assert name in section(text, "## Not shown"), name
        assert name in told, name
    assert told.count("not shown: ") == 10
    assert [row["method"] for row in main_rows(text)] == ["gem.lite0"]
    assert "forged" not in text.split("## Not shown")[0]
    assert "forged" not in (tmp_path / "report" / "mini.md").read_text(encoding="utf-8")
    assert tmp_path.name not in (text + told).replace("\\", "")


def test_a_record_with_latency_and_no_scores_has_a_row(tmp_path: Path) -> None:
    record = make_record("gem", "timed", number=2)
    record["scores"] = {name: {} for name in record["scores"]}
    text = report_of(tmp_path, make_record(), record)
    *_, row = main_rows(text)
    assert (row["method"], row["mAP M, %"], row["mAP H, %"]) == ("gem.timed", "–", "–")
    assert "| 12.3 | 23.4 |" in text.split("## Costs")[1]


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [make_record(), make_record(card=WHOLE, number=2), make_record("b", number=3)]
    item = build(results_of(tmp_path / "one", *records))
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))  # all is drawn again
    two = build(results_of(tmp_path / "two" / "deeper", *reversed(records)))
    drawn = [f"{stem}.{kind}" for stem in ("mini", "mini-differences", "mini-cost")
             for kind in plot.FORMATS]  # fmt: skip
    tables = ["mini.tex", "mini.csv", "mini.json"]
    assert {path.name for path in item} == {"report.md", "mini.md", "gallery.md", *tables, *drawn}
    for left, right in zip(item, two, strict=True):
        assert left.read_bytes() == right.read_bytes(), left.name
    again = build(tmp_path / "one")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in two]
    assert sorted(path.name for path in (tmp_path / "one").rglob("*.tmp")) == []


def test_hostile_names_start_nothing(tmp_path: Path) -> None:
    name = "a|b`c*d_[x](javascript:y)<script>alert(1)<!-- $e^{$ ## H&amp; 漢"
    record = make_record(name, "$v$", source="|x|\n| y |", number=1)
    record["method"]["weights"]["training_set"] = "</script> \n## H\u202e\x1b[31m ](runs/x"
    record["run_id"] = "20260101T000001Z-abcdef"
    full = hashed(record)
    full["sha256"] = sha256_json(full)
    folder = tmp_path / "runs" / "mini" / "odd (name) %20"
    folder.mkdir(parents=True)
    (folder / "x y.json").write_text(json.dumps(full), encoding="ascii")
    text = report_of(tmp_path)
    assert "<script>" not in text
    assert "\n## H" not in text.replace("\n## How to read", "")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"a\|b\`c\*d\_\[x\](javascript:y)&lt;script&gt;" in text
    assert r"\](runs/x" in text, "only links of ours lead to a folder above"
    assert "](../runs/mini/odd%20%28name%29%20%2520/x%20y.json)" in text
    for block in text.split("# mini")[1].split("\n\n"):
        bars = {line.replace(r"\|", "").count("|") for line in block.splitlines() if "|" in line}
        assert len(bars) <= 1, "every line of a table has as many cells"
    assert (tmp_path / "figures" / "mini.png").stat().st_size > 1000


@pytest.mark.slow
def test_distractors_are_a_section_of_their_own(tmp_path: Path) -> None:
    ox = {"name": "roxford5k", "variant": "blurred", "revision": "9" * 64,
          "database": 4993, "queries": 70}  # fmt: skip
    million = {"count": 1_001_001, "sources": ["revisitop1m"]}
    few = {"count": 500, "sources": ["revisitop1m"]}
    shutil.copy(ROOT / "results" / "published.toml", tmp_path)
    text = report_of(
        tmp_path,
        make_record(card=make_card(dataset=ox), number=1),
        make_record(
            means=(0.7, 0.5, 0.3), card=make_card(dataset=ox, distractors=million), number=2
        ),
        make_record(means=(0.2, 0.2, 0.2), card=make_card(dataset=ox, distractors=few), number=3),
    )
    assert "| 60.00&nbsp;" in detail(text, "roxford5k, medium")
    assert "| 50.00&nbsp;" in detail(text, "roxford5k+r1m, medium")
    assert "| 20.00&nbsp;" in detail(text, "roxford5k+500, medium")
    assert "76.58" in section(text, "### Published: roxford5k+r1m")
    assert "76.58" not in detail(text, "roxford5k+r1m, medium")
    assert (tmp_path / "figures" / "roxford5k+r1m.svg").exists()


@pytest.mark.slow
def test_figure_shows_mean_interval_rules_and_palette(tmp_path: Path) -> None:
    build(results_of(tmp_path, make_record(), make_record("delg", card=WHOLE, number=2)))
    svg = (tmp_path / "figures" / "mini.svg").read_text(encoding="utf-8")
    for text in ("gem.lite0", "delg.lite0, whole query", "easy", "medium", "hard",
                 "query: cropped to its box",
                 "mAP, %, with the 95 % interval over landmarks"):  # fmt: skip
        assert f">{text}</text>" in svg, text
    assert "query: whole image" in svg
    for colour in ("#009e73", "#0072b2", "#d55e00"):
        assert colour in svg
    assert "<dc:date>" not in svg
