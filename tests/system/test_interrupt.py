"""Ctrl-C and SIGTERM: soon, status 130, a word on how to go on; sent to real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow

# Methods that are busy in their own ways while the first batch computes.
BUSY = {
    "in one long call": ("import torch", "torch.ones(6000, 6000) @ torch.ones(6000, 6000)"),
    "waiting for a thread": (
        "from concurrent.futures import ThreadPoolExecutor",
        """
        with ThreadPoolExecutor(1) as pool:
            list(pool.map(time.sleep, [60]))""",
    ),
    "waiting for a worker process": (
        "import multiprocessing",
        """
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.map(time.sleep, [60])""",
    ),
    "swallowing the interruption": (
        "import time",
        """
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass""",
    ),
}
METHOD = '''"""Busy."""
import time
from types import SimpleNamespace
{imports}
VARIANTS = {{"x": "x"}}


def load(variant, weights, device):
    def describe(batch):
        print("busy", flush=True)
        {busy}

    facts = {{"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": False}}
    return SimpleNamespace(version="1", config={{}}, weights=facts, dim=6, describe=describe,
                           preprocess={{}})
'''


def begun(workspace, *arguments: object) -> subprocess.Popen[str]:
    """Start `run` and return it when the method is busy."""
    running = subprocess.Popen(
        [sys.executable, "-m", "bench", "run", "--device", "cpu", "--results",
         str(workspace.results), *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "busy\n"
    return running


def stopped(running: subprocess.Popen[str], number: int, group: bool) -> tuple[float, str]:
    """Send a signal and return the seconds until the process is gone, and what it said."""
    time.sleep(0.2)
    start = time.monotonic()
    if group:  # as a terminal does
        os.killpg(running.pid, number)
    else:
        running.send_signal(number)
    _, err = running.communicate(timeout=60)
    return time.monotonic() - start, err


@pytest.mark.parametrize(
    ("how", "number", "group"),
    [
        *((how, signal.SIGINT, True) for how in BUSY),
        ("waiting for a worker process", signal.SIGTERM, False),
    ],
)
def test_it_stops_within_two_seconds(workspace, tmp_path: Path, how, number, group) -> None:
    method = tmp_path / "busy.py"
    imports, busy = BUSY[how]
    method.write_text(METHOD.format(imports=imports, busy=busy))
    running = begun(workspace, "--method", method)
    seconds, err = stopped(running, number, group)
    assert running.returncode == 130
    assert seconds < 5, "two, and what a loaded machine needs"
    assert err.count("stopped; run the same command again to continue:") == 1
    line = f"--device cpu --results {workspace.results} --method {method}"
    assert f"python -m bench run {line}" in err
    assert "Traceback" not in err
    assert is_gone(running.pid)  # no worker is left behind


def is_gone(group: int, seconds: float = 10.0) -> bool:
    """Tell whether a group of processes ends soon; who ends them may be slow on a busy machine."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_what_was_finished_is_kept(workspace, cli, tiny: Path, described) -> None:
    (tiny / "slow").write_text("0.02")
    source = (tiny / "halves.py").read_text()
    text = 'print("busy", flush=True)\n        slow = '
    (tiny / "loud.py").write_text(source.replace("slow = ", text, 1))
    arguments = ("--method", tiny / "loud.py", "--dataset", tiny)
    running = begun(workspace, *arguments)
    end = time.monotonic() + 60
    while len(list(workspace.cache.rglob("shard-*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    _, err = stopped(running, signal.SIGINT, group=True)
    assert running.returncode == 130, err
    done = len(list(workspace.cache.rglob("shard-*.json")))
    assert 2 <= done < 19
    (tiny / "slow").unlink()
    described()
    assert cli("run", *arguments, "--device", "cpu").status == 0
    assert described() == 605 - 32 * done
