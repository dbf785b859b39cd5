"""Report, page, LaTeX, CSV, fronts and compare: one rule of comparison, over random records."""

from __future__ import annotations

import csv
import io
import itertools
import random
import re
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.records import classes, compare, groups, rows
from bench.records.ranking import letters_of
from bench.report.build import load
from bench.report.figures import cost_plot, figures, plot
from bench.report.leaderboard import page as page_module
from bench.report.tables import export, latex, main, markdown
from bench.report.tables.main import BEST
from bench.scoring.card import card_id
from bench.types import Preprocess
from tests.support import boards
from tests.support.pages import data_of
from tests.support.reports import make_card

SYSTEMS: tuple[dict[str, Any], ...] = (
    {},
    {"precision": "bfloat16"},
    {"compression": "pq16x8"},
    {"search": "hnsw32"},
    {"candidates_rule": "deployable"},
    {"stages": [{"stage": "aqe", "k": 3, "alpha": 3.0}]},
)
PROTOCOLS: tuple[dict[str, Any], ...] = (
    {},
    {"crop_rule": "whole"},
    {"limit": 60},
    {"candidates_rule": "official"},
    {"stages": [{"stage": "of-another"}]},
    {"tie_rule": "another"},
)
Key = frozenset[str]


def written(folder: Path, seed: int) -> Path:
    """Write a random set of records of one data set: few names, many rules, close scores."""
    choose = random.Random(seed)
    dataset = boards.dataset_of("roxford5k")
    for number in range(1, 15):
        changes = choose.choice(SYSTEMS[: 1 + 2 * (seed % 3)]) | choose.choice(
            PROTOCOLS if choose.random() < 0.4 else PROTOCOLS[:1]
        )
        boards.write(
            folder, f"{choose.choice('abcde')}.v{number}", dataset, number,
            choose.choice((1.5, 2.0, 2.5)), changes=changes, seed=seed,
            preprocess=Preprocess(max_side_px=choose.choice((480, 1024))),
            trained=choose.random() > 0.15,
        )  # fmt: skip
    return folder


def expected(runs: list[Any]) -> tuple[set[Key], set[str]]:
    """Return groups and best rows by the table of classes, worked out anew from the cards."""

    def of(run: Any, kind: str) -> tuple[Any, ...]:
        card = {k: v for k, v in run.card.items() if k not in ("schema", "metrics")}
        labels = "official" in str(card.get("candidates_rule")) or any(
            entry["stage"] == "of-another" for entry in card.get("stages", ())
        )
        at = {**classes.CLASSES}
        if labels:
            at |= dict.fromkeys(("candidates_rule", "rerank", "stages"), "protocol")
        return tuple(sorted((k, repr(v)) for k, v in card.items() if at[k] == kind))

    together: dict[Any, list[Any]] = {}
    chains: dict[Any, list[Any]] = {}
    for run in runs:
        together.setdefault((run.partial, of(run, "protocol")), []).append(run)
        chains.setdefault((run.partial, of(run, "protocol"), of(run, "system")), []).append(run)
    best = set()
    for members in chains.values():
        ranked = {
            run: f"{100 * run.scores['medium'][run.headline].mean:.1f}"
            for run in members
            if not run.marks
        }
        if len(ranked) > 1:
            top = max(map(float, ranked.values()))
            best |= {run.run_id for run, digits in ranked.items() if float(digits) == top}
    return {frozenset(run.run_id for run in of_) for of_ in together.values()}, best


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_all_surfaces_have_the_same_groups_and_the_same_best_rows(
    tmp_path: Path, seed: int
) -> None:
    content = load(written(tmp_path, seed))
    runs = list(content.shown)
    together, best = expected(runs)
    board = main.board(runs, "roxford5k")
    assert {frozenset(r.run.run_id for r in g.rows) for g in board.groups} == together
    assert {r.run.run_id for r in board.rows if r.places[0] == BEST} == best
    _same_in_files(board, best)
    (tmp_path / "index.html").write_bytes(page_module.page(tmp_path, content, []))
    on_page = data_of(tmp_path / "index.html")["rows"]
    listed: dict[int, set[str]] = {}
    for row in on_page:
        listed.setdefault(row["group"], set()).add(row["id"])
    assert {frozenset(of) for of in listed.values()} == together
    assert {r["id"] for r in on_page if r["places"].get("medium", [0])[0] == BEST} == best
    fronts: dict[Any, set[str]] = {}
    for run in runs:
        fronts.setdefault((run.partial, cost_plot.rules_of(run)), set()).add(run.run_id)
    assert {frozenset(of) for of in fronts.values()} == together
    _same_in_pictures(runs, together)
    _same_in_compare(tmp_path, runs, together)


def _same_in_files(board: Any, best: set[str]) -> None:
    """CSV has place and group; Markdown and LaTeX print the best in bold."""
    lines = list(csv.DictReader(io.StringIO(export.as_csv(board))))
    first = [line for line in lines if line["protocol"] == "medium"]
    assert {line["run_id"] for line in first if line["place"] == "1"} == best
    of = {line["run_id"]: line["group"] for line in first}
    for group in board.groups:
        assert len({of[row.run.run_id] for row in group.rows}) == 1
    assert len(set(of.values())) == len(board.groups)
    wanted = sorted(row.run.name for row in board.rows if row.run.run_id in best)
    bold = re.findall(r"^\| \[([^\]]+)\][^|]*\| \*\*", markdown.table(board), re.MULTILINE)
    assert sorted(bold) == wanted
    cells = [re.split(r" & ", line) for line in latex.table(board).splitlines() if " & " in line]
    medium = len(cells[0]) - 2
    marked = [row[0] for row in cells[1:] if r"\textbf" in row[medium]]
    names = [re.search(r"[a-e]\.v[0-9]+", cell).group() for cell in marked]
    assert sorted(names) == sorted(name.partition(" ")[0] for name in wanted)


def _same_in_pictures(runs: list[Any], together: set[Key]) -> None:
    """Check that a picture draws the rows of a group together, under rules of their own."""
    drawn = figures.bands(runs, len(runs))
    places, heads = plot._places(drawn)
    starts = [place for place, _ in heads] or [0]
    of = [sum(start <= place for start in starts) for place in places]
    found = {
        frozenset(r.run_id for r, g in zip(drawn, of, strict=True) if g == item) for item in of
    }
    assert found == together


def _same_in_compare(results: Path, runs: list[Any], together: set[Key]) -> None:
    """Compare takes two complete results of one group, and refuses two of different groups."""
    complete = [run for run in runs if not run.partial]
    loaded = dict(zip(complete, compare.load([results / r.file for r in complete]), strict=True))
    for item, other in itertools.combinations(complete, 2):
        entries = [loaded[item], loaded[other]]
        alike = any({item.run_id, other.run_id} <= of for of in together)
        if alike:
            text = "\n".join(compare.check(entries, across_cards=False))
            assert ("precision" in text) == (item.card["precision"] != other.card["precision"])
        else:
            with pytest.raises(BenchError, match="different protocols"):
                compare.check(entries, across_cards=False)
    for group in together:
        ranked = [run for run in complete if run.run_id in group and groups.is_ranked(run)]
        for chain in {run.chain_key for run in ranked}:
            members = [run for run in ranked if run.chain_key == chain][:4]
            if len(members) < 3:
                continue
            best = max(members, key=lambda run: run.scores["medium"][run.headline].mean)
            pairs = compare.compare([loaded[run] for run in members], "medium")
            assert next(iter(letters_of(pairs))) == loaded[best].name, "the best is first"


def test_every_field_of_a_card_has_a_class() -> None:
    card = make_card()
    assert set(card) - {"schema", "metrics"} <= set(classes.CLASSES)
    assert classes.class_of("a field of a later version", card) == "protocol"


def test_what_uses_labels_or_the_evaluated_set_is_another_protocol() -> None:
    assert classes.class_of("rerank", make_card(rerank={"candidates": "deployable"})) == "system"
    assert classes.class_of("rerank", make_card(rerank={"candidates": "official"})) == "protocol"
    aqe = make_card(stages=[{"stage": "aqe", "k": 3, "alpha": 3.0}])
    assert classes.class_of("stages", aqe) == "system"
    assert classes.uses(make_card(stages=[{"stage": "of-another"}])) == {"unknown"}
    assert not classes.is_transductive(aqe)


def test_options_that_are_off_are_no_difference(tmp_path: Path) -> None:
    plain, off = make_card(), make_card(stages=[])
    assert card_id(plain) == card_id(off)
    for kind in ("protocol", "system", "method"):
        assert classes.part(plain, kind) == classes.part(off, kind)  # type: ignore[arg-type]


def test_a_metric_that_a_record_lacks_comes_from_its_ranks(tmp_path: Path) -> None:
    dataset = boards.dataset_of("pitts30k")
    few = ["recall@5.any-hit.junk-removed", "recall@1.any-hit.junk-removed"]
    boards.write(tmp_path, "a.v", dataset, 1)
    boards.write(tmp_path, "b.v", dataset, 2)
    source = boards.write(tmp_path / "whole", "c.v", dataset, 3)
    import dataclasses

    other = dataclasses.replace(
        dataset,
        protocols=tuple(dataclasses.replace(p, metrics=tuple(few)) for p in dataset.protocols),
    )
    boards.write(tmp_path, "c.v", other, 3)
    (whole,) = rows.load(tmp_path / "whole")[0]
    assert source.exists()
    runs = {run.method: run for run in load(tmp_path).shown}
    assert {run.headline for run in runs.values()} == {boards.RECALLS[0]}
    for metric in boards.RECALLS:
        assert runs["c"].score("all", metric) == whole.score("all", metric), metric
    assert groups.is_ranked(runs["c"])
