"""What a whitening is learned on: files that do not fit, that share rows, that are compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.records import record
from tests.support.town import path_of, unit


@pytest.fixture
def other(tmp_path: Path) -> np.ndarray:
    """Return 50 rows that are not evaluated, in other.npy; with pairs in other.npz."""
    rows = unit(np.random.default_rng(40).standard_normal((50, 12)))
    np.save(tmp_path / "other.npy", rows)
    np.savez(tmp_path / "other.npz", vectors=rows, pairs=np.arange(50).reshape(25, 2))
    return rows


@pytest.mark.parametrize("stage", ["pca-whiten:4,on=other.npy", "lw-whiten:4,on=other.npz"])
@pytest.mark.parametrize("before", [None, "truncate:10"])
def test_rows_of_another_dimension_are_refused(
    cli, refused, town, other, tmp_path: Path, monkeypatch, stage: str, before: str | None
) -> None:
    arguments = town(41, dim=13)
    monkeypatch.chdir(tmp_path)
    chain = ["--stage", before] if before else []
    words = refused(cli(*arguments, *chain, "--stage", stage))
    assert stage.partition("on=")[2] in words
    assert "12" in words
    assert "13" in words


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("pca-whiten:4,on=", "on must name"),
        ("lw-whiten:4,on=bad.npz", "row 7 of bad.npz"),
    ],
)
def test_files_that_cannot_be_learned_on(
    cli, refused, town, other, tmp_path: Path, monkeypatch, stage: str, words: str
) -> None:
    other[7, 2] = np.nan
    np.savez(tmp_path / "bad.npz", vectors=other, pairs=np.arange(50).reshape(25, 2))
    arguments = town(42)
    monkeypatch.chdir(tmp_path)
    assert words in refused(cli(*arguments, "--stage", stage))


def test_a_whitening_on_a_file_goes_before_fusion(cli, refused, town, other, tmp_path) -> None:
    arguments, learned = town(43), f"pca-whiten:4,on={tmp_path / 'other.npy'}"
    fused = f"fuse:{tmp_path / 'db.npy'}+{tmp_path / 'q.npy'}"
    assert "other.npy" in refused(cli(*arguments, "--stage", fused, "--stage", learned))
    path_of(cli(*arguments, "--stage", learned, "--stage", fused))


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("rows", ["database", "queries", "one"])
def test_a_file_that_has_an_evaluated_row_is_transductive(
    cli, town, other, tmp_path: Path, similarity: str, rows: str
) -> None:
    arguments = [*town(44), "--similarity", similarity]
    scale = 3 if similarity == "cosine" else 1
    database, queries = (scale * np.load(tmp_path / f"{name}.npy") for name in ("db", "q"))
    np.save(tmp_path / "db.npy", database)
    np.save(tmp_path / "q.npy", queries)
    file = tmp_path / "learn.npy"
    np.save(file, {"database": database, "queries": queries,
                   "one": np.vstack([other, queries[3:4]])}[rows])  # fmt: skip
    result = cli(*arguments, "--stage", f"pca-whiten:4,on={file}")
    assert record.read(path_of(result))["card"]["stages"][0]["uses"] == ["database"]
    assert "transductive" in result.out
    result = cli(*arguments, "--stage", f"pca-whiten:4,on={tmp_path / 'other.npy'}")
    assert "uses" not in record.read(path_of(result))["card"]["stages"][0]


def test_rows_to_learn_on_are_compared_as_the_others(cli, town, other, tmp_path: Path) -> None:
    arguments = [*town(45), "--similarity", "cosine"]
    length = np.random.default_rng(45).uniform(1, 9, (50, 1))
    np.save(tmp_path / "long.npy", (other * length).astype(np.float32))
    kept = []
    for name in ("other", "long"):
        out = tmp_path / "out.npz"
        path_of(
            cli(*arguments, "--stage", f"pca-whiten:4,on={tmp_path / name}.npy", "--export", out)
        )
        kept.append(np.load(out)["stage0_database"])
    assert np.abs(kept[0] - kept[1]).max() < 1e-5


@pytest.mark.slow
def test_pairs_of_the_evaluated_queries_are_labels(cli, tiny: Path, tmp_path: Path) -> None:
    data = json.loads((tiny / "dataset.json").read_text(encoding="utf-8"))
    other = tmp_path / "other"
    (other / "jpg").mkdir(parents=True)
    for file in data["database"]:
        (other / "jpg" / file).write_bytes((tiny / "jpg" / file).read_bytes())
    for query in data["queries"]:
        (other / "jpg" / query["file"]).symlink_to(tiny / "jpg" / query["file"])
    (other / "dataset.json").write_text(json.dumps(data | {"name": "other"}), encoding="utf-8")
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny)
    used = {}
    for stage in ("pca-whiten:4", "lw-whiten:4"):
        content = record.read(path_of(cli(*arguments, "--stage", f"{stage},on={other}")))
        used[stage] = content["card"]["stages"][0].get("uses")
    assert used == {"pca-whiten:4": ["database"], "lw-whiten:4": ["database", "labels", "queries"]}
