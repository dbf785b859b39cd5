"""Descriptors that are brought, and every error of the command line in one sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.support.checkout import ROOT
from tests.support.commands import HEADLINE, RANDOM, only

# --- evaluate -----------------------------------------------------------------------------------


def test_descriptors_extracted_and_brought_score_as_in_a_run(workspace, cli) -> None:
    """The way through files and the way through the store are one."""
    assert cli(*RANDOM).status == 0
    for which in ("database", "queries"):
        result = cli("extract", "--method", "random-unit", "--dataset", "mini", "--device", "cpu",
                   "--which", which, "--output", workspace.folder / f"{which}.npz")  # fmt: skip
        assert result.status == 0, result.err
    result = cli("evaluate", "--dataset", "mini", "--database", workspace.folder / "database.npz",
               "--queries", workspace.folder / "queries.npz", "--name", "mine")  # fmt: skip
    assert result.status == 0, result.err
    by_run, by_file = sorted(
        workspace.records(), key=lambda p: p.parent.name != "random-unit.seed0"
    )
    first, two = (json.loads(p.read_text()) for p in (by_run, by_file))
    assert by_file.parent.name == "brought.mine"
    assert first["scores"] == two["scores"]
    assert first["ranks"]["sha256"] == two["ranks"]["sha256"]
    assert first["card_sha256"] != two["card_sha256"], "nobody knows how these were made"


def bring(folder: Path, small_file: Path, suffix: str) -> list[str]:
    """Write descriptors of the small data set in one of the formats; return the arguments."""
    import scipy.io

    draw = np.random.default_rng(5)
    database, queries = (draw.standard_normal((n, 6)).astype(np.float32) for n in (8, 3))
    names = folder / f"db{suffix}", folder / f"q{suffix}"
    if suffix == ".npy":
        np.save(names[0], database)
        np.save(names[1], queries)
    elif suffix == ".npz":
        np.savez(names[0], vectors=database, ids=[f"d{i}" for i in range(8)])
        np.savez(names[1], vectors=queries, ids=[f"q{i}.png" for i in range(3)])
    else:
        for name in names:
            scipy.io.savemat(name, {"X": database.T, "Q": queries.T})
    return ["evaluate", "--dataset", str(small_file), "--database", str(names[0]),
            "--queries", str(names[1])]  # fmt: skip


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat"])
def test_every_format_gives_what_the_oracle_says(
    workspace, cli, small_file: Path, small: dict[str, Any], oracle: ModuleType, suffix: str
) -> None:
    extra = workspace.folder / "extra.npy"
    added = np.random.default_rng(6).standard_normal((40, 6)).astype(np.float32)
    np.save(extra, added)
    arguments = bring(workspace.folder, small_file, suffix)
    result = cli(*arguments, "--distractors", extra, extra)
    assert result.status == 0, result.err
    _, content = only(workspace.records())
    assert content["card"]["distractors"] == {"count": 80, "sources": ["extra", "extra"]}
    assert content["card"]["descriptors"] == "as-given"
    draw = np.random.default_rng(5)
    database, queries = (draw.standard_normal((n, 6)).astype(np.float32) for n in (8, 3))
    whole = np.concatenate([database, added, added])
    for name, entries in small["protocols"].items():
        for metric_id, got in content["scores"][name].items():
            values = []
            for query, entry in zip(queries, entries, strict=True):
                listed = oracle.ranking(oracle.scores(whole, query))
                values.append(
                    oracle.value(metric_id, listed, entry["positive"], entry.get("ignored", []))
                )
            known = [np.nan if v is None else v for v in got["per_query"]]
            assert known == pytest.approx(values, abs=1e-12, nan_ok=True)
            assert got["mean"] == pytest.approx(oracle.mean(values), abs=1e-12)


@pytest.mark.slow
def test_the_official_answers_through_files_and_the_public_command(
    workspace, process, oracle: ModuleType, shared: Callable[[str], Path]
) -> None:
    """The entry with distractors, from memory-mapped .npy files, with little memory."""
    entries = json.loads(shared("parity/revisitop_map.json").read_text(encoding="utf-8"))
    entry = next(e for e in entries if e["distractors"])
    name = entry["dataset"]
    content = oracle.ground_truth(shared(f"data/{name}/gnd_{name}.pkl"))
    rows = dict(
        zip(("db", "q", "more"), oracle.parity_descriptors(content["gnd"], entry), strict=True)
    )
    for key, array in rows.items():
        np.save(workspace.folder / f"{key}.npy", array)
    text = process(
        "evaluate", "--dataset", name, "--database", workspace.folder / "db.npy",
        "--queries", workspace.folder / "q.npy", "--distractors", workspace.folder / "more.npy",
        "--memory-budget", "8", "--results", workspace.results,
        env={"RETRIEVAL_BENCH_DATA": str(shared("data"))},
    )  # fmt: skip
    assert text.status == 0, text.err
    assert text.errors == []
    _, got = only(workspace.records())
    assert got["card"]["descriptors"] == "unit-norm"
    assert got["card"]["distractors"]["count"] == entry["distractors"]
    for level, known in entry["levels"].items():
        table = got["scores"][level]
        assert table[HEADLINE]["mean"] == pytest.approx(known["mAP"], abs=1e-9)
        ap = [np.nan if v is None else v for v in known["ap"]]
        per_query = [np.nan if v is None else v for v in table[HEADLINE]["per_query"]]
        assert per_query == pytest.approx(ap, abs=1e-9, nan_ok=True)
        for k, value in known["mP"].items():
            assert table[f"mp@{k}.clipped.junk-removed"]["mean"] == pytest.approx(value, abs=1e-9)
    means = [f"{100 * entry['levels'][level]['mAP']:.2f}" for level in ("easy", "medium", "hard")]
    assert text.out.splitlines()[0] == (
        f">> {name}: mAP E: {means[0]}, M: {means[1]}, H: {means[2]}"
    )


# --- every error is one sentence ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "what"),
    [(np.nan, "contains NaN"), (np.inf, "contains infinity"), (0.0, "is all zeros")],
)
@pytest.mark.parametrize("which", [0, 1])
def test_a_bad_row_is_named_by_file_and_row(
    workspace, cli, refused, small_file: Path, brought, value: float, what: str, which: int
) -> None:
    rows = np.load(brought[which])
    rows[2] = value
    np.save(brought[which], rows)
    result = cli("evaluate", "--dataset", small_file, "--database", brought[0], "--queries",
               brought[1])  # fmt: skip
    text = refused(result)
    assert text.startswith("row 2 (")
    assert f".png) of {brought[which]} {what}; " in text
    assert "Warning" not in result.err
    assert workspace.records() == []


def test_a_bad_distractor_is_named_by_its_own_row(
    workspace, cli, refused, small_file: Path, brought
) -> None:
    paths = []
    for n in range(3):
        rows = np.ones((50, 6), np.float32)
        if n:
            rows[17 + n] = np.nan
        paths.append(workspace.folder / f"more{n}.npy")
        np.save(paths[-1], rows)
    result = cli("evaluate", "--dataset", small_file, "--database", brought[0], "--queries",
               brought[1], "--distractors", *paths)  # fmt: skip
    assert refused(result).startswith(f"row 18 of {paths[1]} contains NaN; ")


def test_descriptors_that_do_not_fit(workspace, cli, refused, small_file: Path, brought) -> None:
    def told(**changed: Any) -> str:
        options = {"dataset": small_file, "database": brought[0], "queries": brought[1], **changed}
        flat = [x for key, value in options.items() for x in (f"--{key}", value)]
        return refused(cli("evaluate", *flat))

    np.save(workspace.folder / "wide.npy", np.ones((5, 7), np.float32))
    np.save(workspace.folder / "turned.npy", np.load(brought[0]).T)
    np.savez(workspace.folder / "other.npz", vectors=np.load(brought[1]), ids=["q0", "q2", "q9"])
    assert "q.npy has 3 rows, but the data set has 8 database" in told(database=brought[1])
    assert "It looks transposed" in told(database=workspace.folder / "turned.npy")
    assert "has no row named q1" in told(queries=workspace.folder / "other.npz")
    assert "wide.npy has 7 dimensions" in told(distractors=workspace.folder / "wide.npy")
    assert "absent.npy does not exist" in told(queries=workspace.folder / "absent.npy")
    assert "descriptors are read from .npy, .npz, .mat" in told(queries=small_file)
    assert "no data set is called 'smal'" in told(dataset="smal")
    assert "absent.json does not exist" in told(dataset=workspace.folder / "absent.json")
    assert "--name 'a/b': use letters" in told(name="a/b")
    assert "--name '.a': use letters" in told(name=".a")
    assert "--name '': use letters" in told(name="")
    assert workspace.records() == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "no command is called 'rnu'; did you mean run or train?"),
        (["run", "--method", "random_unit"], "no method is called 'random_unit'; did you mean ran"),
        (["run", "--method", "absent.py"], "the method file absent.py does not exist."),
        (["run", "--method", "random-unit", "--dataset", "a/b"], "the data set file a/b does not"),
        (
            ["run", "--method", "random-unit", "--device", "tpu"],
            "the device 'tpu' is not supported",
        ),
        (
            ["run", "--method", "random-unit", "--device", "meta"],
            "the device 'meta' is not supported",
        ),
        (
            ["run", "--method", "random-unit", "--weights", "x"],
            "random-unit.seed0 cannot be loaded",
        ),
        (
            ["run", "--method", "random-unit", "--dataset", "roxford5k"],
            "gnd_roxford5k.pkl is missi",
        ),
        (["verify", "absent.json"], "the record absent.json does not exist; check the path."),
        (["verify", str(ROOT / "pyproject.toml")], "is not a record: "),
        (["verify", str(ROOT / "datasets")], "is not a record: "),
    ],
)
def test_wrong_arguments(workspace, cli, refused, arguments: list[str], expected: str) -> None:
    assert expected in refused(cli(*arguments))
    assert workspace.records() == []


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["run"], ["run", "--method"], ["run", "--method", "random-unit", "--limit", "0"],
        ["run", "--method", "random-unit", "--limit", "-1"],
        ["run", "--method", "random-unit", "--batch-size", "two"],
        ["run", "--method", "random-unit", "--shortlist", "1.5"],
        ["run", "--method", "random-unit", "--memory-budget", "0"],
        ["run", "--method", "random-unit", "--query-crop", "half"],
        ["evaluate", "--dataset", "mini"], ["verify"], ["--nonsense"],
    ],
)  # fmt: skip
def test_wrong_usage_shows_the_usage(workspace, cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.status in (1, 2)
    assert result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_photographs_that_are_not_there(workspace, cli, refused, small_file: Path) -> None:
    arguments = ("run", "--method", "random-unit", "--dataset", small_file)
    text = refused(cli(*arguments))
    assert text.startswith(f"the image folder {small_file.parent / 'jpg'} does not exist.")
    shutil.copytree(ROOT / "datasets" / "mini-data" / "jpg", small_file.parent / "jpg")
    text = refused(cli(*arguments))
    assert text.startswith("11 of 11 images are missing in ")
    assert "d0.png, d1.png, d2.png, d3.png, d4.png and 6 more." in text


def test_the_output_cannot_be_a_file(workspace, cli, refused) -> None:
    (workspace.folder / "file").touch()
    result = cli(*RANDOM, "--limit", "2", "--results", workspace.folder / "file")
    assert str(workspace.folder / "file") in refused(result)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written(workspace, cli, refused) -> None:
    workspace.cache.mkdir()
    workspace.cache.chmod(0o500)
    assert str(workspace.cache) in refused(cli(*RANDOM, "--limit", "2"))


def test_a_cache_that_is_a_file(workspace, cli, refused) -> None:
    workspace.cache.touch()
    assert str(workspace.cache) in refused(cli(*RANDOM, "--limit", "2"))


def test_the_traceback_is_there_for_those_who_ask(
    workspace, cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_TRACEBACK", "1")
    result = cli("run", "--method", "no-such")
    assert result.status == 1
    assert "Traceback" in result.err
    assert len(result.errors) == 1
