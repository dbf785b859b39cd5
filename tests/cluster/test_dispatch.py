"""Extraction on a cluster of several raylets: the bytes of the local engine, whatever dies.

Two of these tests are in the normal suite; `nox -s cluster` runs the others, and repeats that of
deaths at random moments, as often as RETRIEVAL_BENCH_KILLS says (default: 4).
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clusters

# Raylets, runs and what they wrote are in tests/support/clusters.py.
pytestmark = pytest.mark.skipif(clusters.MISSING, reason=clusters.REASON)

IMAGES = 2000
SHARDS = 63 + 1  # of 32 images; the last is of the queries
KILLS = int(os.environ.get("RETRIEVAL_BENCH_KILLS", "4"))
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.cluster) for seed in range(1, KILLS + 1))]


@pytest.fixture(scope="module")
def raylets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Raylets]:
    started = clusters.Raylets(tmp_path_factory.mktemp("workers"), 2)
    yield started
    started.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clusters.pictures(tmp_path_factory.mktemp("set") / "pictures", IMAGES)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Return where the local engine has described everything."""
    place = tmp_path_factory.mktemp("local")
    clusters.ended(clusters.start(place, *command(pictures)))
    clusters.described(pictures)
    return place


def command(pictures: Path) -> list[object]:
    return ["run", "--method", pictures / "halves.py", "--dataset", pictures, "--dataset", "mini"]


def on(raylets: clusters.Raylets) -> list[str]:
    return ["--engine", "ray", "--ray-address", raylets.address]


@pytest.mark.slow
def test_bytes_ranks_and_scores_are_those_of_the_local_engine(
    raylets: clusters.Raylets, pictures: Path, local: Path, tmp_path: Path
) -> None:
    out, err = clusters.ended(clusters.start(tmp_path, *command(pictures), *on(raylets)))
    assert clusters.stored(tmp_path) == clusters.stored(local)
    assert clusters.results(tmp_path) == clusters.results(local)
    assert len(clusters.results(local)) == 2
    assert sum(images for _, images in clusters.described(pictures)) >= IMAGES
    usual = ("describe ", "search: ", "to describe: ", "pictures: 5 queries are also in ")
    lines = [line for line in err.splitlines() if not line.startswith(usual)]
    assert lines == [], "as quiet as the local engine"
    assert out.count(">> pictures: ") == 2
    head, *nodes = [node for node in clusters.nodes(tmp_path, "pictures") if not node["lost"]]
    assert (head["cores"], head["workers"], head["shards"]) == (0, 0, 0)
    assert len(nodes) == 2
    assert sum(node["images"] for node in nodes) == IMAGES  # queries are images of the database
    assert sum(node["shards"] for node in nodes) == SHARDS - 1  # that of the queries is copied
    for node in nodes:
        assert (node["cores"], node["refused"], node["fetched_bytes"]) == (1, None, 0)
        if node["shards"]:
            assert (node["device"], node["precision"], node["workers"]) == ("cpu", "float32", 1)
            assert node["images_per_s"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages", [["aqe:3,alpha=1"], ["fuse:gem.untrained", "dba:3,alpha=1", "int8", "rescore:9"]]
)
def test_stages_search_on_the_cluster_as_here(
    raylets: clusters.Raylets, pictures: Path, local: Path, tmp_path: Path, stages: list[str]
) -> None:
    run = ["run", "--method", "random-unit", "--limit", "40"]
    run += [word for stage in stages for word in ("--stage", stage)]
    for place, where in (("here", []), ("there", on(raylets))):
        clusters.ended(clusters.start(tmp_path / place, *run, *where))
    assert len(clusters.results(tmp_path / "here")) == 1
    assert clusters.results(tmp_path / "here") == clusters.results(tmp_path / "there")


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_workers_nodes_and_the_driver_may_die_at_any_time(
    raylets: clusters.Raylets, pictures: Path, local: Path, tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    moments = sorted(draw.sample(range(1, 55), 4))
    (pictures / "slow").write_text("0.2")
    running = clusters.start(tmp_path, *command(pictures)[:5], *on(raylets))

    def wait(count: int) -> None:
        clusters.until(lambda: len(clusters.shards(tmp_path)) >= count, running, 300)

    deaths = ["worker", "worker", "node"]
    draw.shuffle(deaths)
    for moment, what in zip(moments, deaths, strict=False):
        wait(moment)
        clusters.described(pictures)
        clusters.until((pictures / "count").exists, running, 300)
        busy, _ = clusters.described(pictures)[-1]
        node = next(pid for pid in raylets.nodes if busy in raylets.ask(f"workers {pid}"))
        if what == "worker":
            os.kill(busy, signal.SIGKILL)
        else:
            raylets.ask(f"kill {node}")
            raylets.nodes.remove(node)
            raylets.nodes.append(raylets.add())
    wait(moments[-1])
    running.send_signal(signal.SIGKILL)
    running.communicate()
    finished = {path: path.read_bytes() for path in clusters.shards(tmp_path)}
    assert 0 < len(finished) < SHARDS
    (pictures / "slow").unlink()
    clusters.described(pictures)
    clusters.ended(clusters.start(tmp_path, *command(pictures)[:5], *on(raylets)))
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert len(clusters.shards(tmp_path)) == SHARDS
    assert clusters.stored(tmp_path).items() <= clusters.stored(local).items()
    assert clusters.results(tmp_path).items() <= clusters.results(local).items()


@pytest.mark.cluster
def test_a_slow_worker_does_not_hold_up_the_end(
    raylets: clusters.Raylets, pictures: Path, local: Path, tmp_path: Path
) -> None:
    (pictures / "slow").write_text("0.05")
    clusters.described(pictures)
    running = clusters.start(tmp_path, *command(pictures)[:5], *on(raylets))
    seen: set[int] = set()

    def both() -> bool:
        seen.update(pid for pid, _ in clusters.described(pictures))
        return len(seen) == 2

    clusters.until(both, running, 300)
    (pictures / f"slow-{min(seen)}").write_text("900")  # longer than this test may take
    clusters.ended(running)
    (pictures / "slow").unlink()
    assert len(clusters.shards(tmp_path)) == SHARDS
    assert clusters.stored(tmp_path).items() <= clusters.stored(local).items()


@pytest.mark.cluster
def test_what_is_wrong_with_images_is_said_as_by_the_local_engine(
    raylets: clusters.Raylets, tmp_path: Path
) -> None:
    broken = clusters.pictures(tmp_path / "broken", 70)
    cut = broken / "jpg" / "00040.png"
    cut.write_bytes(cut.read_bytes()[:90])
    (broken / "jpg" / "00069.png").write_bytes(b"no picture")
    lines = []
    for place, engine in (("local", []), ("ray", on(raylets))):
        arguments = ["run", "--method", broken / "halves.py", "--dataset", broken, *engine]
        _, err = clusters.ended(clusters.start(tmp_path / place, *arguments), status=1)
        lines.append([line for line in err.splitlines() if line.startswith("error: ")])
        clusters.ended(clusters.start(tmp_path / place, *arguments, "--allow-missing"))
    assert lines[0] == lines[1]
    assert len(lines[0]) == 1
    assert "00040.png" in lines[0][0]
    assert clusters.stored(tmp_path / "ray") == clusters.stored(tmp_path / "local")
    assert clusters.results(tmp_path / "ray") == clusters.results(tmp_path / "local")


OTHER = """
import sys
from bench.cluster import recipe
recipe._release = lambda name: "0.1"
from bench.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.cluster
def test_workers_that_would_not_compute_the_same_are_refused(
    raylets: clusters.Raylets, pictures: Path, tmp_path: Path
) -> None:
    running = clusters.start(
        tmp_path, *command(pictures)[:5], *on(raylets), program=("-c", OTHER)
    )  # the driver alone believes that its packages are older
    _, err = clusters.ended(running, status=1)
    (lines,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "no machine of the cluster can run this command" in lines
    assert "torch is 2." in lines
    assert "and not 0.1" in lines
    assert "so its results would differ" in lines
    assert not clusters.shards(tmp_path)
    assert "Traceback" not in err


@pytest.mark.cluster
def test_an_error_of_a_method_is_one_sentence_with_the_host(
    raylets: clusters.Raylets, tmp_path: Path
) -> None:
    failing = clusters.pictures(tmp_path / "failing", 60)
    method = failing / "halves.py"
    text = method.read_text().replace("halves = ", "halves = 1 / 0, ")
    method.write_text(text)
    line = text[: text.index("1 / 0")].count("\n") + 1
    arguments = ["run", "--method", method, "--dataset", failing, *on(raylets)]
    _, err = clusters.ended(clusters.start(tmp_path, *arguments), status=1)
    (lines,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert lines.endswith(f"ZeroDivisionError: division by zero (halves.py, line {line}).")
    assert "the method halves.plain failed on a batch" in lines
    assert "Traceback" not in err
