"""A million distractors through `evaluate`: time against the bare matrix product, and memory.

The data set has the shape of Revisited Oxford: 4,993 database images, 70 queries, about 98
labelled images each, three protocols. Run with `nox -s perf`; it writes 2 GB to a temporary folder.
With RETRIEVAL_BENCH_PERF_DIM=2048 it is the case of the largest published descriptors: 8 GB.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data import dataset_json
from bench.pipeline.brought import read
from bench.scoring import scores
from bench.search import exact
from bench.store.matrix import blocks
from tests.support.checkout import ROOT

DIM = int(os.environ.get("RETRIEVAL_BENCH_PERF_DIM", "512"))
DATABASE, QUERIES, DISTRACTORS = 4_993, 70, 1_001_001
ROUNDS = max(2, 2048 // DIM)
MOST_TIMES_THE_PRODUCT = 2.0 if DIM >= 2048 else 3.0  # counting weighs more where rows are short
MOST_BYTES = 1_000_000_000


def unit_rows(rng: np.random.Generator, count: int) -> np.ndarray:
    rows = rng.standard_normal((count, DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with db.npy, q.npy, r1m.npy and dataset.json."""
    place = tmp_path_factory.mktemp("million")
    rng = np.random.default_rng(0)
    np.save(place / "db.npy", unit_rows(rng, DATABASE))
    np.save(place / "q.npy", unit_rows(rng, QUERIES))
    shape = (DISTRACTORS, DIM)
    rows = np.lib.format.open_memmap(place / "r1m.npy", "w+", np.float32, shape)
    for low in range(0, DISTRACTORS, 65536):
        rows[low : low + 65536] = unit_rows(rng, min(65536, DISTRACTORS - low))
    rows.flush()
    del rows
    protocols: dict[str, list[Any]] = {"easy": [], "medium": [], "hard": []}
    for _ in range(QUERIES):
        drawn = rng.choice(DATABASE, 98, replace=False)
        easy, hard, junk = (sorted(part.tolist()) for part in np.split(drawn, [43, 79]))
        protocols["easy"].append({"positive": easy, "ignored": hard + junk})
        protocols["medium"].append({"positive": easy + hard, "ignored": junk})
        protocols["hard"].append({"positive": hard, "ignored": easy + junk})
    data = {
        "name": "oxford-shaped",
        "images": "jpg",
        "database": [f"{i}.jpg" for i in range(DATABASE)],
        "queries": [{"file": f"q{i}.jpg"} for i in range(QUERIES)],
        "protocols": protocols,
    }
    (place / "dataset.json").write_text(json.dumps(data), encoding="utf-8")
    return place


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_ranks_and_scores_against_the_bare_product(million: Path, benchmark: Any) -> None:
    parts = [read(million / "db.npy", "database"), read(million / "r1m.npy", "distractors")]
    queries = np.load(million / "q.npy")
    dataset = dataset_json.read(million / "dataset.json")

    def product() -> None:
        for _, rows in blocks(parts, 16384):
            queries @ rows.T

    def all_of_it() -> None:
        labelled = scores.labelled_rows(dataset.protocols)
        found = exact.search(parts, queries.astype(np.float64), labelled, 100)
        scores.score(found.ranks, dataset.protocols, DATABASE)

    timed(product)  # the file comes into the page cache
    pairs = [(timed(product), timed(all_of_it)) for _ in range(ROUNDS)]
    ratio = min(whole for _, whole in pairs) / min(bare for bare, _ in pairs)
    benchmark.extra_info["figure"] = f"exact ranks and E/M/H scores, 1,005,994 rows of {DIM}, files"
    benchmark.extra_info["reference"] = "reading and multiplying the same blocks, cached alike"
    benchmark.extra_info["times_the_reference"] = round(ratio, 2)
    benchmark.extra_info["at_most"] = MOST_TIMES_THE_PRODUCT
    benchmark.pedantic(all_of_it, rounds=1)
    assert ratio <= MOST_TIMES_THE_PRODUCT


def test_memory_of_the_command(million: Path, benchmark: Any, tmp_path: Path) -> None:
    def command() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bench", "evaluate", "--dataset", str(million / "dataset.json"),
             "--database", str(million / "db.npy"), "--queries", str(million / "q.npy"),
             "--distractors", str(million / "r1m.npy"), "--results", str(tmp_path)],
            cwd=ROOT, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.splitlines()[-1]

    record = json.loads(Path(benchmark.pedantic(command, rounds=1)).read_text(encoding="utf-8"))
    peak = record["memory"]["peak_resident_bytes"]
    benchmark.extra_info["figure"] = f"memory of `evaluate`, 1,005,994 rows of {DIM}"
    benchmark.extra_info["reference"] = "the descriptors' own bytes"
    benchmark.extra_info["times_the_reference"] = round(
        peak / (4 * DIM * (DATABASE + DISTRACTORS)), 3
    )
    benchmark.extra_info["peak_resident_bytes"] = peak
    assert peak < MOST_BYTES
