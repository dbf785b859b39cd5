"""Distractors in a run: described once, appended as negatives, named on the card, never shared."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data import copies
from bench.records import record
from bench.records.verify import verify
from bench.system.hashing import sha256_lines

pytestmark = pytest.mark.slow


def photograph(path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    Image.fromarray(draw.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(path)


def make(place: Path, name: str, database: int, queries: int, seed: int) -> Path:
    """Write a folder of random photographs and its dataset.json; the names are always the same."""
    (place / name / "jpg").mkdir(parents=True)
    data: dict[str, Any] = {"name": name, "images": "jpg", "database": [], "queries": []}
    for i in range(database):
        data["database"].append(f"d{i}.png")
        photograph(place / name / "jpg" / f"d{i}.png", 1000 * seed + i)
    for i in range(queries):
        data["queries"].append({"file": f"q{i}.png"})
        photograph(place / name / "jpg" / f"q{i}.png", 1000 * seed + 500 + i)
    truth = [{"positive": [i, i + 3], "ignored": [i + 6]} for i in range(queries)]
    data["protocols"] = {"all": truth} if queries else {}
    (place / name / "dataset.json").write_text(json.dumps(data), encoding="utf-8")
    return place / name / "dataset.json"


@pytest.fixture
def sets(workspace: Any) -> tuple[Path, Path, Path]:
    """Return a data set of 12 images and 3 queries, 20 distractors, 15 images of another set."""
    place = workspace.folder
    return (
        make(place, "town", 12, 3, 1),
        make(place, "noise", 20, 0, 2),
        make(place, "city", 15, 2, 3),
    )


def only(cli: Callable[..., Any], *arguments: Any) -> tuple[Path, dict[str, Any], Any]:
    result = cli("run", "--method", "random-unit", *arguments)
    assert result.status == 0, result.err
    path = Path(result.out.splitlines()[-1])
    return path, record.read(path), result


def rows_of(cli: Callable[..., Any], folder: Path, name: str, which: str) -> np.ndarray:
    file = folder / f"{name}-{which}.npz"
    result = cli("extract", "--method", "random-unit", "--dataset", folder / name / "dataset.json",
               "--which", which, "--output", file)  # fmt: skip
    assert result.status == 0, result.err
    rows: np.ndarray = np.load(file)["vectors"]
    return rows


def test_the_rows_of_all_sets_are_searched_and_the_card_names_them(
    cli: Callable[..., Any], oracle: Any, workspace: Any, sets: tuple[Path, Path, Path]
) -> None:
    town, noise, city = sets
    path, content, _ = only(cli, "--dataset", town, "--distractors", noise, city)
    whole = np.concatenate(
        [rows_of(cli, workspace.folder, name, "database") for name in ("town", "noise", "city")]
    )
    queries = rows_of(cli, workspace.folder, "town", "queries")
    arrays = record.read_arrays(path, content)
    truth = json.loads(town.read_text(encoding="utf-8"))["protocols"]["all"]
    for i, (query, entry) in enumerate(zip(queries, truth, strict=True)):
        listed = oracle.ranking(oracle.scores(whole, query))
        assert arrays["shortlist_row"][i].tolist() == listed
        for metric_id, got in content["scores"]["all"].items():
            wanted = oracle.value(metric_id, listed, entry["positive"], entry["ignored"])
            assert got["per_query"][i] == pytest.approx(wanted)
    names = [[f"d{i}.png" for i in range(n)] for n in (20, 15)]
    assert content["card"]["distractors"] == {
        "count": 35,
        "sources": ["noise", "city"],
        "counts": [20, 15],
        "list_sha256": [sha256_lines(files) for files in names],
    }
    assert content["card"]["dataset"]["database"] == 12
    assert content["partial"] is False
    assert verify(path)[0] == []


def test_they_are_described_once_for_two_data_sets(
    cli: Callable[..., Any], sets: tuple[Path, Path, Path]
) -> None:
    town, noise, city = sets
    first = only(cli, "--dataset", town, "--distractors", noise)[1]
    second = only(cli, "--dataset", city, "--distractors", noise)[1]
    assert first["timing"]["images_from_store"] == 0
    assert second["timing"]["images_from_store"] == 20
    assert first["card_sha256"] != only(cli, "--dataset", town)[1]["card_sha256"]


def test_a_dry_run_counts_them(
    cli: Callable[..., Any], workspace: Any, sets: tuple[Path, Path, Path]
) -> None:
    town, noise, _ = sets
    result = cli("run", "--method", "random-unit", "--dataset", town, "--distractors", noise,
               "--compression", "pq4x4", "--search", "ivf4", "--dry-run")  # fmt: skip
    assert "distractors noise: 20 images, 20 to describe" in result.out
    assert "compression: pq4x4" in result.out
    assert "trained on 32 of the 32 database rows" in result.out
    assert "search: approximate: ivf4,flat,nprobe4,k1000" in result.out
    assert workspace.records() == []


def test_limit_cuts_them_too_and_marks_the_result(
    cli: Callable[..., Any], sets: tuple[Path, Path, Path]
) -> None:
    town, noise, _ = sets
    for limit, count, mark in ((5, 5, 5), (15, 15, 15), (20, 20, None), (99, 20, None)):
        path, content, text = only(cli, "--dataset", town, "--distractors", noise, "--limit", limit)
        assert content["card"]["distractors"]["count"] == count
        assert content["card"]["limit"] == mark
        assert content["partial"] == (mark is not None)
        assert (f"(partial: first {mark} queries)" in text.out) == (mark is not None)
        assert verify(path)[0] == []


def test_compression_and_an_index_take_them_in(
    cli: Callable[..., Any], sets: tuple[Path, Path, Path]
) -> None:
    town, noise, _ = sets
    path, content, _ = only(cli, "--dataset", town, "--distractors", noise,
                            "--compression", "pq8x4", "--search", "ivf4,nprobe2")  # fmt: skip
    assert content["bytes_per_image"] == 4
    coded = {"name": "pq8x4", "bytes": 4, "trained_rows": 32, "rows": 32, "seed": 0}
    assert content["card"]["compression"] == coded
    assert verify(path)[0] == []


# --- what is refused ----------------------------------------------------------------------------


def test_shared_files_are_refused(
    cli: Callable[..., Any], refused: Callable[..., str], workspace: Any, sets: Any
) -> None:
    town, noise, _ = sets

    def told(*names: Path) -> str:
        result = cli("run", "--method", "random-unit", "--dataset", town, "--distractors", *names)
        return refused(result)

    words = "is the same file as one of"
    assert f"d0.png of the distractors town {words} town" in told(town)
    assert f"d0.png of the distractors noise {words} the distractors noise" in told(noise, noise)
    linked = workspace.folder / "linked" / "jpg"
    linked.mkdir(parents=True)
    photograph(linked / "new.png", 7)
    data = {"name": "linked", "images": "jpg", "database": ["new.png", "a.png"], "queries": [],
            "protocols": {}}  # fmt: skip
    file = workspace.folder / "linked" / "dataset.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    for kind, target in ((os.link, "d5.png"), (os.symlink, "q1.png")):
        (linked / "a.png").unlink(missing_ok=True)
        kind(town.parent / "jpg" / target, linked / "a.png")
        assert f"a.png of the distractors linked {words} town" in told(file), target
    assert workspace.records() == []


def test_a_set_without_queries_cannot_be_scored(
    cli: Callable[..., Any], refused: Callable[..., str], sets: Any, brought: Any
) -> None:
    _, noise, _ = sets
    words = "the data set noise has no queries and cannot be scored; its images can be added to"
    assert words in refused(cli("run", "--method", "random-unit", "--dataset", noise))
    assert words in refused(
        cli("evaluate", "--dataset", noise, "--database", brought[0], "--queries", brought[1])
    )
    assert words in refused(
        cli("extract", "--method", "random-unit", "--dataset", noise, "--which", "queries",
            "--output", noise.parent / "q.npz")
    )  # fmt: skip


def test_missing_images_and_wrong_names_are_refused(
    cli: Callable[..., Any], refused: Callable[..., str], sets: Any
) -> None:
    town, noise, _ = sets
    arguments = ("run", "--method", "random-unit", "--dataset", town, "--distractors")
    (noise.parent / "jpg" / "d7.png").unlink()
    assert "1 of 20 images are missing" in refused(cli(*arguments, noise))
    assert "no data set is called 'nosie'" in refused(cli(*arguments, "nosie"))


@pytest.mark.parametrize(
    ("queries", "protocols", "words"),
    [
        ([], {"all": []}, "queries: must not be empty"),
        ([{"file": "q0.png"}], {}, "protocols: must not be empty;"),
    ],
)
def test_half_a_set_of_distractors_is_refused(
    cli: Callable[..., Any], refused: Callable[..., str], sets: Any, queries: Any, protocols: Any,
    words: str,
) -> None:  # fmt: skip
    town, noise, _ = sets
    data = json.loads(noise.read_text(encoding="utf-8")) | {
        "queries": queries, "protocols": protocols,
    }  # fmt: skip
    noise.write_text(json.dumps(data), encoding="utf-8")
    result = cli("run", "--method", "random-unit", "--dataset", town, "--distractors", noise)
    assert words in refused(result)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--compression", "pq5x4"), "divides a descriptor into 5"),
        (("--compression", "pq4x8"), "needs at least 256 database rows"),
        (("--search", "ivf64"), "64"),
        (("--stage", "pca-whiten:4096"), "4096"),
        (("--stage", "aqe:4000,alpha=3"), "4000"),
        (("--method", "random-unti"), "random-unti"),
    ],
)
def test_no_image_is_hashed_before_what_is_refused_without_it(
    cli: Callable[..., Any], refused: Callable[..., str], sets: Any,
    monkeypatch: pytest.MonkeyPatch, more: tuple[str, str], words: str,
) -> None:  # fmt: skip
    """Of a million images on a disk far away that would take hours."""
    town, noise, _ = sets
    monkeypatch.setattr(copies, "prints_of", None)
    arguments = ("run", "--method", "random-unit", "--dataset", town, "--distractors", noise)
    assert words in refused(cli(*arguments, *more))


def test_copies_are_refused_for_every_method_and_data_set_at_once(
    cli: Callable[..., Any], refused: Callable[..., str], sets: Any
) -> None:
    town, noise, city = sets
    shutil.copy(town.parent / "jpg" / "q1.png", noise.parent / "jpg" / "d7.png")
    shutil.copy(town.parent / "jpg" / "d0.png", noise.parent / "jpg" / "d9.png")
    text = refused(
        cli("run", "--method", "random-unit", "--dataset", city, "--dataset", town,
            "--distractors", noise)
    )  # fmt: skip
    assert "2 of the distractors noise" in text
    assert "d7.png is q1.png, d9.png is d0.png" in text
