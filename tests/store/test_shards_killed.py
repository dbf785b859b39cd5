"""The store under processes that are killed at any time, or share the work."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.store import shards
from tests.support.stores import (
    DIM,
    KEY,
    ROOT,
    ROWS,
    SIZE,
    begun,
    contents,
    fill,
    finished,
    opened,
    worker,
)

pytestmark = pytest.mark.slow


def wait_for(happened: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# --- killed -------------------------------------------------------------------------------------


@pytest.fixture
def reference(tmp_path: Path) -> dict[str, bytes]:
    """Return the bytes of a store that nothing disturbed."""
    kept = opened(tmp_path / "reference")
    fill(kept)
    return contents(kept)


@pytest.mark.parametrize("after", [1, 3])
def test_killed_at_any_time_it_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, reference: dict[str, bytes], after: int
) -> None:
    log = tmp_path / "log"
    process = worker(tmp_path / "cache", 0.2, log)
    wait_for(lambda: len(begun(log)) >= after)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = opened(tmp_path / "cache")
    done = [shard for shard in kept.shards() if shards.has(kept, shard)]
    assert len(done) < 4
    finished(worker(tmp_path / "cache", 0, log))
    assert contents(kept) == reference
    assert sorted(begun(log)[after:]) == [s for s in range(4) if s not in done], "only the rest"


def test_killed_again_and_again_at_random_moments(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """Every kill costs at most the shard in work, and the bytes are those of a quiet run."""
    draw, log, kills = random.Random(4), tmp_path / "log", 0
    while kills < 12:
        seen = len(begun(log))
        process = worker(tmp_path / "cache", 0.02, log)
        wait_for(lambda n=seen, p=process: len(begun(log)) > n or p.poll() is not None)
        time.sleep(draw.uniform(0, 0.03))
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        kills += process.returncode != 0
    finished(worker(tmp_path / "cache", 0, log))
    assert kills > 0
    assert contents(opened(tmp_path / "cache")) == reference
    assert len(begun(log)) <= 4 + kills
    assert set(begun(log)) == {0, 1, 2, 3}


def test_what_a_killed_writer_left_is_removed_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    living = worker(tmp_path / "cache", 60, log)
    wait_for(lambda: begun(log) == [0])
    kept = shards.open_store(tmp_path / "cache", KEY, ROWS, DIM)
    files = [kept.folder / f".shard-0000{shard}.npy.0123abcd.tmp" for shard in (0, 2)]
    for file in files:
        file.write_bytes(b"half")
    other = worker(tmp_path / "cache", 0, log)
    wait_for(lambda: shards.missing(kept) == [0])
    assert [file.exists() for file in files] == [True, False]
    living.kill()
    living.communicate()
    finished(other)
    assert not list(kept.folder.glob(".*"))


def test_killed_between_a_shard_and_its_checksum(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """The rows are there, the checksum is not, or it is that of the rows before."""
    kept = opened(tmp_path / "cache")
    fill(kept)
    kept.path(3).with_suffix(".json").unlink()
    stale = kept.path(1).with_suffix(".json").read_bytes()
    kept.path(1).write_bytes(kept.path(0).read_bytes())
    assert kept.path(1).with_suffix(".json").read_bytes() == stale
    log = tmp_path / "log"
    finished(worker(tmp_path / "cache", 0, log))
    assert begun(log) == [1, 3]
    assert contents(kept) == reference


# --- two processes ------------------------------------------------------------------------------


def test_two_processes_share_the_work(tmp_path: Path, reference: dict[str, bytes]) -> None:
    log = tmp_path / "log"
    both = [worker(tmp_path / "cache", 0.15, log) for _ in range(2)]
    for process in both:
        finished(process)
    assert sorted(begun(log)) == [0, 1, 2, 3], "no shard twice"
    assert contents(opened(tmp_path / "cache")) == reference


def test_the_work_of_a_killed_process_falls_to_the_other(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    log = tmp_path / "log"
    first = worker(tmp_path / "cache", 60, log)
    wait_for(lambda: begun(log) == [0])
    second = worker(tmp_path / "cache", 0, log)
    kept = opened(tmp_path / "cache")
    wait_for(lambda: shards.missing(kept) == [0])
    assert second.poll() is None, "it waits for shard 0"
    first.kill()
    first.communicate()
    finished(second)
    assert begun(log) == [0, 1, 2, 3, 0]
    assert contents(kept) == reference


def test_a_shard_is_free_again_when_its_work_fails(tmp_path: Path) -> None:
    kept = opened(tmp_path)

    def broken() -> Iterator[int]:
        for shard in shards.claim(kept, [0]):
            yield shard
            raise RuntimeError

    with pytest.raises(RuntimeError):
        list(broken())
    log = tmp_path / "log"
    finished(worker(tmp_path, 0, log))
    assert begun(log) == [0, 1, 2, 3]


# --- the whole way ------------------------------------------------------------------------------


def test_a_run_killed_at_random_moments_ends_like_a_quiet_one(
    workspace, cli, tiny: Path, described
) -> None:
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu",
             "--results", workspace.results, "--batch-size", "8", "--measure", "none")  # fmt: skip
    (tiny / "slow").write_text("0.01")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    draw = random.Random(2)
    for kills in range(1, 3):
        running = subprocess.Popen(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda n=kills: len(shard_bytes(workspace.cache)) >= 2 * n, 60)
        time.sleep(draw.uniform(0, 0.2))
        running.kill()
        running.wait()
    assert workspace.records() == []
    done = len(list(workspace.cache.rglob("shard-*.json")))
    assert 2 <= done < 20
    (tiny / "slow").unlink()
    result = cli(*arguments)
    assert result.status == 0, result.err
    assert described() <= 605 + 2 * SIZE, "a kill costs at most one shard"
    (path,) = workspace.records()
    content = json.loads(path.read_text())
    assert content["timing"]["images_from_store"] >= SIZE * (done - 1)

    resumed = shard_bytes(workspace.cache)
    assert cli(*arguments).status == 0
    assert described() == 0, "nothing is described again"
    assert cli(*arguments, "--force").status == 0
    assert described() == 605
    assert shard_bytes(workspace.cache) == resumed, "the same bytes"
    records = [json.loads(p.read_text()) for p in workspace.records()]
    assert len(records) == 3
    assert len({json.dumps(r["scores"]) for r in records}) == 1
    assert len({r["ranks"]["sha256"] for r in records}) == 1
    assert len({r["card_sha256"] for r in records}) == 1


def shard_bytes(cache: Path) -> dict[str, bytes]:
    """Return the bytes of every shard of every store."""
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.rglob("shard-*.npy"))
    }


def test_data_sets_with_the_same_list_share_a_store(workspace, cli, tiny: Path, described) -> None:
    """Another name, another folder, other queries: the database is not described again."""
    other = tiny.with_name("other")
    shutil.copytree(tiny / "jpg", other / "photos")
    data = json.loads((tiny / "dataset.json").read_text())
    data |= {"name": "other", "images": "photos", "queries": [{"file": "q003.png"}],
             "protocols": {"q": [{"positive": [1]}]}}  # fmt: skip
    (other / "dataset.json").write_text(json.dumps(data))
    arguments = ("run", "--method", tiny / "halves.py", "--device", "cpu", "--measure", "none",
             "--dataset")  # fmt: skip
    assert cli(*arguments, tiny).status == 0
    described()
    assert cli(*arguments, other).status == 0
    assert described() == 1
