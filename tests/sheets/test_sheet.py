"""Sheets: which queries and images they show, their frames, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.records import contribution, record, replay
from bench.rerank import verification
from bench.rerank.geometry import inlier_matches
from bench.sheets import content, html, sheet
from bench.system.hashing import sha256_json
from bench.types import (
    GroundTruth,
    LabelledRanks,
    LocalFeatures,
    LocalRule,
    Protocol,
    Shortlist,
)
from bench.types import Image as Listed
from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
NAMES = [*(f"d{i}.png" for i in range(8)), *(f"q{i}.png" for i in range(3))]


@pytest.fixture
def town(small: dict[str, Any], tmp_path: Path) -> Path:
    """Return a dataset.json with images: eight, and three queries, the first with a box."""
    (tmp_path / "jpg").mkdir()
    for number, name in enumerate(NAMES):
        size = (40, 30) if number % 2 else (24, 36)
        Image.new("RGB", size, (20 * number, 255 - 20 * number, 99)).save(tmp_path / "jpg" / name)
    small["queries"][0]["box"] = [4, 3, 20, 15]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(small), encoding="utf-8")
    return path


@pytest.fixture
def scored(town: Path, cli: Any, workspace: Any, tmp_path: Path) -> Make:
    """Return a function that scores random descriptors of a seed, and gives the record."""

    def make(seed: int, *more: object) -> Path:
        draw = np.random.default_rng(seed)
        paths = tmp_path / f"{seed}db.npy", tmp_path / f"{seed}q.npy"
        for path, count in zip(paths, (8, 3), strict=True):
            np.save(path, draw.standard_normal((count, 6)).astype(np.float32))
        result = cli("evaluate", "--dataset", town, "--database", paths[0], "--queries", paths[1],
                   "--name", f"seed{seed}", *more)  # fmt: skip
        assert result.status == 0, result.err
        return Path(result.out.splitlines()[-1])

    return make


def test_a_list_says_what_every_image_is(town: Path, scored: Make) -> None:
    opened = content.open_record(scored(1), "easy")
    dataset = content.dataset_of(opened, str(town))
    shown = content.entry(dataset, 0, [opened], 8)
    (line,) = shown.lines
    kinds = {tile.row: tile.kind for tile in line.tiles}
    assert {row for row, kind in kinds.items() if kind == "positive"} == {1, 3, 4}
    assert {row for row, kind in kinds.items() if kind == "ignored"} == {0}
    assert [tile.place for tile in line.tiles] == list(range(1, 9))
    scores = [tile.score for tile in line.tiles]
    assert scores == sorted(scores, reverse=True)
    kept = [tile.row for tile in line.tiles if tile.kind != "ignored"]
    assert line.places == tuple(i for i, row in enumerate(kept, start=1) if row in (1, 3, 4))
    assert line.tiles[0].image == dataset.database[line.tiles[0].row]
    assert np.isnan(content.entry(dataset, 1, [opened], 2).lines[0].value)
    assert len(content.entry(dataset, 1, [opened], 2).lines[0].tiles) == 2


def test_the_list_of_a_re_ranked_record_is_the_one_that_is_scored() -> None:
    row = np.array([[3, 1, 0, 2]])
    score = np.array([[0.9, 0.8, 0.7, 0.6]])
    inliers = np.array([[0, 5, 9, verification.NOT_VERIFIED]])
    truth = GroundTruth(np.array([0]), np.array([3]))
    protocol = Protocol("easy", (truth,), ("map.trapezoid.junk-removed",))
    ranks = LabelledRanks(np.array([0, 2]), np.array([0, 3]), np.array([2, 0]),
                          np.array([0.7, 0.9]), np.array([0, 0]))  # fmt: skip
    dataset: Any = SimpleNamespace(protocols=(protocol,), areas=None, groups=None)
    arrays = record.arrays_of(ranks, Shortlist(row, score), dataset)
    arrays["shortlist_inliers"] = inliers
    card: Any = {"rerank": {"candidates": "deployable", "depth": 3, "local": {}}}
    (after,) = replay.scored_ranks(arrays, card, (protocol,))
    assert after.rank.tolist() == [0, 2]
    (before,) = replay.scored_ranks(arrays, {}, (protocol,))
    assert before.rank.tolist() == [2, 0]


def test_the_worst_come_first_and_those_without_a_score_not_at_all(scored: Make) -> None:
    opened = content.open_record(scored(1), "easy")
    values = opened.values
    order = content.worst(opened, 9)
    assert sorted(order) == [0, 2]
    assert values[order[0]] <= values[order[1]]
    assert content.worst(opened, 1) == order[:1]


def test_wins_and_losses_between_two_records(scored: Make) -> None:
    first, other = (content.open_record(scored(seed), "hard") for seed in (1, 2))
    wins, losses = content.extremes(first, other, 3)
    gain = first.values - other.values
    assert sorted(wins) == np.flatnonzero(gain > 0).tolist()
    assert sorted(losses) == np.flatnonzero(gain < 0).tolist()
    assert wins == sorted(wins, key=lambda query: -gain[query])
    assert losses == sorted(losses, key=lambda query: gain[query])
    assert set(wins) | set(losses), "the seeds differ somewhere"


def test_a_page_is_whole_small_and_the_same_again(
    town: Path, scored: Make, cli: Any, tmp_path: Path
) -> None:
    path, output = scored(1), tmp_path / "sheet.html"
    result = cli("sheet", path, "--dataset", town, "--queries", "0,2", "--protocol", "easy",
               "--output", output)  # fmt: skip
    assert result.status == 0, result.err
    assert result.out.strip() == str(output)
    text = output.read_text(encoding="utf-8")
    assert text.count('class="frame P"') == 3 + 1
    assert text.count('class="frame I"') == 1
    assert text.count('class="frame N"') == 4 + 7
    assert text.count('class="frame Q"') == 2
    assert text.count('class="box over"') == 1
    assert 'class="box over" x="4.0" y="3.0" width="16.0" height="12.0"' in text
    assert len(re.findall(r'<image id="', text)) == 8 + 2, "every image once"
    assert not re.search(r"https?:|<script|src=", text)
    assert "default-src 'none'" in text
    assert f'<section id="run-{record.read(path)["run_id"]}"' in text
    first = output.read_bytes()
    cli("sheet", path, "--dataset", town, "--queries", "0,2", "--protocol", "easy",
        "--output", output)  # fmt: skip
    assert output.read_bytes() == first


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_a_picture_of_two_records(
    town: Path, scored: Make, cli: Any, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"sheet.{suffix}"
    arguments = ("sheet", scored(1), "--against", scored(2), "--dataset", town, "--output", output)
    result = cli(*arguments)
    assert result.status == 0, result.err
    first = output.read_bytes()
    if suffix == "png":
        with Image.open(output) as drawn:
            assert drawn.width > 1000
            assert len(set(np.asarray(drawn.convert("L")).ravel().tolist())) > 10
    else:
        assert first.startswith(b"%PDF")
        assert b"/CreationDate" not in first
    cli(*arguments)
    assert output.read_bytes() == first


def test_an_image_that_is_gone_leaves_a_grey_tile_with_its_name(
    town: Path, scored: Make, cli: Any, tmp_path: Path
) -> None:
    path, output = scored(1), tmp_path / "sheet.html"
    (tmp_path / "jpg" / "d3.png").unlink()
    (tmp_path / "jpg" / "d4.png").write_bytes(b"<html>")
    for name in ("sheet.html", "sheet.png"):
        output = tmp_path / name
        result = cli("sheet", path, "--dataset", town, "--queries", "0", "--output", output)
        assert result.status == 0, result.err
    text = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert text.count('class="gone"') == 2
    for name, fault in (("d3.png", "missing"), ("d4.png", "cannot be read")):
        assert re.search(rf">{fault}</text>.*?{name}", text, re.DOTALL), name


def test_names_are_text(
    small: dict[str, Any], town: Path, scored: Make, cli: Any, tmp_path: Path
) -> None:
    odd = "漢<b>&'\".png"
    small["queries"][0]["box"] = [4, 3, 20, 15]
    small["database"][1] = odd
    town.write_text(json.dumps(small), encoding="utf-8")
    (tmp_path / "jpg" / odd).write_bytes(b"")  # so that its name stands in its tile
    path, output = scored(1), tmp_path / "sheet.html"
    for kind in ("png", "html"):
        chosen = output.with_suffix(f".{kind}")
        result = cli("sheet", path, "--dataset", town, "--queries", "0", "--output", chosen)
        assert result.status == 0, result.err
    text = output.read_text(encoding="utf-8")
    assert "<b>&'" not in text
    assert "&lt;b&gt;&amp;&#x27;&quot;.png" in text


def test_what_is_refused_is_one_sentence(
    small: dict[str, Any], town: Path, scored: Make, cli: Any, refused: Any, tmp_path: Path
) -> None:
    path, page = scored(1), tmp_path / "sheet.html"
    named = ("--dataset", town, "--output", page)
    assert "the data set small is unknown" in refused(cli("sheet", path, "--output", page))
    assert "give a file name that ends in" in refused(
        cli("sheet", path, "--dataset", town, "--output", tmp_path / "sheet.gif")
    )
    assert "has 3 queries, numbered 0 to 2" in refused(cli("sheet", path, "--queries", "3", *named))
    assert "is not like 0,3,7" in refused(cli("sheet", path, "--queries", "1,,x", *named))
    assert "did you mean easy" in refused(cli("sheet", path, "--protocol", "eazy", *named))
    assert "one record" in refused(cli("sheet", path, path, "--against", path, *named))
    assert "--output is missing" in refused(cli("sheet", path, "--dataset", town))
    assert "give a record" in refused(cli("sheet"))
    result = cli("sheet", path, "--matches", "1", *named)
    assert result.status == 0
    assert "matches of brought.seed1 are not shown: its lists are not re-ranked." in result.err
    assert "are not shown" in page.read_text(encoding="utf-8")
    page.unlink()
    shutil.rmtree(tmp_path / "jpg")
    assert "contains none of the images" in refused(cli("sheet", path, *named))
    small["protocols"]["easy"][0]["positive"] = [1, 3]
    town.write_text(json.dumps(small), encoding="utf-8")
    assert "use the lists and labels that were scored" in refused(cli("sheet", path, *named))
    assert not page.exists()


def test_a_sheet_of_two_data_sets_is_refused(
    small: dict[str, Any], town: Path, scored: Make, cli: Any, refused: Any, tmp_path: Path
) -> None:
    path = scored(1)
    small["protocols"]["easy"][0]["positive"] = [1, 3]
    town.write_text(json.dumps(small), encoding="utf-8")
    other = scored(2)
    page = tmp_path / "sheet.html"
    result = cli("sheet", other, "--against", path, "--dataset", town, "--output", page)
    assert "their cards differ in dataset" in refused(result)


def test_the_sheet_of_the_report_has_a_section_per_row(
    town: Path, scored: Make, workspace: Any
) -> None:
    ids = {record.read(scored(seed))["run_id"] for seed in (1, 2)}
    output, notes = sheet.for_report(workspace.results, str(town))
    assert output == workspace.results / "sheets" / "small.html"
    text = output.read_text(encoding="utf-8")
    assert set(re.findall(r'<section id="run-([^"]+)"', text)) == ids
    assert notes == []


def test_matched_keypoints_are_those_that_are_counted() -> None:
    draw = np.random.default_rng(0)
    points = draw.uniform(0, 300, (30, 2)).astype(np.float32)
    words = draw.standard_normal((30, 16)).astype(np.float32)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    moved = points * 1.2 + 7
    moved[:10] = draw.uniform(1000, 3000, (10, 2))
    first, other = (
        LocalFeatures(p, np.ones(30, np.float32), np.ones(30, np.float32), words)
        for p in (points, moved.astype(np.float32))
    )
    rule = LocalRule(dim=16, stride_px=16, match_distance=0.8)
    for mode in ("fast", "compatible"):
        mine, theirs = inlier_matches(first, other, rule, mode)
        assert mine.tolist() == theirs.tolist() == list(range(10, 30))


def test_the_inliers_of_a_pair_are_drawn() -> None:
    points = (np.array([[10.0, 20.0]], np.float32), np.array([[5.0, 6.0]], np.float32))
    pixels = np.zeros((60, 80, 3), np.uint8)
    pair = sheet.matching.Pair(0, 4, (pixels, pixels), points, 2)
    thumbs = {f"m-0-4-{side}": sheet.thumbnails.of_pixels(pixels, 40) for side in (0, 1)}
    about = (html.About("gem.lite0", "run", "card", "whole"),)
    entry = html.Entry(0, Listed("q", "q.png"), (html.Line("gem.lite0", 0.5, (1,), ()),))
    thumbs["q-0"] = thumbs["m-0-4-0"]
    section = html.Section(about, "p", "mAP", [("", [entry])], [pair], "", False)
    drawn = html.render("town", [section], thumbs).decode()
    assert '<line x1="10.0" y1="5.0" x2="51.0" y2="2.5"/>' in drawn
    assert "1 inliers, 2 in the record" in drawn


# What a record must pass before it is added.


def forged(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Edit a record and mend its checksum, as a forger would."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    document.pop("sha256")
    document["sha256"] = sha256_json(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Return a copy of a committed record with its ranks, in a place as in results/."""
    root = ROOT / "results"
    source = min((root / "runs" / "mini" / "random-unit.seed0").glob("*.json"))
    target = tmp_path / source.relative_to(root)
    target.parent.mkdir(parents=True)
    for suffix in (".json", ".npz"):
        shutil.copy(source.with_suffix(suffix), target.with_suffix(suffix))
    return target


def test_a_record_of_this_history_may_be_added(mine: Path, cli: Any) -> None:
    result = cli("verify", "--contribution", mine)
    assert result.status == 0, result.out
    assert result.out.endswith("match\n")


def test_a_forged_or_stale_record_is_refused_with_the_reason(
    mine: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = mine.read_text(encoding="utf-8")

    def refusal(change: Callable[[dict[str, Any]], None] | None = None) -> str:
        if change:
            forged(mine, change)
        result = cli("verify", "--contribution", mine)
        mine.write_text(kept, encoding="utf-8")
        assert result.status == 1
        assert "Traceback" not in result.err
        return str(result.out + result.err)

    def better(stored: dict[str, Any]) -> None:
        stored["scores"]["hard"]["map.trapezoid.junk-removed"]["mean"] = 0.99

    assert "is 0.99 in the record, but" in refusal(better)
    mine.write_text(kept.replace('"dirty": false', '"dirty": true'), encoding="utf-8")
    assert "was changed after it was written" in refusal()
    assert "uncommitted changes" in refusal(lambda stored: stored["source"].update(dirty=True))
    assert "not in the history" in refusal(lambda stored: stored["source"].update(commit="0" * 40))
    assert "does not state its commit" in refusal(
        lambda stored: stored["source"].update(commit=None)
    )
    assert "not the hash of a commit" in refusal(
        lambda stored: stored["source"].update(commit="--help")
    )
    renamed = refusal(lambda stored: stored["method"].update(name="delg"))
    assert "it must be in runs/mini/delg.seed0/" in renamed
    monkeypatch.setattr(contribution, "CODE_VERSION", 99)
    assert "it is stale" in refusal()
    other = np.load(mine.with_suffix(".npz"))
    np.savez(mine.with_suffix(".npz"), **{**other, "labelled_rank": other["labelled_rank"] * 0})
    assert "is not the file that" in refusal()
