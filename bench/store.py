"""Descriptors on disk in shards: `<cache>/descriptors/<key>/shard-00012.npy`.

(Local features lie in the same way under `<cache>/local/`; see `bench.local_store`.)

The key is the hash of everything that determines the content, and `key.json` holds the same in
clear. A shard appears complete or not at all, with its sha256 beside it: killing a run loses the
shard in work and nothing else, and a shard whose bytes changed is computed again alone. A lock
per shard keeps two runs on one store from doing the same work.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bench.canonical import canonical_json, plain, sha256_json
from bench.descriptors import Matrix, from_array
from bench.errors import BenchError
from bench.paths import write_bytes

SHARD_ROWS = 256
IN_MEMORY_BYTES = 512 << 20


@dataclass(frozen=True)
class Store:
    """The shards of one image list under one method: `rows` descriptors of `dim` float32."""

    folder: Path
    rows: int
    dim: int
    per_shard: int = SHARD_ROWS

    def shards(self) -> range:
        """Return the numbers of all shards."""
        return range(-(-self.rows // self.per_shard))

    def span(self, shard: int) -> tuple[int, int]:
        """Return the first row of a shard and the first row after it."""
        return shard * self.per_shard, min((shard + 1) * self.per_shard, self.rows)

    def path(self, shard: int) -> Path:
        """Return where the rows of a shard lie."""
        return self.folder / f"shard-{shard:05d}.npy"


def open_store(
    cache: Path,
    key: dict[str, Any],
    rows: int,
    dim: int,
    kind: str = "descriptors",
    per_shard: int = SHARD_ROWS,
) -> Store:
    """Return the store for `key`, made if it is not there; `kind` is the folder it lies in."""
    digest = sha256_json(key)
    folder = cache / kind / digest[:32]
    sidecar = folder / "key.json"
    text = json.dumps(plain(key), indent=1, sort_keys=True)
    if not sidecar.is_file():
        write_bytes(sidecar, f"{text}\n".encode())
    else:
        try:
            held = json.loads(sidecar.read_text(encoding="utf-8"))
        except ValueError:
            held = None
        if held is None or canonical_json(held) != canonical_json(key):
            raise BenchError(
                f"{sidecar} does not describe the store it lies in; delete the folder "
                f"{folder} and run again."
            )
    return Store(folder, rows, dim, per_shard)


def has(store: Store, shard: int) -> bool:
    """Return whether a shard is there with the bytes it was written with."""
    path = store.path(shard)
    try:
        expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]
        content = path.read_bytes()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(hashlib.sha256(content).hexdigest() == expected)


def write(store: Store, shard: int, rows: NDArray[np.float32]) -> None:
    """Write the rows of a shard, float32 (span, dim), complete or absent; its checksum last."""
    first, end = store.span(shard)
    if rows.shape != (end - first, store.dim) or rows.dtype != np.float32:
        raise ValueError(f"shard {shard} has {rows.dtype} {rows.shape}")
    put(store, shard, rows)


def put(store: Store, shard: int, rows: NDArray[Any]) -> None:
    """Write any array as a shard, complete or absent; its checksum last."""
    first, end = store.span(shard)
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    content = buffer.getvalue()
    about = {"rows": [first, end], "sha256": hashlib.sha256(content).hexdigest()}
    write_bytes(store.path(shard), content)
    write_bytes(store.path(shard).with_suffix(".json"), json.dumps(about).encode())


def missing(store: Store) -> list[int]:
    """Return the shards that are absent or damaged; every byte present is checked."""
    return [shard for shard in store.shards() if not has(store, shard)]


def claim(store: Store, shards: list[int]) -> Iterator[int]:
    """Yield the shards that this process is to compute, each under its lock.

    Shards another process has in work come last: when its lock is free the shard is there, or
    that process died and the shard is ours.
    """
    later = []
    for shard in shards:
        lock = _lock(store, shard)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            later.append(shard)
            continue
        try:
            if not has(store, shard):
                yield shard
        finally:
            lock.release()
    for shard in later:
        with _lock(store, shard):
            if not has(store, shard):
                yield shard


def _lock(store: Store, shard: int) -> FileLock:
    return FileLock(store.path(shard).with_suffix(".lock"))


def matrices(store: Store, label: str) -> list[Matrix]:
    """Return the rows of a complete store: in memory where small, else a file per shard."""
    if store.rows * store.dim * 4 <= IN_MEMORY_BYTES:
        rows = [np.load(store.path(shard), allow_pickle=False) for shard in store.shards()]
        return [from_array(np.concatenate(rows), label, store.folder.name)]
    return [
        Matrix(label, (end - first, store.dim), path=store.path(shard), key=store.folder.name)
        for shard in store.shards()
        for first, end in [store.span(shard)]
    ]
