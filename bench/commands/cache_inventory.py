"""What is in the cache: stores of descriptors and local features, compressed codes, all else.

Only folders of stores and codes are looked into, and of these only files that are written there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench.data import ground_truth
from bench.pipeline import rows
from bench.search import compress
from bench.store import derived, file_hashes, remembered, shards
from bench.system import checksums, reading
from bench.system.hashing import sha256_json, sha256_lines
from bench.system.paths import cache_root, unheld

KINDS = ("descriptors", "local", compress.KIND, rows.KIND)
# Arrays made from descriptors: the names of the files of a key.
DERIVED = {compress.KIND: compress.files_of, rows.KIND: rows.files_of}
SHOWN = 8  # digits of a key
REST = {
    "truth": "parsed ground truth",
    "weights": "published weights; `cache prune` never deletes them",
    "fingerprints.sqlite": "sha256 of image files",
    "torch.json": "torch's description of this machine",
    **remembered.KINDS,
}


@dataclass(frozen=True)
class CachedStore:
    """A store or codes on disk with the key, or, where `key` is None, a folder that is neither.

    `store` is empty if the folder is not a store; `method` is that of the descriptors.
    """

    kind: str
    folder: Path
    store: shards.Store
    key: Mapping[str, Any] | None
    method: str = "not.known"

    @property
    def name(self) -> str:
        """Return the digits by which people call it."""
        return self.folder.name[:SHOWN]

    def content(self) -> str:
        """Return its content as text: images and shards, or rows and files."""
        if self.key is None:
            return "not a store: its key.json does not match it"
        if self.kind in DERIVED:
            what = self.key.get("compression") or rows.named(self.key)
            return f"{what} of {derived.rows_of(self.key)} rows  {self.progress()}"
        return f"{self.store.rows} images{self.begin()}  {self.progress()}"

    def progress(self) -> str:
        """Say how much of it there is."""
        there, expected = self.pieces()
        return f"{there}/{expected} {'files' if self.kind in DERIVED else 'shards'}"

    def pieces(self) -> tuple[int, int]:
        """Return how many shards or files there are, and how many make it whole."""
        if self.key is None:
            return 0, 0
        if self.kind in DERIVED:
            expected = DERIVED[self.kind](self.key)
            return sum((self.folder / name).is_file() for name in expected), len(expected)
        return len(self.shards()), len(self.store.shards())

    def images(self) -> list[list[Any]]:
        """Return [file, box, sha256] of every image, or nothing where the list is not its own."""
        try:
            lines = (self.folder / "images.jsonl").read_text(encoding="utf-8").splitlines()
            if self.key is None or sha256_lines(lines) != self.key["images"]["sha256"]:
                return []
            return [reading.json_value(line) for line in lines]
        except (OSError, ValueError, KeyError):
            return []

    def begin(self) -> str:
        """Return a hint at what the images are: the name of the first."""
        try:
            with (self.folder / "images.jsonl").open(encoding="utf-8") as lines:
                return f" from {reading.json_value(lines.readline())[0]}"
        except (OSError, ValueError, LookupError, TypeError):
            return ""

    def shards(self) -> list[int]:
        """Return the shards that have a manifest; their bytes are not looked at."""
        return [s for s in self.store.shards() if shards.manifest(self.store, s) is not None]

    def bytes(self) -> int:
        """Return what the files take."""
        return sum(size_of(path) for path in self.folder.iterdir())

    def used(self) -> float:
        """Return when a run last opened it, in seconds since 1970."""
        for path in (self.folder / "used", self.folder / "key.json", self.folder):
            with contextlib.suppress(OSError):
                return path.stat().st_mtime
        return 0.0

    def is_ours(self, path: Path) -> bool:
        """Return whether a file in the folder has a name that is given there."""
        return derived.is_ours(path) if self.kind in DERIVED else shards.is_ours(path)

    def damage(self, advance: Callable[[], None] = lambda: None) -> Iterator[tuple[Path, str]]:
        """Yield damaged files, without those being written."""
        if self.key is None:
            yield self.folder, "not a store: its key.json does not match it"
            return
        if self.kind in DERIVED:
            for path in derived.damaged(self.folder, DERIVED[self.kind](self.key), advance):
                yield path, "damaged codes" if self.kind == compress.KIND else "damaged rows"
            return
        if not self.images():
            yield self.folder / "images.jsonl", "the list of images does not match the key"
        for shard in self.store.shards():
            path = self.store.path(shard)
            if not path.exists() and not path.with_suffix(".json").exists():
                continue
            good = shards.has(self.store, shard, partial=True)
            advance()
            if not good and not _in_work(self.store, shard):
                yield path, "a damaged shard"


def find() -> list[CachedStore]:
    """Return the stores and codes of the cache, the most recently used first."""
    found = [
        _read(kind, folder)
        for kind in KINDS
        for folder in sorted((cache_root() / kind).glob("[0-9a-f]*"))
        if folder.is_dir() and not folder.is_symlink() and len(folder.name) == 32
    ]
    methods = {store.folder.name: store.method for store in found if store.kind == "descriptors"}
    made = {store.folder.name: store.key for store in found if store.kind in DERIVED}
    named = [
        replace(store, method=_method_of(store.key, methods, made))
        if store.kind in DERIVED
        else store
        for store in found
    ]
    return sorted(named, key=lambda store: -store.used())


def _method_of(
    key: Mapping[str, Any] | None,
    methods: Mapping[str, str],
    made: Mapping[str, Mapping[str, Any] | None],
) -> str:
    """Return the method of the descriptors that rows were made from, where their store is there.

    `made` are the keys of what was made from descriptors, which may itself be made from others.
    """
    for base, _ in (key or {"base": ()})["base"]:
        if base in methods:
            return methods[base]
        if made.get(base) is not None and made[base] is not key:
            return _method_of(made[base], methods, made)
    return "not.known"


def _read(kind: str, folder: Path) -> CachedStore:
    nothing = CachedStore(kind, folder, shards.Store(folder, 0, 0, 1, ""), None)
    try:
        key = reading.json_file(folder / "key.json")
        digest = sha256_json(key)
        if digest[:32] != folder.name:
            return nothing
        if kind in DERIVED:
            DERIVED[kind](key)
            return replace(nothing, key=key)
        rows, per_shard, method = int(key["images"]["count"]), int(key["shard_rows"]), key["method"]
        if rows > 0 and per_shard > 0 and method["name"]:
            kept = shards.Store(folder, rows, int(method["dim"]), per_shard, digest)
            return CachedStore(kind, folder, kept, key, f"{method['name']}.{method['variant']}")
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass
    return nothing


def _in_work(kept: shards.Store, shard: int) -> bool:
    """Return whether a process is writing a shard, or has just written it."""
    try:
        with FileLock(kept.path(shard).with_suffix(".lock"), timeout=0):
            return shards.has(kept, shard, partial=True)
    except Timeout:
        return True


def rest() -> list[tuple[Path, str]]:
    """Return what else is in the cache, and what it is."""
    if not cache_root().is_dir():
        return []
    others = sorted(path for path in cache_root().iterdir() if path.name not in KINDS)
    return [
        (path, REST.get(path.name, "not written by this program"))
        for path in others
        if not path.name.endswith(".tmp")
    ]


def files_of(path: Path) -> list[Path]:
    """Return the files below a folder, or the file itself; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        return [path]
    return sorted(found for found in path.rglob("*") if found.is_file() and not found.is_symlink())


def damaged_rest() -> list[tuple[Path, str]]:
    """Return faults of stored ground truth, views and the table of files."""
    faults = [
        (path, "damaged ground truth")
        for path in sorted((cache_root() / "truth").glob("*.json"))
        if ground_truth.kept(path) is None
    ]
    faults += [
        (path, "a damaged view of a training")
        for path in sorted((cache_root() / "training").glob("*/view-*.npy"))
        if checksums.right(path) is not True
    ]
    table = cache_root() / "fingerprints.sqlite"
    if table.is_file() and not file_hashes.whole(table):
        faults.append((table, "a damaged table"))
    return faults


def leftovers() -> list[Path]:
    """Return leftovers of killed writers outside of stores and codes."""
    root = cache_root()
    kinds = ("truth", "weights/*/*", "training/*", *remembered.KINDS)
    places = [root.glob(".*.tmp"), *(root.glob(f"{kind}/.*.tmp") for kind in kinds)]
    return sorted(path for some in places for path in some if _nobody_writes(path))


def _nobody_writes(path: Path) -> bool:
    with unheld(path) as free:
        return free


def size_of(path: Path) -> int:
    """Return the bytes of a file; 0 for other paths."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
