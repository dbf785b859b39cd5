"""Pictures of the report: what is drawn from which records, and what is left out."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench.records import record, rows
from bench.report.figures import curves, figures, labels, plot
from tests.support.checkout import ROOT

HEADLINE = "map.trapezoid.junk-removed"


def loaded(folder: Path, made: ModuleType, *records: dict[str, Any]) -> list[Any]:
    found, left_out = rows.load(made.results_of(folder, *records))
    assert left_out == []
    return list(found)


def per_query(entry: dict[str, Any], values: list[float | None]) -> None:
    for metric in entry["scores"].values():
        metric[HEADLINE]["per_query"] = values


def test_recall_curves_are_the_recalls_of_the_records() -> None:
    found, _ = rows.load(ROOT / "results")
    assert found, "there are committed records"
    for run in found:
        if run.dataset != "mini":
            continue
        drawn = figures.recall_curves(ROOT / "results", run)
        content = record.read(ROOT / "results" / run.file)["scores"]
        for protocol, values in drawn.items():
            assert np.all(np.diff(values) >= 0)
            for k in (1, 5, 10):
                stored = content[protocol][f"recall@{k}.any-hit.junk-removed"]["mean"]
                assert values[curves.K.tolist().index(k)] == pytest.approx(stored, abs=1e-12)


def test_a_picture_is_drawn_only_from_what_was_measured(tmp_path: Path, made: ModuleType) -> None:
    chosen = loaded(tmp_path, made, made.make_record())
    drawn = figures.of_dataset(tmp_path, chosen, chosen, "mini")
    again = figures.of_dataset(tmp_path, chosen, chosen, "mini")
    assert again == drawn
    assert [picture.stem for picture in drawn] == ["mini"]  # no ranks, no pair, no distractors


def test_the_pair_is_the_two_best_methods_of_the_same_questions(
    tmp_path: Path, made: ModuleType
) -> None:
    other = made.make_card(dataset={**made.make_card()["dataset"], "revision": "e" * 64})
    records = [
        made.make_record("best", "a", (0.9, 0.9, 0.9), number=1),
        made.make_record("best", "a", (0.9, 0.89, 0.9), made.WHOLE, number=2),
        made.make_record("second", "b", (0.8, 0.8, 0.8), made.WHOLE, number=3),
        made.make_record("third", "c", (0.7, 0.7, 0.7), number=4),
        made.make_record("elsewhere", "d", (0.95, 0.95, 0.95), other, number=5),
        made.make_record("chance", "e", (1, 1, 1), source="chance", number=6),
        made.make_record("part", "f", (1, 1, 1), partial=True, number=7),
    ]
    pair = figures._two_best(figures._serious(loaded(tmp_path, made, *records)))
    assert [run.name for run in pair] == ["best.a", "second.b"]


def test_the_caption_of_differences_says_in_what_cards_differ(
    tmp_path: Path, made: ModuleType
) -> None:
    records = [
        made.make_record("one", "a", (0.9, 0.9, 0.9), number=1),
        made.make_record("two", "b", (0.8, 0.8, 0.8), made.WHOLE, number=2),
    ]
    per_query(records[0], [1.0, None, 0.5])
    per_query(records[1], [0.0, 0.5, 0.5])
    chosen = loaded(tmp_path, made, *records)
    (picture,) = figures._differences(tmp_path, chosen, "x")
    assert "**Their cards differ**" in picture.caption
    assert "scales: " in picture.caption
    assert records[0]["run_id"] in picture.caption
    svg = picture.files["svg"].decode()
    assert "better 1, equal 1, worse 0" in svg
    assert "mean +50.00" in svg


def test_the_differences_are_those_of_two_rows_that_may_be_compared(
    tmp_path: Path, made: ModuleType
) -> None:
    """The best row of all stands under a heading of its own: its queries are whole."""
    records = [
        made.make_record("one", "a", (0.9, 0.9, 0.9), made.WHOLE, number=1),
        made.make_record("two", "b", (0.8, 0.8, 0.8), number=2),
        made.make_record("two", "b", (0.8, 0.79, 0.8), made.make_card(precision="bf16"), number=3),
        made.make_record("six", "c", (0.7, 0.7, 0.7), number=4),
    ]
    for each in records:
        per_query(each, [0.5, 0.5, 0.5])
    (picture,) = figures._differences(tmp_path, loaded(tmp_path, made, *records), "x")
    assert "of two.b minus that of six.c" in picture.caption
    assert "under one heading" in picture.caption


def test_a_name_is_followed_by_how_its_lists_were_made(tmp_path: Path, made: ModuleType) -> None:
    changes: dict[str, dict[str, Any]] = {
        "": {},
        ", whole query": {"crop_rule": "whole"},
        ", re-ranked": {"candidates_rule": "deployable"},
        ", pq8x8": {"compression": {"name": "pq8x8", "bytes": 8}},
        ", hnsw32": {"search": {"name": "hnsw32", "list": 10}},
    }
    for number, (words, change) in enumerate(changes.items(), start=1):
        record_of = made.make_record(card=made.make_card(**change), number=number)
        (run,) = loaded(tmp_path / str(number), made, record_of)
        assert run.stages == words
        assert plot.titled(run) == f"gem.lite0{words}"


def test_lines_over_distractors_join_what_differs_in_them_alone(
    tmp_path: Path, made: ModuleType
) -> None:
    million = {"count": 1_001_001, "sources": ["revisitop1m"]}
    far = made.make_card(distractors=million)
    records = [
        made.make_record("a", "x", (0.9, 0.8, 0.7), number=1),
        made.make_record("a", "x", (0.7, 0.6, 0.5), far, number=2),
        made.make_record("b", "x", (0.9, 0.8, 0.7), made.WHOLE, number=3),
        made.make_record("b", "x", (0.7, 0.6, 0.5), far, number=4),
    ]
    shown = loaded(tmp_path, made, *records)
    near = [run for run in shown if run.dataset == "mini"]
    (picture,) = figures._distractors(shown, near, "mini", "x")
    svg = picture.files["svg"].decode()
    assert ">a.x</text>" in svg
    assert ">b.x</text>" not in svg, "its card differs in more"
    assert "1,001,061" in svg
    rest = [run for run in shown if run.dataset != "mini"]
    assert figures._distractors(shown, rest, "mini+r1m", "x") == []


def test_many_rows_keep_the_best_of_every_card(tmp_path: Path, made: ModuleType) -> None:
    records = [
        made.make_record("m", f"v{i}", (i / 100, i / 100, i / 100), (made.WHOLE, None)[i % 7 > 0],
                         number=i)
        for i in range(40)
    ]  # fmt: skip
    chosen = loaded(tmp_path, made, *records)
    kept = figures.bands(chosen, 8)
    assert [run.variant for run in kept] == ["v39", "v38", "v37", "v36", "v35", "v28", "v21", "v14"]
    assert [len({run.card_id for run in part}) for part in (kept[:4], kept[4:])] == [1, 1]
    assert len(figures.bands(chosen, 60)) == 40


def test_equal_lines_are_drawn_once_and_have_all_names() -> None:
    values = np.linspace(0, 0.9, len(curves.K))
    drawn = [("one", values), ("two", values), ("three", values / 2)]
    svg = curves.recall(drawn, "easy")["svg"].decode()
    assert svg.count('id="line-') == 2
    for name in ("one", "two", "three"):
        assert svg.count(f">{name}</text>") == 1
    assert ">100</text>" in svg
    svg = curves.recall([("one", np.ones(len(curves.K)))], "easy")["svg"].decode()
    assert ">50</text>" not in svg, "nothing is to be seen above k = 10"


def test_rows_of_one_name_are_told_apart_by_what_differs(tmp_path: Path, made: ModuleType) -> None:
    own = {**made.make_card()["preprocess"], "max_side_px": 240}
    records = [
        made.make_record(number=1),
        made.make_record(card=made.make_card(preprocess=own), number=2),
        made.make_record("delg", number=3),
    ]
    names = plot.named(loaded(tmp_path, made, *records))
    assert len(set(names)) == 3
    assert "delg.lite0" in names
    assert any("240 px" in name for name in names)


def test_only_what_changed_is_drawn_again(
    tmp_path: Path, made: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    drawn: list[int] = []
    genuine = plot.encoded
    for module in (plot, curves):
        monkeypatch.setattr(module, "encoded", lambda f: drawn.append(1) or genuine(f))
    record_of = made.make_record()
    chosen = loaded(tmp_path / "a", made, record_of)
    first = figures.of_dataset(tmp_path / "a", chosen, chosen, "mini")
    assert len(drawn) == len(first) > 0
    assert figures.of_dataset(tmp_path / "a", chosen, chosen, "mini") == first
    assert len(drawn) == len(first), "nothing has changed"
    (kept_in,) = (tmp_path / "cache" / "figures").glob("*.zip")
    content = bytearray(kept_in.read_bytes())
    content[len(content) // 2] ^= 1
    kept_in.write_bytes(content)
    assert figures.of_dataset(tmp_path / "a", chosen, chosen, "mini") == first
    assert len(drawn) == 2 * len(first), "a damaged file is drawn again"
    other = loaded(tmp_path / "b", made, made.make_record(means=(0.9, 0.9, 0.9)))
    assert figures.of_dataset(tmp_path / "b", other, other, "mini") != first
    assert len(drawn) == 3 * len(first)


@pytest.mark.parametrize(
    ("wanted", "gap", "expected"),
    [
        ([0.0, 10.0, 10.0, 30.0], 4.0, [0.0, 8.0, 12.0, 30.0]),
        ([5.0, 5.0, 5.0], 2.0, [3.0, 5.0, 7.0]),
        ([9.0, 1.0], 3.0, [9.0, 1.0]),
        ([], 1.0, []),
    ],
)
def test_labels_are_spread_as_little_as_they_can_be(
    wanted: list[float], gap: float, expected: list[float]
) -> None:
    assert labels.spread(wanted, gap) == pytest.approx(expected)


def test_spread_labels_keep_order_and_distance_and_move_least() -> None:
    draw = np.random.default_rng(1)
    for _ in range(200):
        wanted = draw.integers(0, 12, draw.integers(1, 8)).astype(float)
        found = np.array(labels.spread(wanted.tolist(), 2.0))
        order = np.argsort(wanted, kind="stable")
        assert np.all(np.diff(found[order]) >= 2.0 - 1e-9)
        cost = np.sum((found - wanted) ** 2)
        for _ in range(20):  # no other allowed places near by are nearer to those wanted
            other = found + draw.normal(0, 0.3, len(found))
            if np.all(np.diff(other[order]) >= 2.0):
                assert np.sum((other - wanted) ** 2) >= cost - 1e-9


def test_letters_of_vector_graphics_are_text() -> None:
    files = curves.recall([("a name", np.linspace(0, 0.9, len(curves.K)))], "easy")
    assert set(files) == set(plot.FORMATS)
    assert ">a name</text>" in files["svg"].decode()
    assert b"/CIDFontType2" in files["pdf"], "TrueType, no outlines"
    assert b"/Type3" not in files["pdf"]
    assert b"CreationDate" not in files["pdf"]
    width = float(re.search(rb"/MediaBox \[ 0 0 ([0-9.]+)", files["pdf"]).group(1))
    assert width == pytest.approx(72 * plot.COLUMN)


def test_nothing_is_cut_off_at_the_edge_of_a_picture() -> None:
    """The frame of every committed picture is white; so is that of one with wide labels."""
    wide = plot.Figure(figsize=(plot.WIDTH, 2), layout="constrained")
    axes = wide.add_subplot()
    axes.barh(range(3), [1, 2, 3])
    axes.set_yticks(range(3), ["WWW iii MMM " * n for n in (2, 3, 4)])
    found = {"wide": io.BytesIO(plot.encoded(wide)["png"])}
    found |= {file.name: file for file in sorted((ROOT / "results" / "figures").glob("*.png"))}
    assert len(found) > 5
    for name, file in found.items():
        with Image.open(file) as picture:
            grey = np.asarray(picture.convert("L"))
        for side in (grey[0], grey[-1], grey[:, 0], grey[:, -1]):
            assert side.min() > 250, name


def test_names_are_cut_where_they_say_least() -> None:
    from bench.report.figures import plot

    names = {plot.shortened(f"{'a' * 80}.r101-{i}") for i in range(9)}
    assert len(names) == 9
    assert {len(name) for name in names} == {plot.LONGEST_NAME}


def test_damaged_ranks_are_named_and_cost_one_line_only(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results" / "runs", tmp_path / "runs")
    chosen = [run for run in rows.newest(rows.load(tmp_path)[0])[0] if run.dataset == "mini"]
    victim = figures.ranked(chosen)[0]
    (tmp_path / victim.file).with_suffix(".npz").write_bytes(b"torn")
    (picture,) = figures._recall(tmp_path, chosen, "mini", "x")
    assert "cannot be read" in picture.caption
    assert victim.name in picture.caption.replace("\\", "")


def test_the_longest_names_leave_room_for_what_is_drawn(tmp_path: Path, made: ModuleType) -> None:
    long = "w" * 300
    changes = {"candidates_rule": "deployable", "crop_rule": "whole", "search": long}
    records = [
        made.make_record(long, long, (0.9, 0.8, 0.7), made.make_card(**changes), number=i,
                         trained=False, partial=i == 2)
        for i in (1, 2)
    ]  # fmt: skip
    chosen = loaded(tmp_path, made, *records)
    for name in plot.named(chosen):
        assert len(name) <= plot.LEAST_NAME + plot.MOST_AFTER + len(" (untrained, partial)")
        assert "(untrained" in name
    assert plot.draw(chosen)["svg"], "a layout that collapses is a warning, and so an error"


def test_a_name_stands_off_the_fronts_where_it_can() -> None:
    figure = Figure(figsize=(3, 3))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 216), ylim=(0, 216))  # in points
    fronts = [108, 116, 122]  # through the point, and where names above it would stand
    for height in fronts:
        axes.step([0, 216], [height, height], where="post")
    assert labels.beside(axes, [(108, 108, "name", "black")], 7) == 1
    (name,) = axes.texts
    offset = name.get_position()[1]
    assert offset < 0
    assert not any(abs(108 + offset - height) < 3.5 for height in fronts)
