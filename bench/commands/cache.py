"""The command `cache`: what the stores hold, why one was computed, whether it is whole, pruning.

Downloaded weights are beside the stores; they are counted, and not touched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.commands import cache_inventory as lying
from bench.commands.cache_inventory import CachedStore, find, size_of
from bench.commands.parser import Command, Nothing
from bench.errors import BenchError, first_few, unknown
from bench.option import option, positive, required
from bench.scoring.card import differences
from bench.store import remembered, shards
from bench.store.room import size
from bench.system.paths import cache_root, unheld
from bench.system.progress import Progress

DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class Why:
    """The options of `cache why`."""

    key: str = required("the first digits of a key, as in `list`", metavar="KEY", positional=True)


@dataclass(frozen=True)
class Prune:
    """The options of `cache prune`."""

    method: str | None = option(None, "stores of this method", metavar="NAME[.VARIANT]")
    keep_days: int | None = option(
        None, "stores that were not used for N days", metavar="N", parse=positive
    )
    all: bool = option(False, "all stores")
    dry_run: bool = option(False, "print the list without removing anything")


def show() -> int:
    """Print a line per store, and one for everything else that is in the cache."""
    found, total = find(), 0
    for store in found:
        taken = store.bytes()
        total += taken
        if store.key is None:
            print(f"{store.name}  {store.kind}  {store.content()}  {size(taken)}")
            continue
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(store.used()))
        print(
            f"{store.name}  {store.kind}  {store.method}  {store.content()}  {size(taken)}  "
            f"used {used}"
        )
    for path, what in lying.rest():
        files = lying.files_of(path)
        taken = sum(map(size_of, files))
        total += taken
        print(f"{path.name}  {what}  {len(files)} files  {size(taken)}")
    print(f"{len(found)} stores, {size(total)}, in {cache_root()}")
    return 0


def why(prefix: str) -> int:
    """Print what determines a store, and in what it differs from the one most like it."""
    found = [store for store in find() if store.key is not None]
    chosen = [store for store in found if store.folder.name.startswith(prefix)]
    if not chosen:
        raise unknown("store", prefix, [store.name for store in found])
    if len(chosen) > 1:
        raise BenchError(
            f"{prefix!r} is the beginning of several keys, "
            f"{first_few(store.folder.name for store in chosen)}; write more digits."
        )
    store = chosen[0]
    print(f"{store.folder}: {store.kind}, {store.progress()}")
    for line in differences(dict(store.key or {}), {}):
        print(f"  {line.removesuffix(' / absent')}")
    others = [other for other in found if other.kind == store.kind and other.folder != store.folder]
    if not others:
        print(f"no other store of {store.kind} exists to compare it with")
        return 0
    mine = {entry[0] for entry in store.images()}

    def distance(other: CachedStore) -> tuple[bool, int, int]:
        shared = len(mine & {entry[0] for entry in other.images()})
        return other.method != store.method, len(_apart(store, other)), -shared

    nearest = min(others, key=distance)
    print(f"the most similar store is {nearest.name}; values of this store / of that store:")
    for line in _apart(store, nearest):
        print(f"  {line}")
    return 0


def _apart(store: CachedStore, other: CachedStore) -> list[str]:
    """Return in what two stores differ: a line per field, and what differs in their images."""
    keys = [
        {name: value for name, value in (store.key or {}).items() if name != "images"}
        for store in (store, other)
    ]
    lines = differences(*keys)
    if (store.key or {}).get("images") == (other.key or {}).get("images"):
        return lines
    mine, theirs = store.images(), other.images()
    if not mine or not theirs:
        return [*lines, "images: not the same; a list is damaged, so the lists cannot be compared"]
    here, there = ({entry[0]: entry[1:] for entry in images} for images in (mine, theirs))
    both = here.keys() & there.keys()
    content = sorted(file for file in both if here[file][1] != there[file][1])
    boxes = sorted(file for file in both if here[file][0] != there[file][0])
    for what, files, count in (
        ("have different content", content, len(mine)),
        ("have a different box", boxes, len(mine)),
        ("in this list are absent from the other", sorted(here.keys() - there.keys()), len(mine)),
        (
            "in the other list are absent from this one",
            sorted(there.keys() - here.keys()),
            len(theirs),
        ),
    ):
        if files:
            lines.append(f"images: {len(files)} of {count} {what}: {first_few(files)}")
    if here == there:
        lines.append("images: the same, in another order")
    return lines


def verify() -> int:
    """Hash every shard and all codes; print damaged files; return 1 if any is damaged."""
    found, damaged, count = find(), 0, 0
    with Progress("verify", sum(store.pieces()[0] for store in found), "shards") as progress:

        def advance() -> None:
            nonlocal count
            count += 1
            progress.advance()

        for store in found:
            for path, what in store.damage(advance):
                damaged += 1
                print(f"{store.name}: {what}: {path}")
    for path, what in lying.damaged_rest():
        damaged += 1
        print(f"{what}: {path}")
    if damaged:
        print(f"{damaged} damaged; the next run recomputes them, `cache prune` removes them")
        return 1
    print(f"{count} shards of {len(found)} stores match their checksums")
    return 0


def prune(args: Prune) -> int:
    """Remove stores that the options select, or, without one, only what is of no use.

    That is what killed writers left, damaged shards, and folders that no key describes. A store
    in use is left as it is. With `--all` kept ground truth and the table of files go as well.
    """
    method, keep_days, dry_run = args.method, args.keep_days, args.dry_run
    selecting = args.all or method is not None or keep_days is not None
    old = time.time() - (keep_days or 0) * DAY_S
    total = 0
    for store in find():
        chosen = selecting and (method is None or method in (store.method, _family(store)))
        chosen = chosen and (keep_days is None or store.used() < old)
        with shards.alone(store.folder) as free:
            if not free:
                print(f"{store.name} {store.method}: in use, not removed")
                continue
            if chosen or store.key is None:
                files, what = sorted(store.folder.iterdir()), "the store"
            else:
                files, what = _rubbish(store), "unusable files of the store"
            taken = sum(map(size_of, files))
            if not files:
                continue
            total += taken
            print(f"{store.name} {store.method}: {what}, {len(files)} files, {size(taken)}")
            if not dry_run:
                _remove(files, store)
    total += _prune_rest(everything=args.all, dry_run=dry_run)
    print(f"{size(total)} {'would be removed' if dry_run else 'removed'}")
    return 0


def _prune_rest(*, everything: bool, dry_run: bool) -> int:
    """Remove what is of no use outside of stores; return its bytes."""
    files = [*lying.leftovers(), *(path for path, _ in lying.damaged_rest())]
    if everything:
        files += [cache_root() / name for name in ("fingerprints.sqlite", "torch.json")]
        for kind in ("truth", *remembered.KINDS):
            folder = cache_root() / kind
            files += [*folder.glob("*.json"), *folder.glob("*.zip")]
    total = 0
    for path in sorted({path for path in files if path.is_file()}):
        taken = size_of(path)
        total += taken
        print(f"{path.relative_to(cache_root())}: {size(taken)}")
        if dry_run:
            continue
        with unheld(path) as free:
            if free:
                path.unlink(missing_ok=True)
    return total


def _family(store: CachedStore) -> str:
    return store.method.partition(".")[0]


def _rubbish(store: CachedStore) -> list[Path]:
    """Return the unused, unusable files of a store."""
    damaged = [path for path, _ in store.damage()]
    suffix = ".sha256" if store.kind == "compressed" else ".json"
    beside = [path.with_suffix(suffix) for path in damaged if path.suffix == ".npy"]
    left = store.folder.glob(".*.tmp")
    return sorted({path for path in (*damaged, *beside, *left) if path.exists()})


def _remove(files: Sequence[Path], store: CachedStore) -> None:
    """Remove files of a store, the lock last; the folder too where nothing is left in it."""
    for path in sorted(files, key=lambda path: (path.name == "used", path.name)):
        if not store.is_ours(path):
            print(f"  not removed, as no store writes such a file: {path}")
            continue
        path.unlink(missing_ok=True)
    if not any(store.folder.iterdir()):
        store.folder.rmdir()


ACTIONS: dict[str, Command[Any]] = {
    "list": Command(
        Nothing,
        lambda _: show(),
        "List the stores: key, kind, method, images, shards, size, last use.",
    ),
    "why": Command(
        Why,
        lambda args: why(args.key),
        "Show the fields of a store's key, and which differ from the nearest other store.",
    ),
    "verify": Command(
        Nothing, lambda _: verify(), "Hash every shard again; status 1 if one is damaged."
    ),
    "prune": Command(
        Prune,
        prune,
        "Remove leftovers and damaged shards, or the stores you select.",
    ),
}
