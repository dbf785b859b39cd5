"""The doctor: nothing wrong here; what is broken is WRONG, what is merely absent is not."""

from __future__ import annotations

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import datasets, methods
from bench.commands import doctor
from bench.scoring import known_answers, metrics

pytestmark = pytest.mark.slow


def lines(out: str, start: str) -> list[str]:
    """Return the lines of a state."""
    return [line for line in out.splitlines() if line.strip().startswith(start)]


@pytest.fixture
def no_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the methods out, which take their time to import."""
    monkeypatch.setattr(doctor, "_methods", list)


def test_nothing_is_wrong_here_without_data_gpu_or_network(workspace, process) -> None:
    text = process("doctor")
    assert text.status == 0, text.out
    assert text.err == ""
    assert text.out.splitlines()[-1] == "nothing is wrong"
    assert lines(text.out, "WRONG") == []
    ok = {tuple(line.split()[1:3]) for line in lines(text.out, "ok")}
    count = len(methods.names())
    assert {("metrics", "5"), ("mini", "64"), ("methods", str(count))} < ok
    assert ("RETRIEVAL_BENCH_CACHE", f"{workspace.cache},") in ok
    (note,) = lines(text.out, "note")
    assert f" {len(datasets.names()) - 1} are absent" in note
    assert note.endswith("-> doctor --data")
    assert max(map(len, text.out.splitlines())) < 150, "a line each"
    assert [path.name for path in workspace.cache.iterdir()] == ["torch.json"], (
        "facts of this machine"
    )
    assert not workspace.data.exists()


@pytest.mark.usefixtures("no_methods")
def test_genuine_ground_truth_gives_the_golden_scores(
    cli, shared: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(shared("data")))
    result = cli("doctor", "--data")
    assert result.status == 0
    for name in known_answers.PERMUTATION:
        assert re.search(rf"ok  {name} +ground truth reproduces all known scores", result.out)
    assert re.search(
        r"note  roxford5k +0 of 5063 images -> .*`evaluate` needs no photographs", result.out
    )
    assert re.search(r"note  gldv2 .*retrieval_solution_v2.1.csv.*`data get gldv2`", result.out)


@pytest.mark.usefixtures("no_methods")
def test_changed_ground_truth_is_wrong(workspace, cli, shared: Callable[[str], Path]) -> None:
    genuine = shared("data/roxford5k/gnd_roxford5k.pkl")
    content = pickle.loads(genuine.read_bytes())
    content["gnd"][0]["easy"] = content["gnd"][0]["easy"][1:]
    path = workspace.data / "roxford5k" / genuine.name
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content))
    result = cli("doctor")
    assert result.status == 1
    (line,) = lines(result.out, "WRONG")
    assert re.fullmatch(
        "WRONG  roxford5k +revisited, ground truth with another sha256 "
        "-> download the ground truth again", line,
    )  # fmt: skip
    assert result.out.splitlines()[-1] == "1 wrong"
    shutil.copy(genuine, path)
    assert cli("doctor").status == 0


@pytest.mark.usefixtures("no_methods")
@pytest.mark.parametrize("function", ["ap_trapezoid", "precision_at_k_clipped", "recall_at_k"])
def test_a_metric_that_is_off_is_wrong(cli, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    genuine = getattr(metrics, function)

    def off(*arguments: Any) -> float:
        return 0.5 * genuine(*arguments) + 0.25

    monkeypatch.setattr(metrics, function, off)
    if function == "ap_trapezoid":
        table = metrics._FAMILIES
        row = table["map.trapezoid.junk-removed"](0)
        changed = metrics.Metric(row.id, row.label, row.unit, row.formula, row.source, off)
        monkeypatch.setitem(table, row.id, lambda _: changed)
    result = cli("doctor")
    assert result.status == 1
    line = lines(result.out, "WRONG")[0]
    assert line.startswith("WRONG  metrics ")
    assert "-> do not use scores of this installation" in line
    if function != "recall_at_k":  # the golden scores have none
        assert re.search("WRONG  mini +golden scores: ", result.out)


@pytest.mark.usefixtures("no_methods")
def test_golden_scores_that_are_off_are_wrong(
    cli, shared: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(shared("data")))
    table = {**known_answers.PERMUTATION["rparis6k"], "easy": (1.0, 1.0, 1.0, 1.0)}
    monkeypatch.setitem(known_answers.PERMUTATION, "rparis6k", table)
    result = cli("doctor")
    assert result.status == 1
    fault = "golden scores: easy map.trapezoid.junk-removed: 1.716221, not 1.0"
    assert re.search(f"rparis6k +{fault}", result.out)


@pytest.mark.usefixtures("no_methods")
def test_a_cache_that_cannot_be_written_is_wrong(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    result = cli("doctor")
    assert result.status == 1
    (line,) = lines(result.out, "WRONG")
    assert "RETRIEVAL_BENCH_CACHE" in line
    assert "not writable" in line


@pytest.mark.usefixtures("no_methods")
def test_little_room_is_a_note(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_FREE_BYTES", 1 << 80)
    result = cli("doctor")
    assert result.status == 0
    assert "-> set RETRIEVAL_BENCH_CACHE to a folder on a disk with more free space" in result.out


@pytest.mark.usefixtures("no_methods")
def test_a_library_that_does_not_load_is_wrong(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = doctor.importlib.import_module

    def broken(name: str, *arguments: Any) -> Any:
        if name == "faiss":
            raise ImportError("libfaiss.so: cannot open shared object file")
        return genuine(name, *arguments)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    result = cli("doctor")
    assert result.status == 1
    assert re.search("WRONG  faiss +libfaiss.so: cannot open shared object file", result.out)


def test_a_broken_method_is_wrong(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [methods.Entry("good", "d"), methods.Entry("bad", "", error="the method 'bad' is b.")]
    monkeypatch.setattr(methods, "entries", lambda: entries)
    result = cli("doctor")
    assert result.status == 1
    (line,) = lines(result.out, "WRONG")
    assert line.split(maxsplit=2)[1:] == [
        "bad",
        "the method 'bad' is b. -> fix or remove the plug-in",
    ]
    assert re.search("ok  methods +1 ", result.out)
