"""Published numbers as commands: what is run, what is refused and why, the verdict."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.commands.main import find
from bench.report import reproduce
from bench.report.tables import published
from tests.support.checkout import ROOT

ROWS = published.load(ROOT / "results" / "published.toml")
ITEMS = reproduce.items(ROWS)
# What third-party boards list for the three founding papers: row, data set, protocol, digits.
LISTED = """
listed-dolg-roxford-medium roxford5k medium 82.4
listed-dolg-paper roxford5k hard 61.1
listed-dolg-paper rparis6k medium 91
listed-dolg-paper rparis6k hard 80.3
listed-dolg-paper roxford5k+r1m medium 77.4
listed-dolg-paper roxford5k+r1m hard 54.8
listed-dolg-paper rparis6k+r1m medium 83.3
listed-dolg-paper rparis6k+r1m hard 66.7
listed-dolg-vpr tokyo247 test 75.4
listed-dolg-vpr nclt test 54.5
listed-delg-sp roxford5k medium 81.2
listed-delg-sp rparis6k medium 87.2
listed-delg-sp rparis6k hard 72.8
listed-delg-sp roxford5k+r1m medium 69.1
listed-delg-sp roxford5k+r1m hard 47.5
listed-delg-vpr msls val 83.9
listed-delg-vpr msls challenge 56.5
listed-delg-vpr tokyo247 test 95.9
listed-token-retrained roxford5k medium 60.8
listed-token-retrained roxford5k hard 37.3
listed-token-retrained rparis6k medium 75.8
listed-token-retrained rparis6k hard 54.8
listed-token-retrained rparis6k+r1m medium 44.1
listed-token-retrained rparis6k+r1m hard 19.7
"""


@pytest.mark.parametrize("line", LISTED.split("\n")[1:-1])
def test_every_listed_number_is_there_with_a_reason(line: str) -> None:
    name, dataset, protocol, digits = line.split()
    found = [item for item in ITEMS if item.name == name and item.dataset == dataset]
    assert found
    assert (protocol, digits) in {(e.protocol, e.digits) for e in found[0].expected}
    assert found[0].why_not
    assert not found[0].arguments


def test_a_row_states_what_its_source_states() -> None:
    by_id = {row.id: row for row in ROWS}
    runnable = [item for item in ITEMS if not item.why_not]
    assert {item.method.split(".")[0] for item in runnable} >= {"dolg", "delg", "token"}
    for item in runnable:
        row, arguments = by_id[item.name], item.arguments
        assert item.method in row.measured
        assert ("whole" in arguments) == (row.crop == "whole")
        assert ("revisitop1m" in arguments) == item.dataset.endswith("+r1m")
        assert ("--rerank=official" in arguments) == (row.reranking != "none")
        assert row.size_cap is None or arguments[arguments.index("--max-side") + 1] == row.size_cap
        command, prog, rest = find(list(arguments))
        command.read(prog, rest)  # the command line takes it


@pytest.mark.parametrize(
    ("points", "tolerance", "says"),
    [
        ("0.5", reproduce.PUBLISHED_POINTS, "reproduced"),
        ("-0.51", reproduce.PUBLISHED_POINTS, "near"),
        ("2.01", reproduce.PUBLISHED_POINTS, "differs"),
        ("0.06", reproduce.RECORDED_POINTS, "differs"),
        (None, reproduce.RECORDED_POINTS, "not measured"),
    ],
)
def test_verdicts(points: str | None, tolerance: Decimal, says: str) -> None:
    assert reproduce.verdict(None if points is None else Decimal(points), tolerance) == says


def test_the_page_has_a_line_per_number(tmp_path: Path) -> None:
    text = "\n".join(reproduce.page(ROWS, []))
    assert text.count("| not run |") + text.count("cannot be reproduced (") == sum(
        len(item.expected) for item in ITEMS
    )
    for item in ITEMS:
        assert f"`{item.name}`" in text


def test_absent_data_say_what_to_get(cli: Callable[..., Any], workspace: Any) -> None:
    shutil.copytree(ROOT / "results" / "runs" / "mini" / "gem.lite0",
                    workspace.results / "runs" / "mini" / "gem.lite0")  # fmt: skip
    result = cli("reproduce", "dolg-r101-readme-crop", "--results", workspace.results)
    assert result.status == 1
    assert "`data get roxford5k`" in result.out
    assert "`weights get dolg.r101`" in result.out
    listed = cli("reproduce", "--list", "listed-token-retrained", "--results", workspace.results)
    assert listed.status == 0
    assert "60.8 ± 0.5" in listed.out
    assert "cannot be reproduced: " in listed.out
    wrong = cli("reproduce", "dolgg", "--results", workspace.results)
    assert (wrong.status, len(wrong.errors)) == (1, 1)
    assert "dolgg" in wrong.errors[0]


@pytest.mark.slow
def test_a_record_of_mini_is_reproduced(cli: Callable[..., Any], workspace: Any) -> None:
    source = min((ROOT / "results" / "runs" / "mini" / "gem.lite0").glob("a755d602*.json"))
    target = workspace.results / "runs" / "mini" / "gem.lite0"
    target.mkdir(parents=True)
    for path in (source, source.with_suffix(".npz")):
        shutil.copy(path, target)
    result = cli("reproduce", "mini", "--results", workspace.results)
    assert result.status == 0, result
    assert result.out.count(": reproduced") == 3
    assert "medium mAP: expected 89.0" in result.out
