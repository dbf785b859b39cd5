"""Several devices of one host, rehearsed with processes on this processor: `--device cpu,cpu`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bench
from bench.cluster import devices
from bench.commands.main import main
from bench.errors import BenchError
from tests.support import clusters
from tests.support.checkout import ROOT

IMAGES = 200  # seven shards
# The first process waits until another has begun, so that several describe, and files beside the
# images say what goes wrong.
MEETING = '''
import multiprocessing, signal

OTHER = multiprocessing.parent_process() is not None


def fail(name):
    """Tell whether this process is the first to meet a fault."""
    try:
        (HERE / name).unlink()
    except FileNotFoundError:
        return False
    return True


def meet():
    if OTHER:
        if fail("kill"):
            (HERE / "begun").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (HERE / "begun").touch()
    end = time.monotonic() + 300
    while not (HERE / "begun").exists() or (HERE / "kill").exists():
        assert time.monotonic() < end, "no other process has begun"
        time.sleep(0.05)


def load(variant, weights, device):
    if OTHER and fail("refuse"):
        raise ValueError("this card has too little memory")
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = clusters.pictures(tmp_path / "pictures", IMAGES)
    method = clusters.METHOD.replace("\n\ndef load(variant, weights, device):\n", MEETING)
    method = method.replace("def describe(batch):\n", "def describe(batch):\n        meet()\n")
    (folder / "halves.py").write_text(method.replace("FOLDER", str(folder)), encoding="utf-8")
    return folder


def command(folder: Path, *more: str) -> list[str]:
    return ["run", "--method", str(folder / "halves.py"), "--dataset",
            str(folder / "dataset.json"), "--measure", "none", *more]  # fmt: skip


def run(
    folder: Path, device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], dict[str, bytes], str]:
    """Return record, shards and notes of a run with a cache of its own."""
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(folder / f"cache {device}"))
    assert main(command(folder, "--device", device, "--results", str(folder / device))) == 0
    out, err = capsys.readouterr()
    path = Path(out.splitlines()[-1])
    return *kept(path, folder / f"cache {device}"), err


def from_python(
    folder: Path, device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], dict[str, bytes], str]:
    """Do the same in a script, which no process beside it may run again."""
    script = folder / "script.py"
    script.write_text(f"open({str(folder / 'again')!r}, 'w').close()", encoding="utf-8")
    program = ModuleType("__main__")
    program.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(folder / f"cache {device}"))
    made = bench.run(str(folder / "halves.py"), folder / "dataset.json", device=device,
                     measure="none", results=folder / device, progress=True)  # fmt: skip
    assert sys.modules["__main__"] is program
    assert not (folder / "again").exists()
    assert made.path is not None
    return *kept(made.path, folder / f"cache {device}"), capsys.readouterr().err


def kept(path: Path, cache: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a record, and the shards in the cache."""
    record = json.loads(path.read_text(encoding="utf-8"))
    shards = {file.name: file.read_bytes() for file in cache.rglob("shard-*.npy")}
    assert len(shards) == 7
    assert not list(cache.rglob("*.tmp")), "what a killed process had begun is gone"
    return record, shards


@pytest.mark.slow
def test_devices_share_the_shards_and_what_fails_costs_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One process describes beside the first; then one of two is refused, the other killed."""
    both, rows, err = from_python(place, "cpu,cpu", monkeypatch, capsys)
    nodes = both["machine"]["nodes"]
    assert [node["device"] for node in nodes] == ["cpu", "cpu"]
    assert all(node["shards"] >= 1 for node in nodes), "both described"
    assert sum(node["images"] for node in nodes) == IMAGES
    assert sum(node["shards"] for node in nodes) == 7
    assert "describe database (2 devices)" in err
    assert f"{IMAGES} images in" in err
    assert "is not used" not in err
    processes = {process for process, _ in clusters.described(place)}
    assert len(processes) == 2

    for name in ("kill", "refuse"):
        (place / name).touch()
    (place / "begun").unlink()
    left, again, err = run(place, "cpu,cpu,cpu", monkeypatch, capsys)
    sentences = [line for line in err.splitlines() if "is no longer used" in line]
    assert len(sentences) == 2, err
    assert sum("too little memory" in line for line in sentences) == 1
    assert sum(f"signal {signal.SIGKILL.value}" in line for line in sentences) == 1
    assert "Traceback" not in err
    assert again == rows
    assert left["scores"] == both["scores"]
    assert [node["workers"] for node in left["machine"]["nodes"]] == [1, 0, 0]
    assert left["machine"]["nodes"][0]["images"] == IMAGES


@pytest.mark.slow
def test_ctrl_c_ends_every_process(place: Path) -> None:
    (place / "slow").write_text("0.2", encoding="utf-8")
    environment = os.environ | {"RETRIEVAL_BENCH_CACHE": str(place / "cache")}
    arguments = command(place, "--device", "cpu,cpu", "--results", str(place / "results"))
    running = subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not (place / "begun").exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130, err
    assert out == ""
    assert "run the same command again" in err
    assert "Traceback" not in err
    for _ in range(100):
        try:
            os.killpg(running.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a process outlived the command")


def test_devices_that_cannot_fill_one_store_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.machine, "pick_device", lambda name: name)
    assert devices.several(None) == (None,)
    assert devices.several("cuda:1") == ("cuda:1",)
    assert devices.several("cuda:0,cuda:1") == ("cuda:0", "cuda:1")
    assert devices.several("cpu,cpu,cpu") == ("cpu",) * 3
    for text, what in {
        "cuda:0,cpu": "cpu and cuda",
        "cuda:1,cuda:1": "cuda:1 is named twice",
        "cuda,cuda:0": "cuda:0 is named twice",
    }.items():
        with pytest.raises(BenchError, match=what):
            devices.several(text)


def test_several_devices_and_a_cluster_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--method", "delg.lite0", "--device", "cpu,cpu", "--engine", "ray"]
    assert main(arguments) == 1
    assert "--device cpu,cpu" in capsys.readouterr().err
