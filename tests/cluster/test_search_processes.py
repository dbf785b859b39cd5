"""Search on a cluster of two raylets: the bits of one process, whatever dies. See searching.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import clusters
from tests.support.checkout import ROOT

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(clusters.MISSING, reason=clusters.REASON),
]


@pytest.fixture(scope="module")
def raylets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Raylets]:
    started = clusters.Raylets(tmp_path_factory.mktemp("workers"), 2)
    yield started
    started.close()


def start(place: Path, raylets: clusters.Raylets, *scenarios: str) -> subprocess.Popen[str]:
    """Start the program, whose modules are those of the checkout."""
    environment = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{environment}")
        return clusters.start(
            place, raylets.address, place, *scenarios, program=["tests/support/searching.py"]
        )


def outcome(running: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, err = clusters.ended(running)
    ours = [line for line in out.splitlines() if line.startswith("{")]  # Ray prints there too
    lines = [json.loads(line) for line in ours]
    return {line["scenario"]: line for line in lines}, err


def test_the_cluster_finds_what_one_process_finds(
    raylets: clusters.Raylets, tmp_path: Path
) -> None:
    """Ties across pieces, distractors, rows in memory, files, codes, and a worker that dies."""
    found, err = outcome(start(tmp_path, raylets, "memory", "files", "hidden", "codes", "worker"))
    assert set(found) == {"memory", "files", "hidden", "codes", "worker"}
    for line in found.values():
        assert line["different"] == []
        assert line["rows"] == 12_000
        assert line["pieces"] >= 8
    assert (tmp_path / "killed").exists()
    assert set(found["codes"]["nodes"]) == set(raylets.nodes), "both nodes took part"
    assert err.count("rows are sent to them") == 1, "of the files that workers do not see"


def test_a_node_that_dies_and_one_that_comes(raylets: clusters.Raylets, tmp_path: Path) -> None:
    running = start(tmp_path, raylets, "node", "newcomer")
    try:
        clusters.until(lambda: len(list(tmp_path.glob("seen-*"))) == 2, running, 300)
        lost = raylets.nodes.pop()
        raylets.ask(f"kill {lost}")
        raylets.nodes.append(raylets.add())
        (tmp_path / "wanted").write_text(str(raylets.nodes[-1]), encoding="ascii")
    finally:
        (tmp_path / "go").touch()
    found, _ = outcome(running)
    for line in found.values():
        assert line["different"] == []
        assert line["rows"] == 12_000
    assert raylets.nodes[-1] in found["newcomer"]["nodes"], "the new one took part"


def test_a_search_ends_where_the_head_is_lost(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    own = clusters.Raylets(tmp_path / "workers", 1)
    try:
        running = start(tmp_path, own, "node")
        clusters.until(lambda: list(tmp_path.glob("seen-*")), running, 300)
        os.kill(own.ask("head 0"), signal.SIGKILL)
        _, err = clusters.ended(running, status=1)
    finally:
        own.close()
    assert f"error: the head of the cluster at {own.address} no longer answers" in err


def test_a_run_with_distractors_scores_alike(raylets: clusters.Raylets, tmp_path: Path) -> None:
    pictures = clusters.pictures(tmp_path / "some", 300)
    others = clusters.pictures(tmp_path / "others", 90)
    content = json.loads((others / "dataset.json").read_text())
    content |= {"name": "others", "queries": [], "protocols": {}}
    (others / "dataset.json").write_text(json.dumps(content))
    for file in (others / "jpg").iterdir():
        file.rename(file.with_name(f"o{file.name}"))
    content["database"] = [f"o{name}" for name in content["database"]]
    (others / "dataset.json").write_text(json.dumps(content))
    run = ["run", "--method", pictures / "halves.py", "--dataset", pictures, "--distractors",
           others / "dataset.json", "--compression", "pq2x4"]  # fmt: skip
    clusters.ended(clusters.start(tmp_path / "here", *run))
    on = ["--engine", "ray", "--ray-address", raylets.address]
    clusters.ended(clusters.start(tmp_path / "there", *run, *on))
    assert clusters.results(tmp_path / "here") == clusters.results(tmp_path / "there")
    assert clusters.record(tmp_path / "there")["card"]["distractors"]["count"] == 90
