"""The command `cache`: what the stores hold, why one was computed, whether it is whole, pruning.

Only folders of stores are looked at, and of these only files that a store writes; downloaded
weights lie beside them and are not touched.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bench import store
from bench.canonical import sha256_json, sha256_lines
from bench.card import differences
from bench.errors import BenchError, first_few, unknown
from bench.estimate import size
from bench.paths import cache_root
from bench.progress import Progress

KINDS = ("descriptors", "local")
SHOWN = 8  # digits of a key
DAY_S = 86_400


@dataclass(frozen=True)
class Held:
    """A store on disk with its key, or, where `key` is None, a folder that is no store."""

    kind: str
    folder: Path
    store: store.Store
    key: dict[str, Any] | None

    @property
    def name(self) -> str:
        """Return the digits by which people call it."""
        return self.folder.name[:SHOWN]

    @property
    def method(self) -> str:
        """Return method.variant."""
        about = (self.key or {"method": {"name": "not", "variant": "known"}})["method"]
        return f"{about['name']}.{about['variant']}"

    def images(self) -> list[list[Any]]:
        """Return [file, box, sha256] of every image, or nothing where the list is not its own."""
        try:
            lines = (self.folder / "images.jsonl").read_text(encoding="utf-8").splitlines()
            if self.key is None or sha256_lines(lines) != self.key["images"]["sha256"]:
                return []
            return [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return []

    def begin(self) -> str:
        """Return a hint at what the images are: the name of the first."""
        try:
            with (self.folder / "images.jsonl").open(encoding="utf-8") as lines:
                return f" from {json.loads(lines.readline())[0]}"
        except (OSError, ValueError, LookupError, TypeError):
            return ""

    def shards(self) -> list[int]:
        """Return the shards that have a manifest; their bytes are not looked at."""
        return [s for s in self.store.shards() if store.manifest(self.store, s) is not None]

    def bytes(self) -> int:
        """Return what the files take."""
        return sum(_size(path) for path in self.folder.iterdir())

    def used(self) -> float:
        """Return when a run last opened it, in seconds since 1970."""
        for path in (self.folder / "used", self.folder / "key.json", self.folder):
            if path.exists():
                return path.stat().st_mtime
        return 0.0


def find() -> list[Held]:
    """Return what lies in the cache, the most recently used first."""
    found = [
        _read(kind, folder)
        for kind in KINDS
        for folder in sorted((cache_root() / kind).glob("[0-9a-f]*"))
        if folder.is_dir() and not folder.is_symlink() and len(folder.name) == 32
    ]
    return sorted(found, key=lambda held: -held.used())


def _read(kind: str, folder: Path) -> Held:
    key: Any = None
    kept = store.Store(folder, 0, 0, 1, "")
    try:
        key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
        digest = sha256_json(key)
        rows, per_shard = int(key["images"]["count"]), int(key["shard_rows"])
        if digest[:32] == folder.name and rows > 0 and per_shard > 0 and key["method"]["name"]:
            kept = store.Store(folder, rows, int(key["method"]["dim"]), per_shard, digest)
            return Held(kind, folder, kept, key)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return Held(kind, folder, kept, None)


def show() -> int:
    """Print a line per store."""
    found, total = find(), 0
    for held in found:
        taken = held.bytes()
        total += taken
        if held.key is None:
            print(f"{held.name}  not a store: its key.json does not describe it  {size(taken)}")
            continue
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(held.used()))
        print(
            f"{held.name}  {held.kind}  {held.method}  {held.store.rows} images{held.begin()}  "
            f"{len(held.shards())}/{len(held.store.shards())} shards  {size(taken)}  used {used}"
        )
    print(f"{len(found)} stores, {size(total)}, in {cache_root()}")
    return 0


def why(prefix: str) -> int:
    """Print what determines a store, and in what it differs from the one most like it."""
    found = [held for held in find() if held.key is not None]
    chosen = [held for held in found if held.folder.name.startswith(prefix)]
    if not chosen:
        raise unknown("store", prefix, [held.name for held in found])
    if len(chosen) > 1:
        raise BenchError(
            f"{prefix!r} begins the keys {first_few(held.folder.name for held in chosen)}; "
            "write more of it."
        )
    one = chosen[0]
    print(f"{one.folder}: {one.kind}, {len(one.shards())}/{len(one.store.shards())} shards")
    for line in differences(one.key or {}, {}):
        print(f"  {line.removesuffix(' / absent')}")
    others = [held for held in found if held.kind == one.kind and held.folder != one.folder]
    if not others:
        print(f"there is no other store of {one.kind} to compare it with")
        return 0
    mine = {entry[0] for entry in one.images()}

    def distance(other: Held) -> tuple[bool, int, int]:
        shared = len(mine & {entry[0] for entry in other.images()})
        return other.method != one.method, len(_apart(one, other)), -shared

    nearest = min(others, key=distance)
    print(f"the store most like it is {nearest.name}; this one / that one:")
    for line in _apart(one, nearest):
        print(f"  {line}")
    return 0


def _apart(one: Held, other: Held) -> list[str]:
    """Return in what two stores differ: a line per field, and what differs in their images."""
    keys = [
        {name: value for name, value in (held.key or {}).items() if name != "images"}
        for held in (one, other)
    ]
    lines = differences(*keys)
    if (one.key or {})["images"] == (other.key or {})["images"]:
        return lines
    mine, theirs = one.images(), other.images()
    if not mine or not theirs:
        return [*lines, "images: other ones; a list is damaged, so that they cannot be compared"]
    here, there = ({entry[0]: entry[1:] for entry in images} for images in (mine, theirs))
    both = here.keys() & there.keys()
    content = sorted(file for file in both if here[file][1] != there[file][1])
    boxes = sorted(file for file in both if here[file][0] != there[file][0])
    for what, files, count in (
        ("have another content", content, len(mine)),
        ("have another box", boxes, len(mine)),
        ("in this list are not in that one", sorted(here.keys() - there.keys()), len(mine)),
        ("in that list are not in this one", sorted(there.keys() - here.keys()), len(theirs)),
    ):
        if files:
            lines.append(f"images: {len(files)} of {count} {what}: {first_few(files)}")
    if here == there:
        lines.append("images: the same, in another order")
    return lines


def verify() -> int:
    """Hash every shard; print what is damaged; return 1 if anything is."""
    found, damaged, count = find(), 0, 0
    with Progress("verify", sum(len(held.shards()) for held in found), "shards") as progress:
        for held in found:
            count += len(held.shards())
            for path, what in _damage(held, progress):
                damaged += 1
                print(f"{held.name}: {what}: {path}")
    if damaged:
        print(f"{damaged} damaged; the next run computes them again, `cache prune` removes them")
        return 1
    print(f"{count} shards of {len(found)} stores are as they were written")
    return 0


def _damage(held: Held, progress: Progress | None = None) -> Iterator[tuple[Path, str]]:
    """Yield what is not as it was written, shards in work left out."""
    if held.key is None:
        yield held.folder, "no store, its key.json does not describe it"
        return
    if not held.images():
        yield held.folder / "images.jsonl", "the list of images is not that of the key"
    for shard in held.store.shards():
        path = held.store.path(shard)
        if not path.exists() and not path.with_suffix(".json").exists():
            continue
        good = store.has(held.store, shard, partial=True)
        if progress is not None:
            progress.advance()
        if not good and not _in_work(held.store, shard):
            yield path, "a damaged shard"


def _in_work(kept: store.Store, shard: int) -> bool:
    """Return whether a process is writing a shard, or has just written it."""
    try:
        with FileLock(kept.path(shard).with_suffix(".lock"), timeout=0):
            return store.has(kept, shard, partial=True)
    except Timeout:
        return True


def prune(*, method: str | None, keep_days: float | None, everything: bool, dry_run: bool) -> int:
    """Remove stores that the options select, or, without one, only what is of no use.

    That is what killed writers left, damaged shards, and folders that no key describes. A store
    in use is left as it is.
    """
    selecting = everything or method is not None or keep_days is not None
    old = time.time() - (keep_days or 0) * DAY_S
    total = 0
    for held in find():
        chosen = selecting and (method is None or method in (held.method, _family(held)))
        chosen = chosen and (keep_days is None or held.used() < old)
        with store.alone(held.folder) as free:
            if not free:
                print(f"{held.name} {held.method}: in use, left as it is")
                continue
            if chosen or held.key is None:
                files, what = sorted(held.folder.iterdir()), "the store"
            else:
                files, what = _rubbish(held), "what is of no use in the store"
            taken = sum(map(_size, files))
            if not files:
                continue
            total += taken
            print(f"{held.name} {held.method}: {what}, {len(files)} files, {size(taken)}")
            if not dry_run:
                _remove(files, held.folder)
    print(f"{size(total)} {'would be removed' if dry_run else 'removed'}")
    return 0


def _family(held: Held) -> str:
    return held.method.partition(".")[0]


def _rubbish(held: Held) -> list[Path]:
    """Return the files of a store that nobody uses which hold nothing of use."""
    damaged = [path for path, _ in _damage(held)]
    beside = [path.with_suffix(".json") for path in damaged if path.suffix == ".npy"]
    left = held.folder.glob(".*.tmp")
    return sorted({path for path in (*damaged, *beside, *left) if path.exists()})


def _remove(files: Sequence[Path], folder: Path) -> None:
    """Remove files, the lock last; the folder too where nothing is left in it."""
    for path in sorted(files, key=lambda path: (path.name == "used", path.name)):
        if not store.is_ours(path):
            print(f"  left, no store writes such a file: {path}")
            continue
        path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0
