"""The store: killed for real, damaged, shared by two processes, of another key."""

from __future__ import annotations

import errno
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

import numpy as np
import pytest

from bench import paths, store
from bench.errors import BenchError

ROOT = Path(__file__).resolve().parent.parent
KEY = {"code": 1, "images": [["a.jpg", None, "0"]], "method": {"name": "x"}}
SIZE = store.rows_per_shard(1)
ROWS, DIM = 3 * SIZE + 10, 4

# Computes every missing shard of a store, slowly, and tells of each that it begins.
WORKER = f"""
import sys, time
from pathlib import Path
import numpy as np
from bench import store
cache, seconds, log = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
kept = store.open_store(cache, {KEY!r}, {ROWS}, {DIM})
store.begin(kept, {KEY!r}, "images")
for shard in store.claim(kept, store.missing(kept)):
    with open(log, "a") as file:
        print(shard, file=file)
    time.sleep(seconds)
    first, end = kept.span(shard)
    rows = np.random.default_rng(shard).standard_normal((end - first, {DIM}))
    store.write(kept, shard, rows.astype(np.float32))
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
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


def begun(log: Path) -> list[int]:
    """Return the shards that workers began, in order."""
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def wait_for(happened: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def opened(cache: Path) -> store.Store:
    """Open the store of the workers."""
    kept = store.open_store(cache, KEY, ROWS, DIM)
    store.begin(kept, KEY, "images")
    return kept


def fill(kept: store.Store) -> None:
    """Write every shard as the workers would."""
    for shard in kept.shards():
        first, end = kept.span(shard)
        rows = np.random.default_rng(shard).standard_normal((end - first, DIM))
        store.write(kept, shard, rows.astype(np.float32))


def contents(kept: store.Store) -> dict[str, bytes]:
    """Return the bytes of all shards and of what stands beside them."""
    return {
        path.name: path.read_bytes()
        for path in sorted(kept.folder.iterdir())
        if path.suffix in (".npy", ".json")
    }


# --- one process --------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    assert store.missing(kept) == [0, 1, 2, 3]
    assert [kept.span(shard) for shard in kept.shards()] == [
        (0, 32), (32, 64), (64, 96), (96, 106),
    ]  # fmt: skip
    fill(kept)
    assert store.missing(kept) == []
    (matrix,) = store.matrices(kept, "rows")
    expected = np.concatenate(
        [
            np.random.default_rng(s).standard_normal((n, DIM))
            for s, n in enumerate((SIZE,) * 3 + (10,))
        ]
    )
    assert np.array_equal(matrix.open(), expected.astype(np.float32))
    assert matrix.shape == (ROWS, DIM)


def test_large_stores_are_read_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = opened(tmp_path)
    fill(kept)
    together = store.matrices(kept, "rows")[0].open()
    monkeypatch.setattr(store, "IN_MEMORY_BYTES", 0)
    parts = store.matrices(kept, "rows")
    assert [part.shape for part in parts] == [(SIZE, DIM)] * 3 + [(10, DIM)]
    assert np.array_equal(np.concatenate([part.open() for part in parts]), together)


@pytest.mark.parametrize("rows", [1, 31, 32, 33])
def test_sizes_around_a_shard(tmp_path: Path, rows: int) -> None:
    kept = store.open_store(tmp_path, {**KEY, "rows": rows}, rows, DIM)
    assert kept.span(kept.shards()[-1])[1] == rows
    assert len(kept.shards()) == 1 + (rows > 32)


@pytest.mark.parametrize(
    ("rows", "size"),
    [
        (1, 32), (49, 32), (70, 32), (2048, 32), (2049, 64), (4993, 128), (6322, 128),
        (32768, 512), (32769, 1024), (65537, 1024), (1_005_994, 1024),
    ],
)  # fmt: skip
def test_the_size_of_a_shard_follows_from_the_length_of_the_list(rows: int, size: int) -> None:
    assert store.rows_per_shard(rows) == size


@pytest.mark.parametrize(
    "rows",
    [np.zeros((31, DIM), np.float32), np.zeros((32, 5), np.float32), np.zeros((32, DIM))],
)
def test_rows_of_another_shape_or_type_are_not_written(tmp_path: Path, rows) -> None:
    kept = opened(tmp_path)
    with pytest.raises(ValueError, match="shard 0 has"):
        store.write(kept, 0, rows)
    assert not store.has(kept, 0)


def test_another_key_is_another_store(tmp_path: Path) -> None:
    one = opened(tmp_path)
    fill(one)
    for key in ({**KEY, "code": 2}, {**KEY, "images": [["a.jpg", [0, 0, 1, 1], "0"]]}):
        other = store.open_store(tmp_path, key, ROWS, DIM)
        assert other.folder != one.folder
        assert store.missing(other) == [0, 1, 2, 3]
    assert opened(tmp_path).folder == one.folder
    assert json.loads((one.folder / "key.json").read_text()) == KEY, "in clear"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"code": 2}'])
def test_a_folder_whose_key_is_not_its_own_is_not_used(tmp_path: Path, content: bytes) -> None:
    kept = opened(tmp_path)
    (kept.folder / "key.json").write_bytes(content)
    with pytest.raises(BenchError, match=r"key\.json does not describe the store it lies in; del"):
        opened(tmp_path)


# --- damage -------------------------------------------------------------------------------------


def shard_of(path: Path, other: Path) -> None:
    """Put another shard, with its manifest, where a shard lies."""
    for suffix in (".npy", ".json"):
        shutil.copy(other.with_suffix(suffix), path.with_suffix(suffix))


@pytest.mark.parametrize("at", [0, 70, 200, -1])
def test_a_flipped_byte_is_found_and_its_shard_computed_again_alone(
    tmp_path: Path, at: int
) -> None:
    kept = opened(tmp_path)
    fill(kept)
    before = contents(kept)
    damaged = bytearray(kept.path(2).read_bytes())
    damaged[at] ^= 1
    kept.path(2).write_bytes(damaged)
    assert store.missing(kept) == [2]
    log = tmp_path / "log"
    finished(worker(tmp_path, 0, log))
    assert begun(log) == [2]
    assert contents(kept) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_bytes(b""),
        lambda path: path.with_suffix(".json").write_bytes(b"[]"),
        lambda path: path.with_suffix(".json").write_bytes(b"\xff"),
        lambda path: path.with_suffix(".json").write_bytes(b"{}"),
        lambda path: path.with_suffix(".json").write_bytes(b'{"sha256": null}'),
        lambda path: path.with_suffix(".json").write_bytes(b'{"missing": {"a": 1}}'),
        lambda path: path.write_bytes(path.with_name("shard-00000.npy").read_bytes()),
        lambda path: shard_of(path, path.with_name("shard-00000.npy")),
    ],
)
def test_every_kind_of_damage_is_found(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    kept = opened(tmp_path)
    fill(kept)
    damage(kept.path(1))
    assert store.missing(kept) == [1]


# --- of another key ---------------------------------------------------------------------------


def test_a_shard_of_another_store_is_not_used(tmp_path: Path) -> None:
    """The same images under another code version: as many rows, whole bytes, and not ours."""
    key = {**KEY, "code": 2}
    other = store.open_store(tmp_path, key, ROWS, DIM)
    store.begin(other, key, "images")
    fill(other)
    kept = opened(tmp_path)
    shard_of(kept.path(1), other.path(1))
    assert store.missing(kept) == [0, 1, 2, 3]
    assert store.missing(other) == []


def test_a_store_copied_to_another_key_is_refused(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    fill(kept)
    key = {**KEY, "code": 2}
    other = store.open_store(tmp_path, key, ROWS, DIM)
    shutil.copytree(kept.folder, other.folder)
    with pytest.raises(BenchError, match=r"key\.json does not describe the store it lies in; del"):
        store.open_store(tmp_path, key, ROWS, DIM)
    assert opened(tmp_path).folder == kept.folder


def test_a_run_refuses_a_store_whose_sidecar_was_edited(workspace, cli, refused) -> None:
    given = ("run", "--method", "random-unit")
    assert cli(*given).status == 0
    for sidecar in workspace.cache.glob("descriptors/*/key.json"):
        sidecar.write_text(sidecar.read_text().replace('"seed0"', '"seed1"'))
    text = refused(cli(*given))
    assert "key.json does not describe the store it lies in; delete the folder" in text
    assert len(workspace.records()) == 1


# --- complete or absent -------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"

    def fails() -> None:
        with paths.complete_or_absent(path) as file:
            file.write(b"half")
            assert not path.exists()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert list(path.parent.iterdir()) == []
    paths.write_bytes(path, b"whole")
    with pytest.raises(RuntimeError):
        fails_over(path)
    assert path.read_bytes() == b"whole", "the old content stays"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def fails_over(path: Path) -> None:
    """Fail while writing over a file."""
    with paths.complete_or_absent(path) as file:
        file.write(b"other")
        raise RuntimeError


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    kept = opened(tmp_path)
    fill(kept)
    before = contents(kept)

    def full(*given: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(paths.os, "fsync", full)
    else:
        monkeypatch.setattr(store, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(kept, 1, np.zeros((SIZE, DIM), np.float32))
    assert contents(kept) == before
    assert store.missing(kept) == []
    assert not list(kept.folder.glob(".*.tmp"))


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
    done = [shard for shard in kept.shards() if store.has(kept, shard)]
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
    kept = store.open_store(tmp_path / "cache", KEY, ROWS, DIM)
    files = [kept.folder / f".shard-0000{shard}.npy.0123abcd.tmp" for shard in (0, 2)]
    for file in files:
        file.write_bytes(b"half")
    other = worker(tmp_path / "cache", 0, log)
    wait_for(lambda: store.missing(kept) == [0])
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
    wait_for(lambda: store.missing(kept) == [0])
    assert second.poll() is None, "it waits for shard 0"
    first.kill()
    first.communicate()
    finished(second)
    assert begun(log) == [0, 1, 2, 3, 0]
    assert contents(kept) == reference


def test_a_shard_is_free_again_when_its_work_fails(tmp_path: Path) -> None:
    kept = opened(tmp_path)

    def broken() -> Iterator[int]:
        for shard in store.claim(kept, [0]):
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
    given = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu",
             "--output", workspace.results, "--batch-size", "8", "--measure", "none")  # fmt: skip
    (tiny / "slow").write_text("0.01")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    draw = random.Random(2)
    for kills in range(1, 3):
        running = subprocess.Popen(
            [sys.executable, "-m", "bench", *map(str, given)],
            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda n=kills: len(shards(workspace.cache)) >= 2 * n, 60)
        time.sleep(draw.uniform(0, 0.2))
        running.kill()
        running.wait()
    assert workspace.records() == []
    done = len(list(workspace.cache.rglob("shard-*.json")))
    assert 2 <= done < 20
    (tiny / "slow").unlink()
    said = cli(*given)
    assert said.status == 0, said.err
    assert described() <= 605 + 2 * SIZE, "a kill costs at most one shard"
    (path,) = workspace.records()
    one = json.loads(path.read_text())
    assert one["timing"]["images_from_store"] >= SIZE * (done - 1)

    resumed = shards(workspace.cache)
    assert cli(*given).status == 0
    assert described() == 0, "nothing is described again"
    assert cli(*given, "--force").status == 0
    assert described() == 605
    assert shards(workspace.cache) == resumed, "the same bytes"
    records = [json.loads(p.read_text()) for p in workspace.records()]
    assert len(records) == 3
    assert len({json.dumps(r["scores"]) for r in records}) == 1
    assert len({r["ranks"]["sha256"] for r in records}) == 1
    assert len({r["card_sha256"] for r in records}) == 1


def shards(cache: Path) -> dict[str, bytes]:
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
    data |= {"name": "other", "images": "photos", "queries": [{"file": "300.png"}],
             "protocols": {"q": [{"positive": [1]}]}}  # fmt: skip
    (other / "dataset.json").write_text(json.dumps(data))
    given = ("run", "--method", tiny / "halves.py", "--device", "cpu", "--measure", "none",
             "--dataset")  # fmt: skip
    assert cli(*given, tiny).status == 0
    described()
    assert cli(*given, other).status == 0
    assert described() == 1
