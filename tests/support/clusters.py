"""What the tests of the engine ray share: a cluster on this machine, runs, and what they wrote."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from tests.support.checkout import ROOT

MISSING = importlib.util.find_spec("ray") is None
REASON = "needs the package ray, which is in the development group"
ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else not on the loopback address
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",  # else 15, too low to start beside other work
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}

METHOD = '''"""Means of the halves of an image; slower where a file beside the images says so."""
import os, time
from pathlib import Path
from types import SimpleNamespace
import torch

VARIANTS = {"plain": "as it is"}
HERE = Path("FOLDER")


def load(variant, weights, device):
    def describe(batch):
        for name in ("slow", f"slow-{os.getpid()}"):
            file = HERE / name
            time.sleep(float(file.read_text()) if file.exists() else 0)
        with (HERE / "count").open("a") as file:
            file.write(f"{os.getpid()} {len(batch)}\\n")
        halves = torch.cat([batch[..., :4].mean((2, 3)), batch[..., 4:].mean((2, 3))], 1)
        return halves + 0.5

    facts = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": False}
    return SimpleNamespace(version="1", config={}, weights=facts, dim=6, describe=describe,
                           preprocess={"mean": (0, 0, 0), "std": (255, 255, 255)})
'''


def pictures(folder: Path, count: int) -> Path:
    """Make a data set of tiny images, and a method; return the folder."""
    (folder / "jpg").mkdir(parents=True)
    draw = np.random.default_rng(count)
    files = [f"{i:05}.png" for i in range(count)]
    for file in files:
        pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "jpg" / file, compress_level=0)
    data = {
        "name": "pictures", "images": "jpg", "database": files,
        "queries": [{"file": file} for file in files[:5]],
        "protocols": {"p": [{"positive": [i, i + 50]} for i in range(5)]},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "halves.py").write_text(METHOD.replace("FOLDER", str(folder)), encoding="utf-8")
    return folder


def described(folder: Path) -> list[tuple[int, int]]:
    """Return (process, images) of every batch since the last call."""
    file = folder / "count"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return [(int(pid), int(count)) for pid, count in map(str.split, lines)]


class Raylets:
    """The program `raylets.py`, which is a cluster; `address` is where it is."""

    def __init__(self, cache: Path, nodes: int, store_mib: int = 100) -> None:
        """Start the head, which works not, and nodes of one processor each."""
        self.log = cache / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "support" / "raylets.py"), str(store_mib)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, **ENVIRONMENT, "RETRIEVAL_BENCH_CACHE": str(cache)},
            )  # fmt: skip
        self.address: str = self._answer()
        self.nodes = [self.add() for _ in range(nodes)]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"the cluster has ended: {self.log.read_text()[-2000:]}")
        return json.loads(line)

    def ask(self, line: str) -> Any:
        """Give a command; return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._answer()

    def add(self) -> int:
        """Add a node of one processor; return the pid of its raylet."""
        return int(self.ask("add 1"))

    def close(self) -> None:
        """End all nodes."""
        try:
            self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def start(
    place: Path,
    *arguments: object,
    before: Sequence[str] = (),
    log: IO[str] | None = None,
    program: Sequence[str] = ("-m", "bench"),
) -> subprocess.Popen[str]:
    """Start the command line with a cache and results of its own below `place`.

    `before` are the words of a command that starts it; standard error goes to `log` where given.
    """
    inputs = [str(argument) for argument in arguments]
    if inputs[0] == "run":
        inputs += ["--results", str(place / "results"), "--measure", "none"]
    place.mkdir(exist_ok=True)
    roots = {
        "RETRIEVAL_BENCH_CACHE": str(place / "cache"),
        "RETRIEVAL_BENCH_DATA": str(place / "data"),
    }
    return subprocess.Popen(
        [*before, sys.executable, *program, *inputs], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=log or subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT, **roots},
    )  # fmt: skip


def ended(
    running: subprocess.Popen[str], status: int = 0, patience_s: float = 600
) -> tuple[str, str]:
    """Wait for the end of a command; return what it said."""
    try:
        out, err = running.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        running.kill()
        raise
    assert running.returncode == status, err
    return out, err


def shards(place: Path) -> list[Path]:
    """Return the manifests of the shards that are there."""
    return sorted(place.glob("cache/*/*/shard-*.json"))


def until(holds: Callable[[], object], running: subprocess.Popen[str], patience: float) -> None:
    """Wait until something holds, while a command runs."""
    end = time.monotonic() + patience
    while not holds():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def gone(pid: int, patience: float = 60) -> None:
    """Wait until a process has ended."""
    end = time.monotonic() + patience
    while Path(f"/proc/{pid}/exe").exists():
        assert time.monotonic() < end, "it goes on"
        time.sleep(0.1)


def stored(place: Path) -> dict[str, str]:
    """Return the sha256 of every file of every store; there must be nothing half-written."""
    found = {}
    for path in sorted(place.glob("cache/*/*/*")) + sorted(place.glob("cache/*/*/.*")):
        assert path.suffix != ".tmp", path
        if path.suffix != ".lock" and path.name != "used":
            name = str(path.relative_to(place))
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def results(place: Path) -> dict[str, Any]:
    """Return card, scores and ranks of every record, by data set and method."""
    found = {}
    for path in sorted(place.glob("results/runs/*/*/*.json")):
        record = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz")) as arrays:
            ranks = {name: (arrays[name].shape, arrays[name].tobytes()) for name in arrays.files}
        same = {key: record[key] for key in ("card_sha256", "scores", "ties", "method")}
        found[str(path.parent.relative_to(place))] = same | {"ranks": ranks}
    return found


def record(place: Path, dataset: str = "*") -> dict[str, Any]:
    """Return the only record, or the only one of a data set."""
    (path,) = place.glob(f"results/runs/{dataset}/*/*.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def nodes(place: Path, dataset: str = "*") -> list[dict[str, Any]]:
    """Return the nodes of that record, the head, which has no processors, first."""
    listed: list[dict[str, Any]] = record(place, dataset)["machine"]["nodes"]
    return sorted(listed, key=lambda node: int(node["cores"]))  # Ray lists them in any order
