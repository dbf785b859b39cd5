"""Searches on a cluster, compared with those of one process: a program for tests.

`python searching.py ADDRESS FOLDER SCENARIO...` prints a line of JSON for each scenario. Functions
of this file travel to the workers, which do not have it, because it is the main program.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.cluster import connect
from bench.cluster import search as cluster
from bench.search import exact
from bench.store.matrix import Matrix, from_array

DIM, ROWS, PER_FILE = 16, 12_000, 1_000


def drawn() -> tuple[Any, Any, list[Any]]:
    """Return rows, queries and labels; every row stands at three places, thousands apart."""
    draw = np.random.default_rng(0)
    rows = np.tile(draw.standard_normal((ROWS // 3, DIM)).astype(np.float32), (3, 1))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = draw.standard_normal((9, DIM))
    labels = [np.sort(draw.choice(ROWS, 40, replace=False)) for _ in queries]
    labels[0] = np.array([5, 4_005, 8_005])
    labels[1] = np.empty(0, dtype=np.int64)
    return rows, queries, labels


def differences(first: exact.Found, other: exact.Found) -> list[str]:
    """Return the names of what is not the same to the last bit."""
    pairs = [(first.ranks, other.ranks), (first.shortlist, other.shortlist)]
    names = [("offsets", "row", "rank", "score", "tied"), ("row", "score")]
    return [
        name
        for (a, b), some in zip(pairs, names, strict=True)
        for name in some
        if getattr(a, name).tobytes() != getattr(b, name).tobytes()
    ] + (["norms"] if first.norms != other.norms else [])


def plain(folder: Path, driver: int, table: Any, codes: Any) -> Any:
    """Return the rows that codes (n, 1) name; a worker leaves a mark of its node."""
    if os.getpid() != driver:
        (folder / f"seen-{os.getppid()}").touch()
    return table[codes[:, 0]]


def deadly(folder: Path, driver: int, table: Any, codes: Any) -> Any:
    """Do so, but end the first worker, in the middle of its piece."""
    if os.getpid() != driver and len(codes) > 100:
        try:
            (folder / "killed").touch(exist_ok=False)
        except FileExistsError:
            return plain(folder, driver, table, codes)
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(folder, driver, table, codes)


def patient(folder: Path, driver: int, table: Any, codes: Any) -> Any:
    """Do so, but on a worker wait until somebody says go."""
    rows = plain(folder, driver, table, codes)
    while os.getpid() != driver and not (folder / "go").exists():
        time.sleep(0.05)
    return rows


def welcoming(folder: Path, driver: int, table: Any, codes: Any) -> Any:
    """Do so, but on a worker wait up to a minute for the node that the file `wanted` names."""
    rows = plain(folder, driver, table, codes)
    wanted = (folder / "wanted").read_text(encoding="ascii")
    for _ in range(1200):
        if os.getpid() == driver or (folder / f"seen-{wanted}").exists():
            break
        time.sleep(0.05)
    return rows


def blind(shared: Any, piece: cluster.Piece, lasts: Any) -> Any:
    """Count as on a machine that has none of the files."""
    gone = tuple((path.with_name("gone.npy"), *rest) for path, *rest in piece.files)
    return cluster._count(shared, replace(piece, files=gone), lasts)


def parts_of(scenario: str, folder: Path, rows: Any) -> list[Matrix]:
    """Return the database as the scenario has it."""
    if scenario == "memory":
        return [from_array(rows[:7_777], "database"), from_array(rows[7_777:], "distractors")]
    decodes = {"codes": plain, "worker": deadly, "node": patient, "newcomer": welcoming}
    decode = partial(decodes[scenario], folder, os.getpid(), rows) if scenario in decodes else None
    parts = []
    for low in range(0, ROWS, PER_FILE):
        stored = rows[low : low + PER_FILE]
        if decode is not None:
            stored = np.arange(low, low + PER_FILE, dtype=np.uint16)[:, None]
        path = folder / f"{scenario}-{low:05}.npy"
        np.save(path, stored)
        parts.append(Matrix(path.name, (PER_FILE, DIM), path=path, decode=decode))
    return parts


def main(address: str, folder: Path, scenarios: list[str]) -> None:
    """Do the scenarios one after another on one connection."""
    rows, queries, labels = drawn()
    whole = exact.search([from_array(rows, "all")], queries, labels, 30)
    with connect.engine("ray", address) as ray:
        for scenario in scenarios:
            done: list[int] = []
            parts = parts_of(scenario, folder, rows)
            count = cluster._count if scenario != "hidden" else blind
            found = exact.search(
                parts, queries, labels, 30, advance=done.append, threads=1,
                hand_out=cluster.over(ray, count),
            )  # fmt: skip
            nodes = sorted(int(path.name[5:]) for path in folder.glob("seen-*"))
            texts = {
                "scenario": scenario,
                "different": differences(whole, found),
                "pieces": len(done),
                "rows": sum(done),
                "nodes": nodes,
            }
            print(json.dumps(texts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
