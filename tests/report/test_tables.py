"""The main tables: groups, places, LaTeX that compiles, CSV and JSON that are documented."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from bench.errors import BenchError
from bench.records import rows
from bench.records.record import check
from bench.report.tables import export, latex, main, markdown, measured_vs_published, published
from bench.system.identity import elided
from tests.support.checkout import ROOT
from tests.support.reports import WHOLE, Record, hashed, make_card, make_record

HOSTILE = "a#b$c%d&e_f{g}h~i^j\\k<l>m|n\"o'p`q -- [r] \\input{/etc/passwd} Radenović 漢 ø −"
OX = {"name": "roxford5k", "variant": "blurred", "revision": "9" * 64,
      "database": 4993, "queries": 70}  # fmt: skip


def run_of(record: Record) -> Any:
    return rows.parse(hashed(record), PurePosixPath(f"runs/x/{record['run_id']}.json"))


def board_of(*records: Record, easy: bool = False) -> Any:
    return main.board([run_of(record) for record in records], "mini", easy=easy)


def named(table: Any) -> list[list[str]]:
    return [[row.run.name for row in group.rows] for group in table.groups]


def test_the_methods_own_treatment_has_columns_and_rules_have_headings() -> None:
    small = make_card(**{"preprocess.max_side_px": 480})
    table = board_of(
        make_record("a", means=(0.5, 0.5, 0.5), number=1),
        make_record("b", means=(0.6, 0.6, 0.6), card=small, number=2),
        make_record("c", means=(0.9, 0.9, 0.9), card=WHOLE, number=3),
    )
    assert named(table) == [["b.lite0", "a.lite0"], ["c.lite0"]]
    assert [group.heading for group in table.groups] == [
        "query: cropped to its box", "query: whole image",
    ]  # fmt: skip
    assert [row.places for row in table.rows] == [(1, 1), (0, 0), (0, 0)]
    assert [row.chain for row in table.rows] == ["plain"] * 3
    assert [row.note for row in table.rows] == ["a", "b", "c"], "every card has its letter"
    text = markdown.table(table)
    assert "Rows under different headings must not be compared." in text


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 9},
        {"crop_rule": "whole"},
        {"candidates_rule": "official"},
        {"stages": [{"stage": "of-another"}]},
        {"distractors": {"count": 500, "sources": ["x"]}},
        {"dataset.revision": "8" * 64},
        {"tie_rule": "another"},
        {"junk_rule": "another"},
        {"protocols.hard.truth_sha256": "8" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_rules_are_another_group(change: dict[str, Any]) -> None:
    table = board_of(
        make_record("a", number=1),
        make_record("b", card=make_card(**change), number=2),
        make_record("c", number=3),
    )
    assert named(table) in ([["a.lite0", "c.lite0"], ["b.lite0"]],
                            [["b.lite0"], ["a.lite0", "c.lite0"]],
                            [["a.lite0", "c.lite0"], ["b.lite0 (partial)"]])  # fmt: skip
    headings = [group.heading for group in table.groups]
    if "protocols" not in next(iter(change)):
        assert len(set(headings)) == 2, "the heading says what is different"


def test_best_and_second_best_by_the_printed_digits() -> None:
    table = board_of(
        *(
            make_record(name, means=(None, mean, 0.1), number=n)
            for n, (name, mean) in enumerate(
                [("a", 0.50001), ("b", 0.50004), ("c", 0.4), ("d", 0.3)], start=1
            )
        ),
        make_record("u", means=(0.9, 0.9, 0.9), number=9, trained=False),
    )
    places = {row.run.method: row.places for row in table.rows}
    assert places == {"a": (1, 1), "b": (1, 1), "c": (2, 1), "d": (0, 1), "u": (0, 0)}
    assert named(table)[0][-1] == "u.lite0 (untrained)", "below what was trained"


def test_two_rows_have_a_best_and_no_second() -> None:
    table = board_of(make_record("a", number=1), make_record("b", means=(0, 0.1, 0.1), number=2))
    assert [row.places for row in table.rows] == [(1, 1), (0, 0)]


def test_places_are_recalls_where_these_are_the_headline() -> None:
    metrics = [f"recall@{k}.any-hit.junk-removed" for k in (10, 1, 20, 5)]
    item = {"test": {"scored": 9, "skipped": 0, "empty": "miss", "truth_sha256": "b" * 64}}
    table = board_of(make_record(means=(0.5,), card=make_card(metrics=metrics, protocols=item)))
    assert [column.head for column in table.columns] == ["R@1", "R@5", "R@10", "R@20"]
    assert table.label == "Recall@k"


def test_precision_compression_and_search_are_shown() -> None:
    half = make_card() | {"precision": "bfloat16", "search": "approximate", "compression": "PQ8"}
    table = board_of(make_record("a", number=1), make_record("b", card=half, number=2))
    text = markdown.table(table)
    assert "| PQ8, approximate, bfloat16 |" in text
    assert "| plain |" in text, "an old card has no precision"
    assert len(table.groups) == 1
    assert "system plain" in markdown.table(board_of(make_record()))


def test_few_landmarks_are_said() -> None:
    record = make_record()
    record["intervals"] = {"method": "m", "level": 0.95, "landmarks": 10}
    assert "from 10 landmarks; with so few" in markdown.table(board_of(record))
    record["intervals"]["landmarks"] = 50
    assert "from 50 landmarks." in markdown.table(board_of(record))


def test_a_record_without_scores_still_has_its_row() -> None:
    table = board_of(make_record(means=(None, None, None)), make_record("b", number=2))
    assert [row.run.method for row in table.rows] == ["b", "gem"]
    assert "| – | – |" in markdown.table(table)
    assert "& -- & --" in latex.table(table)
    empty = [line for line in export.lines(table) if line["method"] == "gem"]
    assert [line["score_percent"] for line in empty] == [None, None]


# --- CSV and JSON -------------------------------------------------------------------------------


def test_every_column_is_documented_and_there() -> None:
    readme = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    tables = readme.split("## Tables")[1].split("\n## ")[0]
    listed = re.findall(r"^\| (`.+?`) \|", tables, flags=re.MULTILINE)
    assert [name for cell in listed for name in re.findall(r"`(\w+)`", cell)] == [*export.COLUMNS]
    (line, _) = export.lines(board_of(make_record()))
    assert list(line) == [*export.COLUMNS]
    pairs = measured_vs_published.as_lines(
        pairs_of([made("delg", "r101-gldv2clean", 0.763)], "roxford5k")
    )
    for key in pairs[0]:
        assert f"`{key}`" in tables, key


def test_every_key_of_a_record_is_documented() -> None:
    readme = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    records = readme.split("## Records")[1].split("\n## ")[0]
    schema = json.loads((ROOT / "results" / "record.schema.json").read_text(encoding="utf-8"))
    listed = re.findall(r"^\| (`.+?`) \|", records, flags=re.MULTILINE)
    named_keys = {name for cell in listed for name in re.findall(r"`(\w+)`", cell)}
    assert named_keys == set(schema["properties"])


def test_csv_and_json_say_the_same_and_nothing_starts_a_formula() -> None:
    record = make_record("=cmd()", '"quoted", x', means=(0.123456789, 1 / 3, None))
    table = board_of(record, make_record("b", number=2))
    read = list(csv.DictReader(io.StringIO(export.as_csv(table))))
    content = json.loads(export.as_json(table))
    assert len(read) == len(content["rows"]) == 4
    for item, other in zip(read, content["rows"], strict=True):
        for key, value in other.items():
            text = "" if value is None else str(value)
            assert item[key] == (f"'{text}" if text.startswith("=") else text), key
    odd = next(row for row in content["rows"] if row["method"] == "=cmd()")
    assert odd["score_percent"] == pytest.approx(100 / 3)
    assert content["cards"][odd["card"]] == elided(record["card"])


# --- beside published ---------------------------------------------------------------------------


def made(method: str, variant: str, mean: float, number: int = 1, **card: Any) -> Any:
    scales = [0.7071067811865476, 1.0, 1.4142135623730951]
    whole = {"preprocess.scales": scales, "preprocess.query_cap": "own"} | card
    record = make_record(
        method, variant, (0.9, mean, 0.5), make_card(dataset=OX, **whole), number=number
    )
    record["method"]["dim"] = 2048
    record["method"]["weights"]["training_set"] = "GLDv2-clean"
    return run_of(record)


def pairs_of(chosen: Sequence[Any], dataset: str) -> list[Any]:
    rows = published.load(ROOT / "results" / "published.toml")
    found: list[Any] = measured_vs_published.pairs(chosen, rows, dataset)
    return found


def test_the_difference_is_measured_minus_published() -> None:
    found = pairs_of([made("delg", "r101-gldv2clean", 0.7712)], "roxford5k")
    first = next(p for p in found if p.row.id == "delg-r101-gldv2clean" and p.protocol == "medium")
    assert (first.digits, str(first.difference), first.differs) == ("76.3", "0.82", "none known")
    assert found[0].row.id == "delg-r101-gldv2clean", "what differs least comes first"
    text = measured_vs_published.table(found)
    assert "| 77.12 | 76.3 | +0.82 |" in text
    reranked = next(p for p in found if p.row.id == "delg-r101-gldv2clean-sp")
    assert "measured without re-ranking" in reranked.differs


def test_what_differs_is_said_of_every_pair() -> None:
    crop = {"crop_rule": "whole"}
    found = pairs_of([made("token", "r101", 0.82, **crop)], "roxford5k")
    assert {p.row.id for p in found} == {"token-r101"}
    assert "published with query crop; measured without crop" in found[0].differs


def test_no_pair_from_a_name_alone_or_from_what_is_partial_or_untrained() -> None:
    assert pairs_of([made("dolg", "r50-storedp", 0.8)], "roxford5k") == []
    assert pairs_of([made("delg", "r101-gldv2clean", 0.8, limit=9)], "roxford5k") == []
    assert pairs_of([made("delg", "r101-gldv2clean", 0.8)], "mini") == []


def test_measured_names_variants_that_exist() -> None:
    for row in published.load(ROOT / "results" / "published.toml"):
        for name in row.measured:
            method, _, variant = name.partition(".")
            source = (ROOT / "methods" / f"{method}.py").read_text(encoding="utf-8")
            assert f'"{variant}"' in source, name
            assert row.tag != "mem", row.id


def test_measured_is_read_strictly(tmp_path: Path) -> None:
    text = (ROOT / "results" / "published.toml").read_text(encoding="utf-8")
    file = tmp_path / "published.toml"
    file.write_text(text.replace('measured = ["dolg.r50"]', 'measured = "dolg.r50"', 1))
    with pytest.raises(BenchError, match=r"row dolg-r50-readme-crop: measured is 'dolg.r50'"):
        published.load(file)


# --- LaTeX --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("50 % of a_b & c", r"50 \% of a\_b \& c"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("é ć ö ñ ç ø", r"\'{e} \'{c} \"{o} \~{n} \c{c} \o{}"),
        ("α-query λ", r"\(\alpha\)-query \(\lambda\)"),
        ("漢", "[U+6F22]"),
        ("a--b", "a-{}-b"),
        ("a\nb\x1b", "a b"),
    ],
)
def test_characters_of_latex(text: str, printed: str) -> None:
    assert latex.escape(text) == printed


def test_no_character_of_text_reaches_latex_bare() -> None:
    text = latex.escape(HOSTILE)
    for character in "#$%&_~^":
        assert not re.search(rf"(?<!\\){re.escape(character)}", text), character
    for character in "<>|":
        assert text.count(character) == text.count(rf"\({character}\)") == 1
    commands = re.findall(r"\\([A-Za-z]+)", text)
    assert set(commands) == {"textasciitilde", "textbackslash", "o"}


def test_latex_marks_groups_and_notes() -> None:
    table = board_of(
        make_record("a", number=1), make_record("b", means=(0.1, 0.1, 0.1), number=2),
        make_record("c", means=(0.7, 0.7, 0.2), number=3), make_record(card=WHOLE, number=4),
    )  # fmt: skip
    text = latex.table(table)
    assert r"\textbf{70.0}" in text
    assert r"\underline{60.0}" in text
    assert r"\emph{query: whole image}" in text
    assert text.count(r"\textsuperscript{a}~card \texttt{") == 1
    assert r"\usepackage{booktabs,graphicx}" in text.splitlines()[0]
    assert "{}[x]" in latex.table(board_of(make_record("[x]"))), r"no option of the \\ before"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_latex_compiles(tmp_path: Path) -> None:
    record = make_record(HOSTILE, HOSTILE, number=1)
    record["method"]["weights"]["training_set"] = "100 % of {a_b} & Radenović's 漢 set"
    record["method"]["config"] = {"backbone": HOSTILE}
    named_by = sorted(path.name for path in (ROOT / "results" / "tables").glob("*.tex"))
    for name in named_by:
        shutil.copy(ROOT / "results" / "tables" / name, tmp_path)
    table = board_of(record, make_record("[b]", number=2), make_record(card=WHOLE, number=3))
    (tmp_path / "hostile.tex").write_text(latex.table(table), encoding="utf-8")
    found = pairs_of([made("delg", "r101-gldv2clean", 0.7712)], "roxford5k")
    (tmp_path / "beside.tex").write_text(
        measured_vs_published.as_latex(found, "roxford5k"), encoding="utf-8"
    )
    inputs = "\n".join(rf"\input{{{name}}}" for name in ("hostile.tex", "beside.tex", *named_by))
    document = tmp_path / "all.tex"
    document.write_text(
        "\\documentclass{article}\\usepackage[margin=2cm]{geometry}"
        f"{latex.PREAMBLE}\\begin{{document}}\n{inputs}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    process = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"],
        cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace", timeout=120,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout[-2000:]
    assert "Overfull" not in process.stdout
    assert "Missing character" not in (tmp_path / "all.log").read_text(errors="replace")


@pytest.mark.parametrize("value", [1.5, -0.1, "0.5", True, [0.5]])
@pytest.mark.parametrize("place", ["mean", "per_query"])
def test_a_score_that_is_no_fraction_is_refused_by_name(place: str, value: Any) -> None:
    content = make_record()
    full = {**content, "card_sha256": "0" * 64, "sha256": "0" * 64}
    check(full, "x")
    score = full["scores"]["hard"]["map.trapezoid.junk-removed"]
    score[place] = [value] if place == "per_query" else value
    with pytest.raises(BenchError, match=rf"scores\.hard\.map\.trapezoid\.junk-removed\.{place}"):
        check(full, "x")
