"""Copies under other names: queries in the database, repeated images, distractors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import datasets
from bench.data import copies
from tests.support.miniatures_places import photographs

FILES = [*(f"d{i}.png" for i in range(5)), *(f"q{i}.png" for i in range(3))]
Truth = list[dict[str, list[int]] | None]


def write(folder: Path, truth: dict[str, Truth], database: list[str], **more: object) -> Path:
    """Write a dataset.json of images in `folder`/jpg that are there or will be."""
    queries = [{"file": f"q{i}.png"} for i in range(3)]
    made = {"name": "own", "images": "jpg", "database": database, "queries": queries,
            "protocols": truth, **more}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(made))
    return folder


@pytest.fixture
def folder(workspace) -> Path:
    """Return a folder whose d3 is q0 under another name, and d4 a copy of d1."""
    place = workspace.folder / "set"
    photographs(place / "jpg", FILES)
    shutil.copy(place / "jpg" / "q0.png", place / "jpg" / "d3.png")
    shutil.copy(place / "jpg" / "d1.png", place / "jpg" / "d4.png")
    return place


ROWS = [f"d{i}.png" for i in range(5)]
CASES = {
    "neither": ([{"positive": [0]}, {"positive": [1]}, {"positive": [2]}], (["q0.png"], [])),
    "ignored": (
        [{"positive": [0], "ignored": [3]}, {"positive": [1]}, {"positive": [2]}],
        ([], []),
    ),
    "positive": ([{"positive": [0, 3]}, {"positive": [1]}, {"positive": [2]}], ([], ["q0.png"])),
    "not asked": ([None, {"positive": [1]}, {"positive": [2]}], ([], [])),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_query_that_is_in_the_database(case: str, folder: Path, cli: Callable) -> None:
    truth, (wrong, right) = CASES[case]
    path = write(folder, {"all": truth}, ROWS)
    dataset = datasets.load(str(path))
    found = copies.queries_in_database(dataset, copies.prints_of(dataset))
    assert [item.query for item in found if not item.labelled] == wrong
    assert [item.query for item in found if item.labelled and item.positive] == right
    assert all(item.row == "d3.png" for item in found)
    result = cli("run", "--method", "random-unit", "--dataset", path)
    assert result.status == 0, result.err
    assert ("1 queries are also in the database (by file name or content)" in result.err) == bool(
        wrong
    )
    assert ("positives of themselves: q0.png is d3.png" in result.err) == bool(right)
    result = cli("data", "verify", path)
    assert result.status == (1 if wrong else 0)
    assert "1 database images are copies of others: d4.png is d1.png" in result.out


def test_one_protocol_of_two_is_enough(folder: Path) -> None:
    truth = {"easy": CASES["ignored"][0], "hard": CASES["neither"][0]}
    dataset = datasets.load(str(write(folder, truth, ROWS)))
    found = copies.queries_in_database(dataset, copies.prints_of(dataset))
    assert [item.labelled for item in found] == [False]


def test_by_name_without_an_image(folder: Path) -> None:
    rows = [*ROWS[:4], "q2.png"]
    dataset = datasets.load(str(write(folder, {"all": CASES["neither"][0]}, rows)))
    shutil.rmtree(folder / "jpg")
    found = copies.queries_in_database(dataset, copies.prints_of(dataset))
    assert [(item.query, item.row) for item in found] == [("q2.png", "q2.png")]


def test_another_area_is_not_searched(folder: Path) -> None:
    areas = {"database": [0, 0, 0, 1, 1], "queries": [0, 0, 1]}
    path = write(folder, {"all": [{"positive": [0]}, {"positive": [1]}, {"positive": [3]}]}, ROWS,
                 areas=areas)  # fmt: skip
    dataset = datasets.load(str(path))
    assert copies.queries_in_database(dataset, copies.prints_of(dataset)) == []


def distractors(folder: Path, sources: dict[str, Path]) -> Path:
    """Write a set of distractors with copies of these files, and one image of its own."""
    more = folder.parent / "more"
    photographs(more, ["own.png"], 900)
    for name, source in sources.items():
        shutil.copy(source, more / name)
    made = {"name": "more", "images": ".", "database": ["own.png", *sources], "queries": [],
            "protocols": {}}  # fmt: skip
    (more / "dataset.json").write_text(json.dumps(made))
    return more / "dataset.json"


@pytest.mark.parametrize("original", ["q1.png", "d0.png", "d2.png"])
def test_a_distractor_that_is_a_copy_is_refused(original: str, folder: Path, cli: Callable) -> None:
    truth: Truth = [{"positive": [0], "ignored": [2, 3]}, {"positive": [1, 4]}, {"positive": [1]}]
    path = write(folder, {"all": truth}, ROWS)
    more = distractors(folder, {"x.png": folder / "jpg" / original})
    result = cli("run", "--method", "random-unit", "--dataset", path, "--distractors", more)
    assert result.status == 1
    assert f"x.png is {original}" in result.err
    assert not list((folder.parent / "results").rglob("*.json"))


def test_a_copy_of_a_negative_is_said_and_taken(folder: Path, cli: Callable, workspace) -> None:
    truth: Truth = [{"positive": [0], "ignored": [3]}, {"positive": [0]}, {"positive": [0]}]
    path = write(folder, {"all": truth}, ROWS)
    more = distractors(folder, {"x.png": folder / "jpg" / "d2.png", "y.png": folder / "jpg/d2.png"})
    result = cli("run", "--method", "random-unit", "--dataset", path, "--distractors", more)
    assert result.status == 0, result.err
    assert (
        "more: 2 distractors have the content of a negative of own: x.png is d2.png" in result.err
    )
    assert len(workspace.records()) == 1
