"""A folder of photographs without labels: what a method finds is shown, and not scored."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench
from bench.records import record
from bench.sheets import content

NAMES = ["a/1.png", "a/2.png", "b 3.jpg", "b/01.png", "b/1.png", "ü.png"]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Return a folder of six photographs of one colour each, red from 0 to 250."""
    folder = tmp_path / "My Photos"
    for number, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 20), (50 * number, 99, 9)).save(path)
    return folder


@pytest.fixture
def colours(tiny: Path) -> Path:
    """Return the method whose descriptors are mean colours, so that neighbours are known."""
    return tiny / "halves.py"


def test_a_run_of_photographs_draws_the_nearest_of_each(
    cli, photographs: Path, colours: Path, workspace, described
) -> None:
    result = cli("run", "--dataset", photographs, "--method", colours)
    assert result.status == 0, result.err
    assert "no labels" in result.err
    assert "not scored" in result.out
    assert described() == len(NAMES), "no photograph is described twice"
    (page,) = (workspace.results / "sheets" / "my-photos").glob("*.html")
    assert str(page) in result.out
    text = page.read_text(encoding="utf-8")
    assert text.count('class="frame Q"') == len(NAMES)
    assert text.count('class="frame "') == len(NAMES) * (len(NAMES) - 1), "never the query itself"
    assert not re.search(r'class="(?:frame [PIN]|badge">[PIN])', text)
    path = Path(result.out.splitlines()[-1])
    written = record.read(path)
    assert written["scores"]["unlabelled"]["recall@1.any-hit.junk-removed"]["mean"] is None
    assert bench.verify(path) == []
    opened = content.open_record(path, None)
    dataset = content.dataset_of(opened, str(photographs))
    for query in range(len(NAMES)):
        (line,) = content.entry(dataset, query, [opened], 2).lines
        assert query not in {tile.row for tile in line.tiles}
        assert {tile.kind for tile in line.tiles} == {"unlabelled"}
    (line,) = content.entry(dataset, 5, [opened], 2).lines
    assert [tile.row for tile in line.tiles] == [4, 3], "the nearest colours"


def test_a_sheet_of_two_methods_and_of_all_rows(
    cli, photographs: Path, colours: Path, workspace, tmp_path: Path
) -> None:
    paths = [
        cli("run", "--dataset", photographs, "--method", method).out.splitlines()[-1]
        for method in (colours, "random-unit")
    ]
    page = tmp_path / "both.html"
    result = cli("sheet", paths[0], "--against", paths[1], "--dataset", photographs, "--worst", 2,
               "--output", page)  # fmt: skip
    assert result.status == 0, result.err
    text = page.read_text(encoding="utf-8")
    assert text.count('class="frame Q"') == 2
    assert "random-unit.seed0: the nearest of a/1.png" in text
    result = cli("sheet", "--dataset", photographs, "--results", workspace.results)
    assert result.status == 0, result.err
    assert result.out.strip() == str(workspace.results / "sheets" / "my-photos.html")
    result = cli("sheet", paths[0], "--dataset", photographs, "--output", tmp_path / "one.png")
    assert result.status == 0, result.err


def test_folders_called_database_and_queries_part_the_photographs(
    cli, photographs: Path, colours: Path, workspace
) -> None:
    (photographs / "a").rename(photographs / "queries")
    (photographs / "b").rename(photographs / "database")
    data = bench.load_dataset(photographs)
    assert [image.file for image in data.queries] == ["queries/1.png", "queries/2.png"]
    assert [image.file for image in data.database] == ["database/01.png", "database/1.png"]
    result = bench.run(str(colours), photographs, device="cpu")
    assert result.shortlist("queries/1")["image"].tolist() == ["database/01", "database/1"]
    assert np.isnan(result["unlabelled"]["R@1"])


def test_a_folder_may_be_distractors(cli, photographs: Path, colours: Path, tiny: Path) -> None:
    result = cli("run", "--dataset", tiny, "--method", colours, "--distractors", photographs)
    assert result.status == 0, result.err
    card = record.read(Path(result.out.splitlines()[-1]))["card"]
    assert card["distractors"]["count"] == len(NAMES)


def test_what_cannot_be_searched_is_refused(cli, refused, photographs: Path, workspace) -> None:
    for name in NAMES[1:]:
        (photographs / name).unlink()
    words = "--dataset", photographs, "--method", "random-unit"
    assert "one image" in refused(cli("run", *words))
    (photographs / NAMES[0]).unlink()
    assert "data make" in refused(cli("run", *words))
    assert not workspace.results.exists()
