"""The store: rows as written, damage found, files complete or absent."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import BenchError
from bench.store import shards
from bench.system import paths
from tests.support.stores import (
    DIM,
    KEY,
    ROWS,
    SIZE,
    begun,
    contents,
    fill,
    finished,
    opened,
    worker,
)

# --- one process --------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    assert shards.missing(kept) == [0, 1, 2, 3]
    assert [kept.span(shard) for shard in kept.shards()] == [
        (0, 32), (32, 64), (64, 96), (96, 106),
    ]  # fmt: skip
    fill(kept)
    assert shards.missing(kept) == []
    (matrix,) = shards.matrices(kept, "rows")
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
    together = shards.matrices(kept, "rows")[0].open()
    monkeypatch.setattr(shards, "IN_MEMORY_BYTES", 0)
    parts = shards.matrices(kept, "rows")
    assert [part.shape for part in parts] == [(SIZE, DIM)] * 3 + [(10, DIM)]
    assert np.array_equal(np.concatenate([part.open() for part in parts]), together)


@pytest.mark.parametrize("rows", [1, 31, 32, 33])
def test_sizes_around_a_shard(tmp_path: Path, rows: int) -> None:
    kept = shards.open_store(tmp_path, {**KEY, "rows": rows}, rows, DIM)
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
    assert shards.rows_per_shard(rows) == size


@pytest.mark.parametrize(
    "rows",
    [np.zeros((31, DIM), np.float32), np.zeros((32, 5), np.float32), np.zeros((32, DIM))],
)
def test_rows_of_another_shape_or_type_are_not_written(tmp_path: Path, rows) -> None:
    kept = opened(tmp_path)
    with pytest.raises(ValueError, match="shard 0 has"):
        shards.write(kept, 0, rows)
    assert not shards.has(kept, 0)


def test_another_key_is_another_store(tmp_path: Path) -> None:
    item = opened(tmp_path)
    fill(item)
    for key in ({**KEY, "code": 2}, {**KEY, "images": [["a.jpg", [0, 0, 1, 1], "0"]]}):
        other = shards.open_store(tmp_path, key, ROWS, DIM)
        assert other.folder != item.folder
        assert shards.missing(other) == [0, 1, 2, 3]
    assert opened(tmp_path).folder == item.folder
    assert json.loads((item.folder / "key.json").read_text()) == KEY, "in clear"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"code": 2}'])
def test_a_folder_whose_key_is_not_its_own_is_not_used(tmp_path: Path, content: bytes) -> None:
    kept = opened(tmp_path)
    (kept.folder / "key.json").write_bytes(content)
    with pytest.raises(
        BenchError, match=r"key\.json does not match the store that contains it; del"
    ):
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
    assert shards.missing(kept) == [2]
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
    assert shards.missing(kept) == [1]


# --- of another key ---------------------------------------------------------------------------


def test_a_shard_of_another_store_is_not_used(tmp_path: Path) -> None:
    """The same images under another code version: as many rows, whole bytes, and not ours."""
    key = {**KEY, "code": 2}
    other = shards.open_store(tmp_path, key, ROWS, DIM)
    shards.begin(other, key, "images")
    fill(other)
    kept = opened(tmp_path)
    shard_of(kept.path(1), other.path(1))
    assert shards.missing(kept) == [0, 1, 2, 3]
    assert shards.missing(other) == []


def test_a_store_copied_to_another_key_is_refused(tmp_path: Path) -> None:
    kept = opened(tmp_path)
    fill(kept)
    key = {**KEY, "code": 2}
    other = shards.open_store(tmp_path, key, ROWS, DIM)
    shutil.copytree(kept.folder, other.folder)
    with pytest.raises(
        BenchError, match=r"key\.json does not match the store that contains it; del"
    ):
        shards.open_store(tmp_path, key, ROWS, DIM)
    assert opened(tmp_path).folder == kept.folder


def test_a_run_refuses_a_store_whose_sidecar_was_edited(workspace, cli, refused) -> None:
    arguments = ("run", "--method", "random-unit")
    assert cli(*arguments).status == 0
    for sidecar in workspace.cache.glob("descriptors/*/key.json"):
        sidecar.write_text(sidecar.read_text().replace('"seed0"', '"seed1"'))
    text = refused(cli(*arguments))
    assert "key.json does not match the store that contains it; delete the folder" in text
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

    def full(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(paths.os, "fsync", full)
    else:
        monkeypatch.setattr(shards, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        shards.write(kept, 1, np.zeros((SIZE, DIM), np.float32))
    assert contents(kept) == before
    assert shards.missing(kept) == []
    assert not list(kept.folder.glob(".*.tmp"))
