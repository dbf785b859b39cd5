"""The command line from end to end: run, verify, help, the last lines."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.commands import list as listing
from bench.commands import main as command_line
from bench.commands import summary
from bench.commands.parser import Command, Nothing
from bench.describe import loading
from bench.records import measured
from bench.scoring.metrics import REVISITED_METRICS
from tests.support.checkout import ROOT
from tests.support.commands import HEADLINE, RANDOM, only

pytestmark = pytest.mark.slow

# --- run ----------------------------------------------------------------------------------------


def test_a_run_on_the_bundled_photographs_from_end_to_end(workspace, cli) -> None:
    result = cli(*RANDOM, "--measure", "sample")
    assert result.status == 0, result.err
    path, content = only(workspace.records())
    means = {p: 100 * t[HEADLINE]["mean"] for p, t in content["scores"].items()}
    lines = result.out.splitlines()
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
    assert content["command"] == (
        "python -m bench run --method random-unit --device cpu --measure sample --results "
        f"{workspace.results}"
    )
    assert content["method"]["weights"]["trained"] is False
    assert content["partial"] is False
    assert content["machine"]["device"] == "cpu"
    assert set(content["timing"]["phases_s"]) == {
        "describe database", "describe queries", "latency", "search", "score",
    }  # fmt: skip
    assert content["timing"]["images_from_store"] == 0
    assert content["card"]["crop_rule"] == "box"
    verified = cli("verify", path)
    assert verified.status == 0
    count = 3 * len(REVISITED_METRICS)
    assert verified.out.splitlines() == [
        f"{path}: {count} scores over 3 protocols recomputed from stored ranks",
        f"{path}: lists and ground truth are those of mini on this machine",
        f"{path}: {measured.AS_STATED}",
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
    result = cli("run", "--method", "random-unit.seed1", "--method", "random-unit.seed2",
               "--dataset", "mini", "--limit", "6", "--device", "cpu")  # fmt: skip
    assert result.status == 0
    assert [p.parent.name for p in workspace.records()] == [
        "random-unit.seed1",
        "random-unit.seed2",
    ]
    assert result.out.count("(chance) (partial: first 6 queries)") == 4
    for path in workspace.records():
        content = json.loads(path.read_text())
        assert content["partial"] is True
        assert content["card"]["limit"] == content["card"]["dataset"]["queries"] == 6
        assert cli("verify", path).status == 0


def test_the_crop_of_the_query_is_another_card(workspace, cli) -> None:
    for crop in ("whole", "crop", "crop-relative"):
        assert cli(*RANDOM, "--query-crop", crop).status == 0
    assert cli(*RANDOM, "--no-crop").status == 0
    records = [json.loads(p.read_text()) for p in workspace.records()]
    rules = {r["card"]["crop_rule"] for r in records}
    assert rules == {"box", "whole"}
    assert len({r["card_sha256"] for r in records}) == 3
    assert len({r["card"]["dataset"]["revision"] for r in records}) == 1
    for path in workspace.records():
        assert cli("verify", path).status == 0


def test_a_dry_run_says_what_would_be_done_and_does_nothing(workspace, cli) -> None:
    result = cli(*RANDOM, "--dry-run")
    assert result.status == 0
    assert re.search(r"database: 49 images, 49 to describe, [0-9.]+ kB stored", result.out)
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
    for path, record in zip(workspace.records(), records, strict=True):
        rows = record["card"]["dataset"]["database"]
        with np.load(path.with_name(record["ranks"]["file"])) as arrays:
            assert arrays["shortlist_row"].shape[1] in (rows, min(depth, rows))
        assert cli("verify", path).status == 0


def test_nothing_begins_where_one_of_the_runs_is_refused(workspace, cli) -> None:
    arguments = (*RANDOM, "--method", "random-unit.seed9", "--method", "no-such",
             "--dataset", "mini", "--dataset", "minny", "--limit", "3")  # fmt: skip
    for more in ((), ("--dry-run",)):
        result = cli(*arguments, *more)
        assert result.status == 1
        assert result.out == ""
        assert workspace.records() == []
        names = [re.search(r"'([^']+)'", line)[1] for line in result.errors]
        assert names == ["minny", "seed9", "no-such"], "each once, though six runs are refused"
        assert not list(workspace.cache.rglob("*.npy"))


def test_runs_that_are_planned_go_on_where_one_of_them_fails(workspace, cli, tiny: Path) -> None:
    (tiny / "jpg" / "003.png").write_bytes(b"no image")
    result = cli("run", "--method", tiny / "halves.py", "--method", "random-unit",
               "--dataset", tiny / "dataset.json", "--dataset", "mini")  # fmt: skip
    assert result.status == 1
    assert len(result.errors) == 2
    assert all("003.png" in line for line in result.errors)
    assert [p.parent.parent.name for p in workspace.records()] == ["mini", "mini"]


def test_one_network_at_a_time_is_in_memory(workspace, cli, tiny: Path, monkeypatch) -> None:
    """Two methods on two data sets: each is loaded to plan, and again where it has to describe."""
    loads, alive = [], weakref.WeakSet()
    genuine = loading.load

    def load(text: str, *rest: Any) -> Any:
        gc.collect()
        loads.append((text, len(alive)))
        loaded = genuine(text, *rest)
        alive.add(getattr(loaded.method.describe, "__self__", loaded.method.describe))
        return loaded

    monkeypatch.setattr(loading, "load", load)
    halves = str(tiny / "halves.py")
    two = ("--dataset", tiny / "dataset.json", "--dataset", "mini")
    assert cli("run", "--method", halves, *two).status == 0
    assert loads == [(halves, 0)]
    loads.clear()
    assert cli("run", "--method", halves, "--method", "random-unit", *two).status == 0
    assert {text for text, _ in loads} == {halves, "random-unit"}
    assert len(loads) <= 6
    assert {count for _, count in loads} == {0}, "the one before is gone when another is loaded"


def test_the_old_spelling_of_the_results_folder(workspace, cli) -> None:
    for place, option in (("one", "--results"), ("two", "--output")):
        folder = workspace.folder / place
        assert cli(*RANDOM, "--limit", "3", option, folder).status == 0
        assert len([*folder.glob("runs/*/*/*.json")]) == 1
    assert "--output" not in cli("run", "--help").out


def test_a_run_writes_nothing_into_the_checkout_or_the_home(workspace, process) -> None:
    home = workspace.folder / "home"
    home.mkdir()

    def listed() -> set[str]:
        return {str(p) for p in (ROOT / "results").rglob("*")}

    before = listed()
    text = process(*RANDOM, "--results", workspace.results, env={"HOME": str(home)})
    assert text.status == 0, text.err
    assert "Warning" not in text.err
    assert len(workspace.records()) == 1
    assert [p.name for p in home.iterdir()] == []
    assert listed() == before


# --- verify -------------------------------------------------------------------------------------


def test_verify_of_several_records_tells_all_and_fails_if_one_does(workspace, cli) -> None:
    assert cli(*RANDOM).status == 0
    path, _ = only(workspace.records())
    changed = workspace.folder / "changed.json"
    changed.write_text(path.read_text().replace('"mean": 0.', '"mean": 0.9', 1))
    result = cli("verify", path, changed, workspace.folder / "absent.json", path)
    assert result.status == 1
    assert result.out.count(": match") == 2
    assert len(result.errors) == 2
    assert "was changed after it was written" in result.errors[0]
    assert cli("verify", path).status == 0


# --- ends ---------------------------------------------------------------------------------------


def test_help_and_list_name_everything(cli) -> None:
    result = cli("--help")
    assert result.status == 0
    for verb in ("run", "list", "evaluate", "verify", "report", "doctor", "extract"):
        assert verb in result.out
        assert cli(verb, "--help").status == 0
    result = cli("list")
    assert result.status == 0
    assert {"random-unit", "mini"} < {line.split()[0] for line in result.out.splitlines() if line}
    result = cli("list", "random-unit", "mini")
    assert "random-unit.seed0: seed 0" in result.out
    assert re.search(r"^mini: Real photographs", result.out, re.MULTILINE)


def test_a_reader_that_stops_early_is_no_error(process, workspace) -> None:
    code = "import sys, subprocess; from bench.commands.main import main; sys.exit(main(['list']))"
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
         "--results", str(workspace.results)],
        cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout.readline() == "loading\n"
    time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; run the same command again to continue:\n  python -m bench run" in err
    assert "Traceback" not in err


def test_what_cannot_happen_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only errors of ours are sentences; a fault in the program shows where it is."""

    def fails(arguments: Any) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(listing, "COMMAND", Command(Nothing, fails))
    with pytest.raises(ZeroDivisionError):
        command_line.main(["list"])


# --- the last lines -----------------------------------------------------------------------------


def record_of(metrics: list[str], protocols: dict[str, list[float | None]], **more: Any) -> Any:
    """Return as much of a record as the last lines look at."""
    return {
        "card": {
            "dataset": {"name": "x"},
            "metrics": metrics,
            "limit": more.get("limit"),
            "compression": "none (float32)",
            "search": "exact",
        },
        "ties": {"labelled": 0, "largest_group": 1},
        "method": {"weights": {"trained": more.get("trained"), "source": more.get("source", "")}},
        "scores": {
            name: {m: {"mean": mean} for m, mean in zip(metrics, means, strict=True)}
            for name, means in protocols.items()
        },
    }


@pytest.mark.parametrize(
    ("content", "expected"),
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
            record_of([HEADLINE], {"p": [None]}),
            [">> x: not scored, because no query has a positive"],
        ),
        (
            record_of([HEADLINE], {"p": [0.1]}, trained=False, source="untrained", limit=5),
            [">> x: mAP p: 10.00 (untrained) (partial: first 5 images)"],
        ),
    ],
)
def test_the_last_lines(content, expected: list[str]) -> None:
    assert summary.lines(content) == expected


def test_wrong_options_are_one_sentence(cli, refused) -> None:
    assert "--metod" in refused(cli("run", "--metod", "gem"))
    assert "sideways" in refused(cli("run", "--method", "gem", "--query-crop", "sideways"))
    assert "--queries" in refused(cli("evaluate", "--dataset", "mini", "--database", "x.npy"))


def test_ties_are_said_before_the_scores(workspace, cli, small_file: Path) -> None:
    data = json.loads(small_file.read_text(encoding="utf-8"))
    rows = np.ones((len(data["database"]), 4), dtype=np.float32)
    np.save(workspace.folder / "same.npy", rows)
    np.save(workspace.folder / "q.npy", rows[: len(data["queries"])])
    result = cli(
        "evaluate", "--dataset", small_file, "--database", workspace.folder / "same.npy",
        "--queries", workspace.folder / "q.npy", "--results", workspace.folder / "out",
    )  # fmt: skip
    assert result.status == 0, result.err
    first, second = result.out.splitlines()[:2]
    assert re.match(rf"ties: \d+ labelled images .* at most {len(rows)} images share", first)
    assert second.startswith(">> ")
