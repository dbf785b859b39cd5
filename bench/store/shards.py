"""Descriptors on disk in shards: `<cache>/descriptors/<key>/shard-00012.npy`.

(Local features are kept in the same way under `<cache>/local/`; see `bench.describe.local_store`.)

The key is the hash of everything that determines the content, and `key.json` holds the same in
clear; `images.jsonl` beside it is the list of images, whose hash is in the key. A shard appears
complete or not at all, with a manifest beside it: its sha256, its rows, the key it belongs to, and
which of its images could not be decoded. So killing a run loses the shard in work and nothing
else, and a shard whose bytes changed, or that is in a store that is not its own, is computed
again alone. A lock per shard keeps two runs on one store from doing the same work, and a lock on
the store keeps `cache prune` away from a store in use.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.store.matrix import Matrix, from_array
from bench.system import reading
from bench.system.hashing import canonical_json, plain, sha256_json
from bench.system.paths import write_bytes

LEAST_ROWS, MOST_ROWS, SHARDS = 32, 1024, 64
IN_MEMORY_BYTES = 512 << 20
_OURS = re.compile(
    r"used|(shard-\d{5,}\.(npy|json|lock)|key\.json|images\.jsonl)"
    r"|\.(shard-\d{5,}\.(npy|json)|key\.json|images\.jsonl)\.[0-9a-f]{8}\.tmp"
)


@dataclass(frozen=True)
class Store:
    """The shards of one image list under one method: `rows` descriptors of `dim` float32.

    `key` is the sha256 of what determines the content; the folder is called after it.
    """

    folder: Path
    rows: int
    dim: int
    per_shard: int
    key: str

    def shards(self) -> range:
        """Return the numbers of all shards."""
        return range(-(-self.rows // self.per_shard))

    def span(self, shard: int) -> tuple[int, int]:
        """Return the first row of a shard and the first row after it."""
        return shard * self.per_shard, min((shard + 1) * self.per_shard, self.rows)

    def path(self, shard: int) -> Path:
        """Return where the rows of a shard are; the manifest has the suffix .json."""
        return self.folder / f"shard-{shard:05d}.npy"


def rows_per_shard(rows: int) -> int:
    """Return the size of a shard of a list: about a 64th of it, a power of two, 32 to 1,024.

    It follows from the list alone, so that all machines cut a list in the same way.
    """
    part = -(-rows // SHARDS)
    return min(MOST_ROWS, max(LEAST_ROWS, 1 << (part - 1).bit_length()))


def open_store(
    cache: Path,
    key: dict[str, Any],
    rows: int,
    dim: int,
    kind: str = "descriptors",
    per_shard: int | None = None,
) -> Store:
    """Return the store for `key`, which need not be there yet; `kind` is the folder it is in.

    A folder whose sidecar is not that of this key is refused.
    """
    digest = sha256_json(key)
    folder = cache / kind / digest[:32]
    sidecar = folder / "key.json"
    with contextlib.suppress(FileNotFoundError):
        try:
            document = reading.json_file(sidecar)
        except ValueError:
            document = None
        if document is None or canonical_json(document) != canonical_json(key):
            raise BenchError(
                f"{sidecar} does not match the store that contains it; delete the folder "
                f"{folder} and run the same command again."
            )
    return Store(folder, rows, dim, per_shard or rows_per_shard(rows), digest)


def begin(kept: Store, key: dict[str, Any], images: str) -> None:
    """Make the folder of a store with its sidecars, and keep `cache prune` away from it.

    `images` is the content of images.jsonl; it is for people to read, and for `cache why`.
    """
    use(kept.folder)
    listed, sidecar = kept.folder / "images.jsonl", kept.folder / "key.json"
    content = images.encode()
    if not listed.is_file() or listed.stat().st_size != len(content):
        write_bytes(listed, content)
    if not sidecar.is_file():
        text = json.dumps(plain(key), indent=1, sort_keys=True)
        write_bytes(sidecar, f"{text}\n".encode())


def manifest(store: Store, shard: int) -> dict[str, Any] | None:
    """Return the manifest of a shard, or None where it is absent, damaged or not of this store.

    Those of older versions have no checksum of their own, and are taken where nothing is missing.
    """
    try:
        document = reading.json_file(store.path(shard).with_suffix(".json"))
        belongs = document["key"] == store.key and document["rows"] == list(store.span(shard))
        absent = {int(row): str(why) for row, why in document["missing"].items()}
        stated = document.pop("manifest_sha256", None)
        belongs &= not absent if stated is None else stated == sha256_json(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {**document, "missing": absent} if belongs else None


def has(store: Store, shard: int, *, partial: bool = False) -> bool:
    """Return whether a shard is there with the bytes it was written with.

    One that lacks images counts only where `partial`.
    """
    document = manifest(store, shard)
    if document is None or (document["missing"] and not partial):
        return False
    try:
        with store.path(shard).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == document.get("sha256")
    except OSError:
        return False


def write(
    store: Store, shard: int, rows: NDArray[np.float32], absent: Mapping[int, str] | None = None
) -> None:
    """Write the rows of a shard, float32 (span, dim), complete or absent; its manifest last.

    `absent` gives the positions within the shard of images without a descriptor, and why.
    """
    first, end = store.span(shard)
    if rows.shape != (end - first, store.dim) or rows.dtype != np.float32:
        raise ValueError(f"shard {shard} has {rows.dtype} {rows.shape}")
    put(store, shard, rows, absent)


def put(
    store: Store, shard: int, rows: NDArray[Any], absent: Mapping[int, str] | None = None
) -> None:
    """Write any array as a shard, complete or absent; its manifest last."""
    content = packed(rows)
    write_bytes(store.path(shard), content)
    seal(store, shard, hashlib.sha256(content).hexdigest(), absent)


def packed(rows: NDArray[Any]) -> bytes:
    """Return the content of the file of a shard."""
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()


def seal(store: Store, shard: int, sha256: str, absent: Mapping[int, str] | None = None) -> None:
    """Write the manifest of a shard whose file is in place: from now on the shard is there."""
    about = {
        "key": store.key,
        "rows": list(store.span(shard)),
        "sha256": sha256,
        "missing": {str(row): why for row, why in sorted((absent or {}).items())},
    }
    about["manifest_sha256"] = sha256_json(about)
    write_bytes(store.path(shard).with_suffix(".json"), json.dumps(about).encode())


def missing(
    store: Store, shards: Iterable[int] | None = None, *, partial: bool = False
) -> list[int]:
    """Return which shards (default: of all) are absent or damaged; every byte is checked."""
    asked = list(store.shards() if shards is None else shards)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        there = pool.map(lambda shard: has(store, shard, partial=partial), asked)
        return [shard for shard, is_there in zip(asked, there, strict=True) if not is_there]


def absent_rows(store: Store) -> dict[int, str]:
    """Return the rows of a complete store whose images have no descriptor, and why."""
    found: dict[int, str] = {}
    for shard in store.shards():
        document = manifest(store, shard) or {"missing": {}}
        found |= {store.span(shard)[0] + row: why for row, why in document["missing"].items()}
    return found


def claim(
    store: Store,
    shards: list[int],
    skip: Callable[[int], None] = lambda _shard: None,
    *,
    partial: bool = False,
) -> Iterator[int]:
    """Yield the shards that this process is to compute, each under its lock.

    Shards another process has in work come last: when its lock is free the shard is there, or that
    process died and the shard is ours. `skip` is called with those that need no work. Leftovers of
    killed writers of a shard are removed once it is locked, because then no other process writes
    it.
    """
    left = leftovers(store)
    waiting: list[int] = []
    for timeout, some in ((0, shards), (-1, waiting)):
        for shard in some:
            lock = take(store, shard, left.get(shard, ()), timeout)
            if lock is None:
                waiting.append(shard)
                continue
            try:
                if has(store, shard, partial=partial):
                    skip(shard)
                else:
                    yield shard
            finally:
                lock.release()


def leftovers(store: Store) -> dict[int, list[Path]]:
    """Return the files that writers of shards have begun, by shard: killed ones left them."""
    found: dict[int, list[Path]] = {}
    for path in store.folder.glob(".shard-*.tmp"):
        number = path.name.removeprefix(".shard-").partition(".")[0]
        if number.isdecimal():
            found.setdefault(int(number), []).append(path)
    return found


def tidy(store: Store) -> None:
    """Remove unfinished files of killed writers of shards."""
    for shard, left in leftovers(store).items():
        lock = take(store, shard, left)
        if lock is not None:
            lock.release()


def take(
    store: Store, shard: int, left: Iterable[Path] = (), timeout: float = 0
) -> BaseFileLock | None:
    """Return the acquired lock of a shard, or None if another process keeps it longer.

    The files `left` of the shard's killed writers are removed: no other process writes it now.
    """
    lock = FileLock(store.path(shard).with_suffix(".lock"))
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return None
    for path in left:
        path.unlink(missing_ok=True)
    return lock


def is_ours(path: Path) -> bool:
    """Return whether a file in the folder of a store has a name that a store gives."""
    return _OURS.fullmatch(path.name) is not None


_used: dict[Path, int] = {}


def use(folder: Path) -> None:
    """Hold a store until the end of `in_use`, or of this process; the lock's date is its use."""
    while folder not in _used:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / "used", os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # it was pruned in between
            continue
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES):  # no process can prune it either
                return
            raise
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            pruned = not os.path.samestat(os.fstat(lock), (folder / "used").stat())
        except FileNotFoundError:
            pruned = True
        if pruned:
            os.close(lock)
        else:
            os.utime(lock)
            _used[folder] = lock


@contextlib.contextmanager
def in_use() -> Iterator[None]:
    """Let go, at the end, of all stores that `use` holds from now on."""
    before = set(_used)
    try:
        yield
    finally:
        release(before)


def release(kept: Collection[Path] = ()) -> None:
    """Let go of the stores that this process holds, but for those kept."""
    for folder in _used.keys() - set(kept):
        os.close(_used.pop(folder))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Lock a store against new users; yields False if another process uses it."""
    lock = os.open(folder / "used", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


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
