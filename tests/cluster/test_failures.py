"""Ends of runs on a cluster: Ctrl-C, the head that is lost; and local features on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clusters

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(clusters.MISSING, reason=clusters.REASON),
]

IMAGES = 500  # 16 shards


@pytest.fixture
def raylets(tmp_path: Path) -> Iterator[clusters.Raylets]:
    (tmp_path / "workers").mkdir()
    started = clusters.Raylets(tmp_path / "workers", 1)
    yield started
    started.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return clusters.pictures(tmp_path / "pictures", IMAGES)


def called(words: str) -> list[int]:
    """Return the processes whose command lines have these words."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if words.encode() in line:
            found.append(int(process.name))
    return found


def goes_on_as_if_nothing_had_happened(place: Path, arguments: list[object], finished: int) -> None:
    """Fail unless the local engine takes what is there, makes the rest, and finds the same."""
    before = {path: path.read_bytes() for path in clusters.shards(place)}
    assert finished <= len(before) < 16
    clusters.ended(clusters.start(place, *arguments))
    assert all(path.read_bytes() == content for path, content in before.items())
    clusters.ended(clusters.start(place.with_name("local"), *arguments))
    assert clusters.stored(place) == clusters.stored(place.with_name("local"))
    assert clusters.results(place) == clusters.results(place.with_name("local"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_run_and_its_cluster(
    pictures: Path, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ["run", "--method", pictures / "halves.py", "--dataset", pictures]
    place = tmp_path / "ray"
    (pictures / "slow").write_text("0.5")
    running = clusters.start(place, *arguments, "--engine", "ray")
    clusters.until(lambda: len(clusters.shards(place)) >= 2, running, 300)
    (pictures / "slow").write_text("900")  # for the next shard of each worker
    own = f"bench-ray-{running.pid}-"
    assert called(own)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped; run the same command again to continue:" in err
    assert "Traceback" not in err
    for pid in called(own):
        clusters.gone(pid)
    (pictures / "slow").unlink()
    goes_on_as_if_nothing_had_happened(place, arguments, 2)


def test_a_head_that_is_lost_is_said(
    raylets: clusters.Raylets, pictures: Path, tmp_path: Path
) -> None:
    arguments = ["run", "--method", pictures / "halves.py", "--dataset", pictures]
    place = tmp_path / "ray"
    (pictures / "slow").write_text("10")
    on = ["--engine", "ray", "--ray-address", raylets.address]
    running = clusters.start(place, *arguments, *on)
    clusters.until(lambda: clusters.shards(place), running, 300)
    os.kill(raylets.ask("head 0"), signal.SIGKILL)
    _, err = clusters.ended(running, status=1)
    (lines,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert lines.startswith(
        f"error: the head of the cluster at {raylets.address} no longer answers"
    )
    assert lines.endswith("start the cluster, then run the same command again.")
    assert "Traceback" not in err
    (pictures / "slow").unlink()
    goes_on_as_if_nothing_had_happened(place, arguments, 1)


def test_local_features_are_those_of_the_local_engine(
    raylets: clusters.Raylets, tmp_path: Path
) -> None:
    arguments = ["run", "--method", "delg.lite0", "--rerank", "--max-side", 160]
    clusters.ended(clusters.start(tmp_path / "local", *arguments))
    on = ["--engine", "ray", "--ray-address", raylets.address]
    clusters.ended(clusters.start(tmp_path / "ray", *arguments, *on))
    stores = clusters.stored(tmp_path / "local")
    assert any(name.startswith("cache/local/") for name in stores)
    assert clusters.stored(tmp_path / "ray") == stores
    assert clusters.results(tmp_path / "ray") == clusters.results(tmp_path / "local")
