"""The engine ray on one machine: 1 and 2 workers, what a shard costs besides, what is sent.

Rows are made as they are read (`simulated.py`): RETRIEVAL_BENCH_PERF_ROWS says how many, 2,000,000
where it is not set. In a network namespace of its own (`unshare -n`, loopback up) the bytes are
those of Ray alone. Figures are ratios; what is asserted is that memory does not grow. Core seconds
are those of driver and workers, which other work on the machine changes less than seconds.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.perf.simulated import on_the_wire
from tests.support import clusters
from tests.support.checkout import ROOT

pytestmark = pytest.mark.skipif(clusters.MISSING, reason=clusters.REASON)

ROWS = int(os.environ.get("RETRIEVAL_BENCH_PERF_ROWS", "2000000"))
FEW, ROUNDS = 1_048_576, 3
SHARDS, PER_SHARD = 64, 32
MOST_GROWTH = 1.15
STORE_MIB = 1024  # an eighth of it is the most that a piece of the search has


@pytest.fixture(scope="module")
def raylets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Raylets]:
    started = clusters.Raylets(tmp_path_factory.mktemp("workers"), 1, STORE_MIB)
    yield started
    started.close()


def simulate(place: Path, where: str, rows: int, raylets: list[int]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        program = ["tests/perf/simulated.py"]
        running = clusters.start(place, where, rows, *raylets, program=program)
        out, _ = clusters.ended(running, patience_s=7200)
    (line,) = [line for line in out.splitlines() if line.startswith("{")]  # Ray prints there too
    found: dict[str, Any] = json.loads(line)
    return found


def core_ms(some: list[dict[str, Any]], pieces: int | None = None) -> float:
    """Return the least time on processors that a piece took in one of some runs."""
    return round(min(1e3 * run["core_seconds"] / (pieces or run["pieces"]) for run in some), 1)


def describing(place: Path, pictures: Path, *on: object) -> dict[str, float]:
    """Return seconds from the first shard of the database to the last, and the bytes of the run."""
    before = on_the_wire()
    clusters.ended(
        clusters.start(place, "run", "--method", pictures / "halves.py", "--dataset", pictures, *on)
    )
    sent = on_the_wire() - before
    times = [path.stat().st_mtime for path in clusters.shards(place)]
    times = sorted(times)[:SHARDS]  # one more is of the queries, and the last
    assert len(times) == SHARDS
    return {"seconds": times[-1] - times[0], "bytes": sent}


def test_one_and_two_workers(raylets: clusters.Raylets, tmp_path: Path, benchmark: Any) -> None:
    """Search first by one worker, then by two: a change of load between the two moves the ratio."""
    taken: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    here = [simulate(tmp_path, "local", FEW, []) for _ in range(ROUNDS)]
    for workers, results in taken.items():
        if workers == 2:
            raylets.nodes.append(raylets.add())
        for _ in range(ROUNDS):
            results.append(simulate(tmp_path, raylets.address, FEW, raylets.nodes))
    for item in [*taken[1], *taken[2]]:
        assert (item["ranks"], item["best"]) == (here[0]["ranks"], here[0]["best"])
    alone, first, second = (min(r["seconds"] for r in some) for some in (here, taken[1], taken[2]))
    pieces = taken[2][0]["pieces"]
    benchmark.extra_info |= {
        "figure": f"search of {FEW:,} rows of 512 by 2 workers",
        "reference": "by 1 worker",
        "times_the_reference": round(second / first, 2),
        "worker_against_one_process": round(first / alone, 2),
        "pieces": pieces,
        "core_ms_per_piece_by_1_worker": core_ms(taken[1]),
        "core_ms_per_piece_by_2_workers": core_ms(taken[2]),
        "core_ms_per_piece_of_one_process": core_ms(here, pieces),
        "bytes_per_answer": int(statistics.median(taken[2][0]["answer_bytes"])),
        "loopback_bytes_per_piece": taken[2][0]["loopback_bytes"] // pieces,
    }
    benchmark.pedantic(lambda: None, rounds=1)


def test_memory_is_flat(raylets: clusters.Raylets, tmp_path: Path, benchmark: Any) -> None:
    while len(raylets.nodes) < 2:
        raylets.nodes.append(raylets.add())
    found = simulate(tmp_path, raylets.address, ROWS, raylets.nodes)
    driver, worker = found["driver_bytes"], found["worker_bytes"]
    third = len(driver) // 3
    growth = max(max(some[-third:]) / max(some[third : 2 * third]) for some in (driver, worker))
    seconds, pieces = found["seconds"], found["pieces"]
    benchmark.extra_info |= {
        "figure": f"memory of a search of {ROWS:,} rows of 512, last third of the time",
        "reference": "the third before",
        "times_the_reference": round(growth, 3),
        "at_most": MOST_GROWTH,
        "most_bytes_of_the_driver": max(driver),
        "most_bytes_of_a_worker": max(worker),
        "workers": len(raylets.nodes),
        "seconds": round(seconds, 1),
        "pieces": pieces,
        "ms_per_piece": round(1e3 * seconds / pieces, 1),
        "core_ms_per_piece": core_ms([found]),
        "loopback_bytes_per_piece": found["loopback_bytes"] // pieces,
    }
    benchmark.pedantic(lambda: None, rounds=1)
    assert growth <= MOST_GROWTH


def test_what_a_shard_costs_besides(
    raylets: clusters.Raylets, tmp_path: Path, benchmark: Any
) -> None:
    """Images so small that describing them takes nothing."""
    pictures = clusters.pictures(tmp_path / "pictures", SHARDS * PER_SHARD)
    on = ["--engine", "ray", "--ray-address", raylets.address]
    pairs = []
    for i in range(ROUNDS):
        alone = describing(tmp_path / f"here{i}", pictures)
        pairs.append((alone, describing(tmp_path / f"there{i}", pictures, *on)))
    here = min(item["seconds"] for item, _ in pairs)
    there = min(item["seconds"] for _, item in pairs)
    sent = min(item["bytes"] for _, item in pairs)
    per_shard = [1e3 * seconds / (SHARDS - 1) for seconds in (here, there)]
    benchmark.extra_info |= {
        "figure": f"describing {SHARDS} shards of {PER_SHARD} images of 8 x 8 pixels, engine ray",
        "reference": "engine local",
        "times_the_reference": round(there / here, 2),
        "workers": len(raylets.nodes),
        "ms_per_shard_of_one_process": round(per_shard[0], 1),
        "ms_per_shard": round(per_shard[1], 1),
        "loopback_bytes_of_the_run": int(sent),
    }
    benchmark.pedantic(lambda: None, rounds=1)
