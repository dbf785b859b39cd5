"""A small world to break: images, a method, what a quiet run makes of them, and children.

A child is a fork of this process, in which everything is imported and nothing has run: it takes
some tens of milliseconds instead of the seconds of a new process, so that an hour has thousands.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGES, SIDE = 80, 8
MOST_ADDRESS_BYTES = 16 << 30
MOST_SECONDS = 90.0
METHOD = '''"""Mean colour of the halves of an image."""
from types import SimpleNamespace
import torch

VARIANTS = {"plain": "as it is"}


def load(variant, weights, device):
    def describe(batch):
        return torch.cat([batch[..., :4].mean((2, 3)), batch[..., 4:].mean((2, 3))], 1) + 0.5

    facts = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": False}
    return SimpleNamespace(version="1", config={}, weights=facts, dim=6, describe=describe,
                           preprocess={"mean": (0, 0, 0), "std": (255, 255, 255)})
'''


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its status (negative: the signal), what it said, its largest memory."""

    status: int
    out: str
    err: str
    seconds: float
    peak_bytes: int

    def faults(self, most_bytes: int | None = None) -> list[str]:
        """Return what no command may do, whatever it was given."""
        text, found = self.out + self.err, []
        for word in ("Traceback", "Exception ignored", "Segmentation", "Warning:"):
            if word in text:
                found.append(f"{word}: {self.err[-1500:]}")
        if self.status not in (0, 1, 130, -signal.SIGKILL):
            found.append(f"status {self.status}: {self.err[-500:]}")
        if self.status == 1 and "error: " not in self.err and "DIFFERS" not in text:
            marks = ("PROBLEM", "damaged", "FAILS", "WRONG")
            if not any(mark in text for mark in marks):
                found.append(f"status 1 without a sentence: {text[-300:]!r}")
        odd = {letter for letter in text if not letter.isprintable() and letter not in "\n\r\t"}
        if odd:
            found.append(f"control characters {sorted(odd)} reach the terminal")
        if self.seconds > MOST_SECONDS:
            found.append(f"no answer in {MOST_SECONDS:.0f} s")
        if most_bytes is not None and self.peak_bytes > most_bytes:
            found.append(f"{self.peak_bytes >> 20} MiB more than before")
        return found


@dataclass
class World:
    """Folders of one campaign; `reference` has the bytes that a quiet run gives, by name."""

    folder: Path
    draw: random.Random
    reference: dict[str, bytes] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    run_s: float = 1.0

    @property
    def town(self) -> Path:
        """Return the folder of the data set."""
        return self.folder / "town"

    @property
    def cache(self) -> Path:
        """Return the cache that is broken."""
        return self.folder / "cache"

    @property
    def results(self) -> Path:
        """Return the folder of records that is broken."""
        return self.folder / "results"

    def command(self, *more: str) -> list[str]:
        """Return a run of the method on the data set."""
        return ["run", "--method", str(self.town / "halves.py"), "--dataset", str(self.town),
                "--device", "cpu", "--measure", "none", "--results", str(self.results),
                *more]  # fmt: skip

    def kept(self) -> dict[str, bytes]:
        """Return the content of shards and codes, by name: what must be the same bytes."""
        return {
            path.relative_to(self.cache).as_posix(): path.read_bytes()
            for kind in ("descriptors", "compressed")
            for path in sorted((self.cache / kind).glob("*/*.npy"))
        }

    def records(self) -> list[Path]:
        """Return the records."""
        return sorted(self.results.glob("runs/*/*/*.json"))

    def clear(self) -> None:
        """Remove cache and results."""
        self.whole = set()
        shutil.rmtree(self.cache, ignore_errors=True)
        shutil.rmtree(self.results, ignore_errors=True)


def make(folder: Path, draw: random.Random) -> World:
    """Make the images, and let a quiet run describe and score them."""
    world = World(folder, draw)
    (world.town / "jpg").mkdir(parents=True)
    pixels = np.random.default_rng(draw.randrange(1 << 30))
    files = [f"{number:03}.png" for number in range(IMAGES)]
    for file in files:
        image = pixels.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(image).save(world.town / "jpg" / file)
    truth = [{"positive": [i, i + 20], "ignored": [i + 30]} for i in range(8)]
    data = {"name": "town", "images": "jpg", "database": files,
            "queries": [{"file": file} for file in files[:8]],
            "protocols": {"p": truth}}  # fmt: skip
    (world.town / "dataset.json").write_text(json.dumps(data), encoding="ascii")
    (world.town / "halves.py").write_text(METHOD, encoding="ascii")
    for name, rows in (("database", IMAGES), ("queries", 8)):
        np.save(world.town / f"{name}.npy", pixels.standard_normal((rows, 6)).astype(np.float32))
    done = run(world, world.command("--compression", "pq2x4"))
    assert done.status == 0, done.err
    world.run_s = done.seconds
    world.reference = world.kept()
    return world


def start(
    world: World, arguments: list[str], log: Path, before: Callable[[], None] | None = None
) -> int:
    """Start a command in a child; return its number. `before` is called in it first."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        _become(world, log)
        if before is not None:
            before()
        from bench.commands.main import main

        status = main(arguments)
    except SystemExit as error:
        status = int(error.code or 0) if isinstance(error.code, int | None) else 1
    except BaseException:  # noqa: BLE001 - a traceback is what is looked for
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _become(world: World, log: Path) -> None:
    """Make this child a process of its own: its folders, its output, its bounds."""
    gc.disable()
    os.environ["RETRIEVAL_BENCH_CACHE"] = str(world.cache)
    os.environ["RETRIEVAL_BENCH_DATA"] = str(world.folder / "data")
    for number, name in ((1, ".out"), (2, ".err")):
        content = os.open(f"{log}{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(content, number)
        os.close(content)
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        setattr(sys, name, file)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_BYTES, MOST_ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def wait(child: int, log: Path, since: float, kill_at: float | None = None) -> Outcome:
    """Wait for a child, and kill it `kill_at` seconds after `since`, or when it hangs."""
    limit = since + (MOST_SECONDS if kill_at is None else kill_at)
    peak = 0
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() >= limit:
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.002)
    peak = 1024 * usage.ru_maxrss
    own = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = [Path(f"{log}{end}") for end in (".out", ".err")]
    lines = [t.read_text(encoding="utf-8", errors="backslashreplace") if t.exists() else ""
            for t in text]  # fmt: skip
    code = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - since
    if kill_at is not None:
        seconds = min(seconds, MOST_SECONDS)
    return Outcome(code, lines[0], lines[1], seconds, max(0, peak - own))


def run(
    world: World,
    arguments: list[str],
    kill_at: float | None = None,
    before: Callable[[], None] | None = None,
) -> Outcome:
    """Run a command in a child to its end, or kill it."""
    log, since = world.folder / "log", time.monotonic()
    return wait(start(world, arguments, log, before), log, since, kill_at)


def ask(world: World, question: Callable[[], Any]) -> Any:
    """Return what a function gives in a child; this process stays as it is."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _become(world, world.folder / "question")
            answer = question()
        except BaseException:  # noqa: BLE001 - it is told
            answer = RuntimeError(traceback.format_exc())
        with open(write, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        content = file.read()
    os.waitpid(child, 0)
    answer = pickle.loads(content)
    if isinstance(answer, RuntimeError):
        raise answer
    return answer


def imported_by(world: World, arguments: list[str]) -> list[str]:
    """Return the modules that a command imports in a child and that are not imported here."""

    def look() -> list[str]:
        from bench.commands.main import main

        before = set(sys.modules)
        with contextlib.suppress(SystemExit):
            main(arguments)
        return [name for name in sys.modules if name not in before]

    found: list[str] = ask(world, look)
    return found
