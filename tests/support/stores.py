"""A store that a process of its own fills, and what tests say of its content."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.store import shards
from tests.support.checkout import ROOT

KEY = {"code": 1, "images": [["a.jpg", None, "0"]], "method": {"name": "x"}}
SIZE = shards.rows_per_shard(1)
ROWS, DIM = 3 * SIZE + 10, 4

# Computes every missing shard of a store, slowly, and tells of each that it begins.
WORKER = f"""
import sys, time
from pathlib import Path
import numpy as np
from bench.store import shards
cache, seconds, log = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
kept = shards.open_store(cache, {KEY!r}, {ROWS}, {DIM})
shards.begin(kept, {KEY!r}, "images")
for shard in shards.claim(kept, shards.missing(kept)):
    with open(log, "a") as file:
        print(shard, file=file)
    time.sleep(seconds)
    first, end = kept.span(shard)
    rows = np.random.default_rng(shard).standard_normal((end - first, {DIM}))
    shards.write(kept, shard, rows.astype(np.float32))
"""


def worker(cache: Path, seconds: float, log: Path) -> subprocess.Popen[str]:
    """Start a process that fills the store."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(cache), str(seconds), str(log)],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> None:
    """Wait for a worker, which must succeed."""
    _, text = process.communicate(timeout=60)
    assert process.returncode == 0, text


def begun(log: Path) -> list[int]:
    """Return the shards that workers began, in order."""
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def opened(cache: Path) -> shards.Store:
    """Open the store of the workers."""
    kept = shards.open_store(cache, KEY, ROWS, DIM)
    shards.begin(kept, KEY, "images")
    return kept


def fill(kept: shards.Store) -> None:
    """Write every shard as the workers would."""
    for shard in kept.shards():
        first, end = kept.span(shard)
        rows = np.random.default_rng(shard).standard_normal((end - first, DIM))
        shards.write(kept, shard, rows.astype(np.float32))


def contents(kept: shards.Store) -> dict[str, bytes]:
    """Return the bytes of all shards and of what stands beside them."""
    return {
        path.name: path.read_bytes()
        for path in sorted(kept.folder.iterdir())
        if path.suffix in (".npy", ".json")
    }
