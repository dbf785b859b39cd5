"""The store: killed for real, damaged, shared by two processes, on a disk without room."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import paths, store
from bench.errors import BenchError

ROOT = Path(__file__).resolve().parent.parent
KEY = {"code": 1, "images": [["a.jpg", None, "0"]], "method": {"name": "x"}}
ROWS, DIM = 3 * store.SHARD_ROWS + 10, 4

# Computes every missing shard of a store, slowly, and tells of each that it begins.
WORKER = f"""
import sys, time
from pathlib import Path
import numpy as np
from bench import store
cache, seconds, log = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
kept = store.open_store(cache, {KEY!r}, {ROWS}, {DIM})
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
    return store.open_store(cache, KEY, ROWS, DIM)


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
        (0, 256), (256, 512), (512, 768), (768, 778),
    ]  # fmt: skip
    fill(kept)
    assert store.missing(kept) == []
    (matrix,) = store.matrices(kept, "rows")
    expected = np.concatenate(
        [
            np.random.default_rng(s).standard_normal((n, DIM))
            for s, n in enumerate((256,) * 3 + (10,))
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
    assert [part.shape for part in parts] == [(256, DIM)] * 3 + [(10, DIM)]
    assert np.array_equal(np.concatenate([part.open() for part in parts]), together)


@pytest.mark.parametrize("rows", [1, 255, 256, 257])
def test_sizes_around_a_shard(tmp_path: Path, rows: int) -> None:
    kept = store.open_store(tmp_path, {**KEY, "rows": rows}, rows, DIM)
    assert kept.span(kept.shards()[-1])[1] == rows
    assert len(kept.shards()) == 1 + (rows > 256)


@pytest.mark.parametrize(
    "rows",
    [np.zeros((255, DIM), np.float32), np.zeros((256, 5), np.float32), np.zeros((256, DIM))],
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
        lambda path: path.write_bytes(path.with_name("shard-00000.npy").read_bytes()),
    ],
)
def test_every_kind_of_damage_is_found(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    kept = opened(tmp_path)
    fill(kept)
    damage(kept.path(1))
    assert store.missing(kept) == [1]


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
        store.write(kept, 1, np.zeros((256, DIM), np.float32))
    assert contents(kept) == before
    assert store.missing(kept) == []
    assert not list(kept.folder.glob(".*.tmp"))


def test_a_limit_of_the_system_is_an_error_with_advice(workspace, process, refused) -> None:
    """No file may grow beyond 20,000 bytes: the shard does not fit; without the limit it does."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    given = ("run", "--method", "random-unit", "--output", workspace.results)
    said = process(*given, preexec_fn=limit)
    text = refused(said)
    assert "File too large" in text
    assert re.search(rf"{re.escape(str(workspace.cache))}/descriptors/\w+/shard-00000\.npy", text)
    assert "run the same command again" in text
    assert workspace.records() == []
    assert not [p for p in workspace.cache.rglob("*") if p.name.endswith((".tmp", ".npy"))]
    assert process(*given).status == 0
    assert len(workspace.records()) == 1


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

METHOD = '''"""Mean colour of the halves of an image, slowly."""
import time
from pathlib import Path
from types import SimpleNamespace
import torch

VARIANTS = {"plain": "as it is"}


def load(variant, weights, device):
    def describe(batch):
        slow = Path(__file__).with_name("slow")
        time.sleep(float(slow.read_text()) if slow.exists() else 0)
        with Path(__file__).with_name("count").open("a") as file:
            file.write(len(batch) * ".")
        halves = torch.cat([batch[..., :4].mean((2, 3)), batch[..., 4:].mean((2, 3))], 1)
        return halves + 0.5

    facts = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": False}
    return SimpleNamespace(version="1", config={}, weights=facts, dim=6, describe=describe,
                           preprocess={"mean": (0, 0, 0), "std": (255, 255, 255)})
'''


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Make a data set of 600 images of eight pixels a side, and a method; return the folder."""
    folder = tmp_path / "tiny"
    (folder / "jpg").mkdir(parents=True)
    draw = np.random.default_rng(0)
    files = [f"{i:03}.png" for i in range(600)]
    for file in files:
        pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "jpg" / file, compress_level=0)
    data = {
        "name": "tiny", "images": "jpg", "database": files,
        "queries": [{"file": file} for file in files[:5]],
        "protocols": {"p": [{"positive": [i, i + 50]} for i in range(5)]},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "halves.py").write_text(METHOD, encoding="utf-8")
    return folder


def described(folder: Path) -> int:
    """Return how many images the method was shown, and begin to count anew."""
    count = folder / "count"
    number = len(count.read_text()) if count.exists() else 0
    count.unlink(missing_ok=True)
    return number


def test_a_run_killed_twice_ends_with_the_same_record_of_scores(
    workspace, process, cli, tiny: Path
) -> None:
    given = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu",
             "--output", workspace.results, "--batch-size", "32", "--measure", "none")  # fmt: skip
    (tiny / "slow").write_text("0.08")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    running = subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, given)],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(lambda: list(workspace.cache.rglob("shard-00000.json")), 60)
    running.kill()
    running.wait()
    assert workspace.records() == []
    done = len(list(workspace.cache.rglob("shard-*.json")))
    assert done < 3
    (tiny / "slow").unlink()
    described(tiny)
    said = cli(*given)
    assert said.status == 0, said.err
    assert described(tiny) == 605 - 256 * done
    (path,) = workspace.records()
    one = json.loads(path.read_text())
    assert one["timing"]["images_from_store"] == 256 * done

    resumed = shards(workspace.cache)
    assert cli(*given).status == 0
    assert described(tiny) == 0, "nothing is described again"
    assert cli(*given, "--force").status == 0
    assert described(tiny) == 605
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


def test_an_image_that_changes_is_described_again(workspace, cli, tiny: Path) -> None:
    given = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu")
    assert cli(*given).status == 0
    described(tiny)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tiny / "jpg" / "300.png", compress_level=0)
    assert cli(*given).status == 0
    assert described(tiny) == 600, "the database; the queries did not change"


def test_images_that_cannot_be_decoded_are_all_named_and_the_rest_is_kept(
    workspace, cli, refused, tiny: Path
) -> None:
    whole = (tiny / "jpg" / "300.png").read_bytes()
    (tiny / "jpg" / "300.png").write_bytes(b"<html>")
    (tiny / "jpg" / "301.png").write_bytes(b"")
    given = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu")
    text = refused(cli(*given))
    assert re.match(r"2 of \d+ images cannot be used: ", text)
    assert "300.png" in text
    assert "301.png" in text
    assert workspace.records() == []
    described(tiny)
    for name in ("300.png", "301.png"):
        (tiny / "jpg" / name).write_bytes(whole)
    assert cli(*given).status == 0
    assert len(workspace.records()) == 1
