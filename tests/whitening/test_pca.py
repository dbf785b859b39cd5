"""PCA whitening and truncation: the official program's scores, what they are learned on, chains."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records import record
from bench.records.verify import verify
from tests.support.signed import sign
from tests.support.town import path_of, unit


def scores_of(out: Path, stage: int) -> np.ndarray:
    """Return the products of queries and database after a stage on descriptors."""
    packed = np.load(out)
    return packed[f"stage{stage}_queries"] @ packed[f"stage{stage}_database"].T


def whitened(learned: np.ndarray, rows: np.ndarray, dim: int, power: float = 0.5) -> np.ndarray:
    """Return rows whitened on others, by a singular value decomposition."""
    mean = learned.mean(axis=0)
    _, singular, vectors = np.linalg.svd(learned - mean, full_matrices=False)
    scale = (singular**2 / len(learned)) ** -power
    return unit(((rows - mean) @ vectors.T * scale)[:, :dim])


@pytest.mark.parametrize("dim", [48, 16])
def test_scores_are_those_of_the_official_program(cli, official, tmp_path, dim: int) -> None:
    arguments, answers = official
    result = cli(*arguments, "--stage", f"pca-whiten:{dim}", "--export", tmp_path / "out.npz")
    content = record.read(path_of(result))
    assert verify(path_of(result))[0] == []
    expected = answers[f"pca_whitening_{dim}_scores"]
    assert np.abs(scores_of(tmp_path / "out.npz", 0) - expected).max() < 2e-5
    out = np.load(tmp_path / "out.npz")
    listed = np.take_along_axis(expected, out["search_rows"], axis=1)
    assert np.abs(out["search_scores"] - listed).max() < 2e-5
    assert content["card"]["stages"] == [
        {"stage": "pca-whiten", "dim": dim, "power": 0.5, "on": "evaluated", "uses": ["database"]}
    ]
    assert "transductive" in result.out
    assert content["bytes_per_image"] == 4 * dim


def test_it_is_learned_on_other_rows_with_another_power(cli, town, tmp_path: Path) -> None:
    arguments = town(3)
    other = unit(np.random.default_rng(8).standard_normal((500, 12)) * np.arange(1, 13))
    np.save(tmp_path / "learn.npy", other)
    text = f"pca-whiten:5,power=0.25,on={tmp_path / 'learn.npy'}"
    result = cli(*arguments, "--stage", text, "--export", tmp_path / "out.npz")
    database, queries = (np.load(tmp_path / f"{name}.npy").astype(float) for name in ("db", "q"))
    learned = other.astype(float)
    expected = whitened(learned, queries, 5, 0.25) @ whitened(learned, database, 5, 0.25).T
    assert np.abs(scores_of(tmp_path / "out.npz", 0) - expected).max() < 1e-5
    (entry,) = record.read(path_of(result))["card"]["stages"]
    assert entry["on"]["rows"] == 500
    assert "uses" not in entry
    assert str(tmp_path) not in path_of(result).read_text(encoding="utf-8").split('"command"')[0]
    assert "transductive" not in result.out
    assert "500 rows" in result.out


def test_rows_to_learn_on_go_through_the_stages_before(cli, town, tmp_path: Path) -> None:
    arguments = town(4)
    other = unit(np.random.default_rng(9).standard_normal((300, 12)))
    np.save(tmp_path / "learn.npy", other)
    text = f"pca-whiten:4,on={tmp_path / 'learn.npy'}"
    out = tmp_path / "out.npz"
    result = cli(*arguments, "--stage", "truncate:6", "--stage", text, "--export", out)
    assert verify(path_of(result))[0] == []
    database, queries = (np.load(tmp_path / f"{name}.npy") for name in ("db", "q"))
    cut = [unit(rows[:, :6]).astype(float) for rows in (other, queries, database)]
    expected = whitened(cut[0], cut[1], 4) @ whitened(cut[0], cut[2], 4).T
    assert np.abs(scores_of(out, 1) - expected).max() < 1e-5
    assert "truncated to 6 dimensions; then PCA whitening to 4" in result.out


def test_what_was_made_is_used_again_and_follows_the_rows(cli, town, tmp_path, workspace) -> None:
    arguments = [*town(5), "--stage", "pca-whiten:5"]
    first = cli(*arguments)
    folder = workspace.cache / "stages"
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}
    assert len(made) == 4  # mean, projection, database, queries
    again = cli(*arguments)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")} == made
    assert record.read(path_of(again))["scores"] == record.read(path_of(first))["scores"]
    damaged = next(path for path in made if path.name == "projection.npy")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert record.read(path_of(cli(*arguments)))["scores"] == record.read(path_of(first))["scores"]
    rows = np.load(tmp_path / "db.npy")
    rows[3] = unit(rows[3:4] + 0.5)
    np.save(tmp_path / "db.npy", rows)
    path_of(cli(*arguments))
    assert len(list(folder.rglob("*.npy"))) == 8
    listed = cli("cache", "list")
    assert listed.status == 0
    assert listed.out.count("pca-whiten") >= 6
    assert cli("cache", "verify").status == 0


@pytest.mark.parametrize(
    ("stages", "value"),
    [
        (["truncate:13"], "13"),
        (["truncate"], "truncate:D"),
        (["truncate:0"], "'0'"),
        (["pca-whiten:13"], "13"),
        (["pca-whiten:4,power=2"], "'2'"),
        (["pca-whiten:4,pwer=0.5"], "'pwer'"),
        (["pca-whiten:4,on=nowhere.npy"], "nowhere.npy"),
        (["aqe:3,alpha=1", "truncate:3"], "truncate first"),
        (["truncate:4", "pca-whiten:5"], "5"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    cli, refused, town, workspace, stages: list[str], value: str
) -> None:
    arguments = [word for stage in stages for word in ("--stage", stage)]
    assert value in refused(cli(*town(6), *arguments))
    assert not (workspace.cache / "stages").exists()


def test_rows_that_span_too_little_are_refused(cli, refused, town, tmp_path: Path) -> None:
    arguments = town(7)
    rows = np.load(tmp_path / "db.npy")
    rows[:, 6:] = 0
    np.save(tmp_path / "db.npy", unit(rows))
    assert "span 6 dimensions" in refused(cli(*arguments, "--stage", "pca-whiten:8"))


@pytest.mark.slow
def test_a_run_is_made_again_from_stored_descriptors(cli, tiny: Path, tmp_path: Path) -> None:
    method, other = tiny / "halves.py", tmp_path / "other"
    shutil.copytree(tiny, other)
    data = json.loads((other / "dataset.json").read_text(encoding="utf-8"))
    (other / "dataset.json").write_text(json.dumps(data | {"name": "other"}), encoding="utf-8")
    arguments = ("run", "--method", method, "--dataset", tiny)
    own = cli(*arguments, "--stage", f"pca-whiten:4,on={tiny}")
    assert "transductive" in own.out, "it is learned on images that are evaluated"
    for file in ("007.png", "002.png"):  # the second is a query as well
        (tiny / "jpg" / file).write_bytes(b"no image")
    chain = ("--stage", f"pca-whiten:4,on={other}", "--stage", "aqe:2,alpha=2", "--allow-missing")
    plan = cli(*arguments, *chain, "--dry-run")
    assert f"database of other: {len(data['database'])} images" in plan.out
    result = cli(*arguments, *chain)
    path = path_of(result)
    assert verify(path)[0] == []
    content = record.read(path)
    assert [entry["stage"] for entry in content["card"]["stages"]] == ["pca-whiten", "aqe"]
    assert content["card"]["stages"][0]["on"]["name"] == "other"
    assert set(content["card"]["missing"]["database"]) >= {7}
    assert {name for name in record.read_arrays(path, content) if name.startswith("stage")} == {
        "stage1_labelled_rank", "stage1_labelled_score", "stage1_labelled_tied",
        "stage1_shortlist_row", "stage1_shortlist_score",
    }  # fmt: skip


def test_a_record_with_a_stage_on_rows_is_verified_from_descriptors(cli, workspace) -> None:
    arguments = ("run", "--method", "random-unit", "--limit", "12", "--stage", "pca-whiten:4")
    path = path_of(cli(*arguments))
    result = cli("verify", "--descriptors", path)
    assert result.status == 0, result.out + result.err
    assert cli("verify", path).status == 0


@pytest.mark.parametrize(
    "change", [{"dim": 3}, {"power": 0.25}, {"uses": []}, {"on": {"rows": 9}}, {"dim": "four"}]
)
def test_an_edited_entry_is_found(cli, workspace, tmp_path: Path, change: dict[str, Any]) -> None:
    arguments = ("run", "--method", "random-unit", "--limit", "12", "--stage", "pca-whiten:4")
    path = path_of(cli(*arguments))
    content = record.read(path)
    content["card"]["stages"][0] |= change
    forged = sign(content, record.read_arrays(path, content), tmp_path / "forged.json")
    result = cli("verify", "--descriptors", forged)
    assert result.status == 1
    assert "Traceback" not in result.err
