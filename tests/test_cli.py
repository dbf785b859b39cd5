"""The command line from end to end: on the bundled photographs, and on descriptors brought."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench import cli as command_line
from bench import summary

ROOT = Path(__file__).resolve().parent.parent
RANDOM = ("run", "--method", "random-unit", "--device", "cpu")
HEADLINE = "map.trapezoid.junk-removed"


def only(paths: list[Path]) -> tuple[Path, dict[str, Any]]:
    """Return the one record there is."""
    (path,) = paths
    return path, json.loads(path.read_text(encoding="ascii"))


# --- run ----------------------------------------------------------------------------------------


def test_a_run_on_the_bundled_photographs_from_end_to_end(workspace, cli) -> None:
    said = cli(*RANDOM, "--measure", "sample")
    assert said.status == 0, said.err
    path, held = only(workspace.records())
    means = {p: 100 * t[HEADLINE]["mean"] for p, t in held["scores"].items()}
    lines = said.out.splitlines()
    assert lines[-1] == str(path)
    assert lines[-3] == (
        f">> mini: mAP E: {means['easy']:.2f}, M: {means['medium']:.2f}, "
        f"H: {means['hard']:.2f} (chance)"
    )
    number = r"\d+\.\d\d"
    three = rf"\[{number}, {number}, {number}\]"
    assert re.fullmatch(
        rf">> mini: mP@k\[1, 5, 10\] E: {three}, M: {three}, H: {three} \(chance\)", lines[-2]
    )
    assert path.is_relative_to(workspace.results / "runs" / "mini" / "random-unit.seed0")
    assert held["command"] == (
        "python -m bench run --method random-unit --device cpu --measure sample --output "
        f"{workspace.results}"
    )
    assert held["method"]["weights"]["trained"] is False
    assert held["partial"] is False
    assert held["machine"]["device"] == "cpu"
    assert set(held["timing"]["phases_s"]) == {
        "describe database", "describe queries", "latency", "search", "score",
    }  # fmt: skip
    assert held["timing"]["images_from_store"] == 0
    assert held["card"]["crop_rule"] == "query cropped to its box"
    verified = cli("verify", path)
    assert verified.status == 0
    assert verified.out.splitlines() == [
        f"{path}: 30 scores over 3 protocols recomputed from stored ranks",
        f"{path}: lists and ground truth are those of mini here",
        f"{path}: match",
    ]


def test_a_second_run_takes_everything_from_the_store_and_scores_the_same(workspace, cli) -> None:
    assert cli(*RANDOM).status == 0
    assert cli(*RANDOM, "--batch-size", "3", "--memory-budget", "1").status == 0
    first, second = (json.loads(p.read_text()) for p in workspace.records())
    assert {first["timing"]["images_from_store"], second["timing"]["images_from_store"]} == {0, 64}
    assert first["scores"] == second["scores"]
    assert first["ranks"]["sha256"] == second["ranks"]["sha256"]
    assert first["card_sha256"] == second["card_sha256"]


def test_variants_and_data_sets_are_repeatable(workspace, cli) -> None:
    said = cli("run", "--method", "random-unit.seed1", "--method", "random-unit.seed2",
               "--dataset", "mini", "--limit", "6", "--device", "cpu")  # fmt: skip
    assert said.status == 0
    assert [p.parent.name for p in workspace.records()] == [
        "random-unit.seed1",
        "random-unit.seed2",
    ]
    assert said.out.count("(chance) (partial: first 6 images)") == 4
    for path in workspace.records():
        held = json.loads(path.read_text())
        assert held["partial"] is True
        assert held["card"]["limit"] == held["card"]["dataset"]["database"] == 6
        assert cli("verify", path).status == 0


def test_the_crop_of_the_query_is_another_card(workspace, cli) -> None:
    for crop in ("whole", "crop", "crop-relative"):
        assert cli(*RANDOM, "--query-crop", crop).status == 0
    assert cli(*RANDOM, "--no-crop").status == 0
    records = [json.loads(p.read_text()) for p in workspace.records()]
    rules = {r["card"]["crop_rule"] for r in records}
    assert rules == {"query cropped to its box", "whole query image"}
    assert len({r["card_sha256"] for r in records}) == 3
    assert len({r["card"]["dataset"]["revision"] for r in records}) == 1
    for path in workspace.records():
        assert cli("verify", path).status == 0


def test_a_dry_run_says_what_would_be_done_and_does_nothing(workspace, cli) -> None:
    said = cli(*RANDOM, "--dry-run")
    assert said.status == 0
    assert re.search(r"database: 49 images, 49 to describe, [0-9.]+ kB in the store", said.out)
    assert workspace.records() == []
    assert not workspace.results.exists()
    assert not list(workspace.cache.rglob("*.npy"))
    assert cli(*RANDOM).status == 0
    assert "database: 49 images, 0 to describe" in cli(*RANDOM, "--dry-run").out


@pytest.mark.parametrize("depth", [0, 1, 49, 1000])
def test_the_length_of_the_shortlist_changes_no_score(workspace, cli, depth: int) -> None:
    assert cli(*RANDOM, "--limit", "20").status == 0
    assert cli(*RANDOM, "--limit", "20", "--shortlist", depth).status == 0
    records = [json.loads(p.read_text()) for p in workspace.records()]
    assert records[0]["scores"] == records[1]["scores"]
    for path, held in zip(workspace.records(), records, strict=True):
        with np.load(path.with_name(held["ranks"]["file"])) as arrays:
            assert arrays["shortlist_row"].shape[1] in (20, min(depth, 20))
        assert cli("verify", path).status == 0


def test_what_works_is_done_where_something_fails(workspace, cli) -> None:
    said = cli(*RANDOM, "--method", "random-unit.seed9", "--method", "no-such",
               "--dataset", "mini", "--dataset", "minny", "--limit", "3")  # fmt: skip
    assert said.status == 1
    assert len(workspace.records()) == 1
    assert len(said.errors) == 5
    assert said.errors[0].startswith("error: no variant of random-unit is called 'seed9'; did you")
    assert said.errors[1].startswith("error: no method is called 'no-such'. Known: ")
    assert said.errors[2].startswith("error: no data set is called 'minny'; did you mean mini?")


def test_a_run_writes_nothing_into_the_checkout_or_the_home(workspace, process) -> None:
    home = workspace.folder / "home"
    home.mkdir()

    def listed() -> set[str]:
        return {str(p) for p in (ROOT / "results").rglob("*")}

    before = listed()
    said = process(*RANDOM, "--output", workspace.results, env={"HOME": str(home)})
    assert said.status == 0, said.err
    assert "Warning" not in said.err
    assert len(workspace.records()) == 1
    assert [p.name for p in home.iterdir()] == []
    assert listed() == before


# --- evaluate -----------------------------------------------------------------------------------


def test_descriptors_extracted_and_brought_score_as_in_a_run(workspace, cli) -> None:
    """The way through files and the way through the store are one."""
    assert cli(*RANDOM).status == 0
    for which in ("database", "queries"):
        said = cli("extract", "--method", "random-unit", "--dataset", "mini", "--device", "cpu",
                   "--which", which, "--output", workspace.folder / f"{which}.npz")  # fmt: skip
        assert said.status == 0, said.err
    said = cli("evaluate", "--dataset", "mini", "--database", workspace.folder / "database.npz",
               "--queries", workspace.folder / "queries.npz", "--name", "mine")  # fmt: skip
    assert said.status == 0, said.err
    by_run, by_file = sorted(
        workspace.records(), key=lambda p: p.parent.name != "random-unit.seed0"
    )
    one, two = (json.loads(p.read_text()) for p in (by_run, by_file))
    assert by_file.parent.name == "brought.mine"
    assert one["scores"] == two["scores"]
    assert one["ranks"]["sha256"] == two["ranks"]["sha256"]
    assert one["card_sha256"] != two["card_sha256"], "nobody knows how these were made"


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
    given = bring(workspace.folder, small_file, suffix)
    said = cli(*given, "--distractors", extra, extra)
    assert said.status == 0, said.err
    _, held = only(workspace.records())
    assert held["card"]["distractors"] == {"count": 80, "sources": ["extra", "extra"]}
    assert held["card"]["descriptors"] == "as given, not normalised"
    draw = np.random.default_rng(5)
    database, queries = (draw.standard_normal((n, 6)).astype(np.float32) for n in (8, 3))
    whole = np.concatenate([database, added, added])
    for name, entries in small["protocols"].items():
        for metric_id, got in held["scores"][name].items():
            values = []
            for query, entry in zip(queries, entries, strict=True):
                listed = oracle.ranking(oracle.scores(whole, query))
                values.append(
                    oracle.value(metric_id, listed, entry["positive"], entry.get("ignored", []))
                )
            known = [np.nan if v is None else v for v in got["per_query"]]
            assert known == pytest.approx(values, abs=1e-12, nan_ok=True)
            assert got["mean"] == pytest.approx(oracle.mean(values), abs=1e-12)


def test_the_official_answers_through_files_and_the_public_command(
    workspace, process, oracle: ModuleType, shared: Callable[[str], Path]
) -> None:
    """The entry with distractors, from memory-mapped .npy files, with little memory."""
    entries = json.loads(shared("parity/revisitop_map.json").read_text(encoding="utf-8"))
    entry = next(e for e in entries if e["distractors"])
    name = entry["dataset"]
    held = oracle.ground_truth(shared(f"data/{name}/gnd_{name}.pkl"))
    rows = dict(
        zip(("db", "q", "more"), oracle.parity_descriptors(held["gnd"], entry), strict=True)
    )
    for key, array in rows.items():
        np.save(workspace.folder / f"{key}.npy", array)
    said = process(
        "evaluate", "--dataset", name, "--database", workspace.folder / "db.npy",
        "--queries", workspace.folder / "q.npy", "--distractors", workspace.folder / "more.npy",
        "--memory-budget", "8", "--output", workspace.results,
        env={"RETRIEVAL_BENCH_DATA": str(shared("data"))},
    )  # fmt: skip
    assert said.status == 0, said.err
    assert said.errors == []
    _, got = only(workspace.records())
    assert got["card"]["descriptors"] == "unit norm"
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
    assert said.out.splitlines()[0] == (
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
    said = cli("evaluate", "--dataset", small_file, "--database", brought[0], "--queries",
               brought[1])  # fmt: skip
    assert refused(said).startswith(f"row 2 of {brought[which]} {what}; a descriptor must be")
    assert "Warning" not in said.err
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
    said = cli("evaluate", "--dataset", small_file, "--database", brought[0], "--queries",
               brought[1], "--distractors", *paths)  # fmt: skip
    assert refused(said).startswith(f"row 18 of {paths[1]} contains NaN; ")


def test_descriptors_that_do_not_fit(workspace, cli, refused, small_file: Path, brought) -> None:
    def told(**changed: Any) -> str:
        given = {"dataset": small_file, "database": brought[0], "queries": brought[1], **changed}
        flat = [x for key, value in given.items() for x in (f"--{key}", value)]
        return refused(cli("evaluate", *flat))

    np.save(workspace.folder / "wide.npy", np.ones((5, 7), np.float32))
    np.save(workspace.folder / "turned.npy", np.load(brought[0]).T)
    np.savez(workspace.folder / "other.npz", vectors=np.load(brought[1]), ids=["q0", "q2", "q1"])
    assert "q.npy has 3 rows, but the data set has 8 database" in told(database=brought[1])
    assert "It looks transposed" in told(database=workspace.folder / "turned.npy")
    assert "row 1 of" in told(queries=workspace.folder / "other.npz")
    assert "wide.npy has 7 numbers per row" in told(distractors=workspace.folder / "wide.npy")
    assert "there is no file" in told(queries=workspace.folder / "absent.npy")
    assert "descriptors are read from .npy, .npz or .mat" in told(queries=small_file)
    assert "no data set is called 'smal'" in told(dataset="smal")
    assert "there is no file" in told(dataset=workspace.folder / "absent.json")
    assert "--name 'a/b' may hold letters" in told(name="a/b")
    assert "--name '.a' may hold letters" in told(name=".a")
    assert "--name '' may hold letters" in told(name="")
    assert workspace.records() == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rnu"], "no command is called 'rnu'; did you mean run or train?"),
        (["run", "--method", "random_unit"], "no method is called 'random_unit'; did you mean ran"),
        (["run", "--method", "absent.py"], "the method file absent.py does not exist."),
        (["run", "--method", "random-unit", "--dataset", "a/b"], "the data set file a/b does not"),
        (["run", "--method", "random-unit", "--device", "tpu"], "there is no device 'tpu'"),
        (["run", "--method", "random-unit", "--device", "meta"], "there is no device 'meta' for"),
        (
            ["run", "--method", "random-unit", "--weights", "x"],
            "random-unit.seed0 cannot be loaded",
        ),
        (
            ["run", "--method", "random-unit", "--dataset", "roxford5k"],
            "gnd_roxford5k.pkl is missi",
        ),
        (["verify", "absent.json"], "there is no record absent.json."),
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
    said = cli(*arguments)
    assert said.status in (1, 2)
    assert said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_photographs_that_are_not_there(workspace, cli, refused, small_file: Path) -> None:
    given = ("run", "--method", "random-unit", "--dataset", small_file)
    text = refused(cli(*given))
    assert text.startswith(f"the image folder {small_file.parent / 'jpg'} does not exist.")
    shutil.copytree(ROOT / "datasets" / "mini-data" / "jpg", small_file.parent / "jpg")
    text = refused(cli(*given))
    assert text.startswith("11 of 11 images are missing in ")
    assert "d0.png, d1.png, d2.png, d3.png, d4.png and 6 more." in text


def test_the_output_cannot_be_a_file(workspace, cli, refused) -> None:
    (workspace.folder / "file").touch()
    said = cli(*RANDOM, "--limit", "2", "--output", workspace.folder / "file")
    assert str(workspace.folder / "file") in refused(said)


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
    said = cli("run", "--method", "no-such")
    assert said.status == 1
    assert "Traceback" in said.err
    assert len(said.errors) == 1


# --- verify -------------------------------------------------------------------------------------


def test_verify_of_several_records_tells_all_and_fails_if_one_does(workspace, cli) -> None:
    assert cli(*RANDOM).status == 0
    path, _ = only(workspace.records())
    changed = workspace.folder / "changed.json"
    changed.write_text(path.read_text().replace('"mean": 0.', '"mean": 0.9', 1))
    said = cli("verify", path, changed, workspace.folder / "absent.json", path)
    assert said.status == 1
    assert said.out.count(": match") == 2
    assert len(said.errors) == 2
    assert "was changed after it was written" in said.errors[0]
    assert cli("verify", path).status == 0


# --- ends ---------------------------------------------------------------------------------------


def test_help_and_list_name_everything(cli) -> None:
    said = cli("--help")
    assert said.status == 0
    for verb in ("run", "list", "evaluate", "verify", "report", "doctor", "extract"):
        assert verb in said.out
        assert cli(verb, "--help").status == 0
    said = cli("list")
    assert said.status == 0
    assert "random-unit.seed0: seed 0" in said.out
    assert re.search(r"^  mini: Real photographs", said.out, re.MULTILINE)


def test_a_reader_that_stops_early_is_no_error(process, workspace) -> None:
    code = "import sys, subprocess; from bench.cli import main; sys.exit(main(['list']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    running = subprocess.Popen(
        [sys.executable, "-u", "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    assert running.wait(timeout=60) in (0, 1)
    assert "Traceback" not in err


def test_ctrl_c_says_how_to_go_on(workspace, tmp_path: Path) -> None:
    method = tmp_path / "endless.py"
    method.write_text(
        '"""Endless."""\nimport time\nVARIANTS = {"x": "x"}\n'
        "def load(variant, weights, device):\n"
        "    print('loading', flush=True)\n    time.sleep(60)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "bench", "run", "--method", str(method), "--device", "cpu",
         "--output", str(workspace.results)],
        cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout.readline() == "loading\n"
    time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; run the same command again to go on from here:\n  python -m bench run" in err
    assert "Traceback" not in err


def test_what_cannot_happen_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only errors of ours are sentences; a fault in the program shows where it is."""

    def fails(given: Any) -> int:
        raise ZeroDivisionError

    monkeypatch.setitem(command_line._COMMANDS, "list", ("", fails))
    with pytest.raises(ZeroDivisionError):
        command_line.main(["list"])


# --- the last lines -----------------------------------------------------------------------------


def record_of(metrics: list[str], protocols: dict[str, list[float | None]], **more: Any) -> Any:
    """Return as much of a record as the last lines look at."""
    return {
        "card": {"dataset": {"name": "x"}, "metrics": metrics, "limit": more.get("limit")},
        "ties": {"labelled": 0, "largest_group": 1},
        "method": {"weights": {"trained": more.get("trained"), "source": more.get("source", "")}},
        "scores": {
            name: {m: {"mean": mean} for m, mean in zip(metrics, means, strict=True)}
            for name, means in protocols.items()
        },
    }


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (
            record_of(
                [HEADLINE, "mp@1.clipped.junk-removed", "mp@10.clipped.junk-removed"],
                {"easy": [0.8481, 0.97057, 0.5], "hard": [0.38474, 1.0, 0.0]},
            ),
            [
                ">> x: mAP E: 84.81, H: 38.47",
                ">> x: mP@k[1, 10] E: [97.06, 50.00], H: [100.00, 0.00]",
            ],
        ),
        (record_of([HEADLINE], {"easy": [None], "own": [0.5]}), [">> x: mAP E: n/a, own: 50.00"]),
        (
            record_of(["map.finite-sum.junk-removed"], {"p": [0.5]}),
            [">> x: map.finite-sum.junk-removed p: 50.00"],
        ),
        (
            record_of(
                [f"recall@{k}.any-hit.junk-removed" for k in (1, 5, 10)],
                {"p": [0.9878, 0.9973, 0.9986]},
            ),
            ["R@1: 98.8, R@5: 99.7, R@10: 99.9"],
        ),
        (
            record_of(["recall@1.any-hit.junk-removed"], {"day": [1.0], "night": [None]}),
            ["day: R@1: 100.0", "night: R@1: n/a"],
        ),
        (
            record_of([HEADLINE], {"p": [0.1]}, trained=False, source="untrained", limit=5),
            [">> x: mAP p: 10.00 (untrained) (partial: first 5 images)"],
        ),
    ],
)
def test_the_last_lines(held, expected: list[str]) -> None:
    assert summary.lines(held) == expected


def test_wrong_options_are_one_sentence(cli, refused) -> None:
    assert "--metod" in refused(cli("run", "--metod", "gem"))
    assert "sideways" in refused(cli("run", "--method", "gem", "--query-crop", "sideways"))
    assert "--queries" in refused(cli("evaluate", "--dataset", "mini", "--database", "x.npy"))


def test_ties_are_said_before_the_scores(workspace, cli, small_file: Path) -> None:
    data = json.loads(small_file.read_text(encoding="utf-8"))
    rows = np.ones((len(data["database"]), 4), dtype=np.float32)
    np.save(workspace.folder / "same.npy", rows)
    np.save(workspace.folder / "q.npy", rows[: len(data["queries"])])
    said = cli(
        "evaluate", "--dataset", small_file, "--database", workspace.folder / "same.npy",
        "--queries", workspace.folder / "q.npy", "--output", workspace.folder / "out",
    )  # fmt: skip
    assert said.status == 0, said.err
    first, second = said.out.splitlines()[:2]
    assert re.match(rf"ties: \d+ labelled images .* at most {len(rows)} have the same", first)
    assert second.startswith(">> ")
