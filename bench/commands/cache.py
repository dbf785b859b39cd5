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
from bench.commands.cache_inventory import Held, find, size_of
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
    for held in found:
        taken = held.bytes()
        total += taken
        if held.key is None:
            print(f"{held.name}  {held.kind}  {held.content()}  {size(taken)}")
            continue
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(held.used()))
        print(
            f"{held.name}  {held.kind}  {held.method}  {held.content()}  {size(taken)}  used {used}"
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
    print(f"{one.folder}: {one.kind}, {one.progress()}")
    for line in differences(dict(one.key or {}), {}):
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
    if (one.key or {}).get("images") == (other.key or {}).get("images"):
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
    """Hash every shard and all codes; print what is damaged; return 1 if anything is."""
    found, damaged, count = find(), 0, 0
    with Progress("verify", sum(held.pieces()[0] for held in found), "shards") as progress:

        def advance() -> None:
            nonlocal count
            count += 1
            progress.advance()

        for held in found:
            for path, what in held.damage(advance):
                damaged += 1
                print(f"{held.name}: {what}: {path}")
    for path, what in lying.damaged_rest():
        damaged += 1
        print(f"{what}: {path}")
    if damaged:
        print(f"{damaged} damaged; the next run computes them again, `cache prune` removes them")
        return 1
    print(f"{count} shards of {len(found)} stores are as they were written")
    return 0


def prune(given: Prune) -> int:
    """Remove stores that the options select, or, without one, only what is of no use.

    That is what killed writers left, damaged shards, and folders that no key describes. A store
    in use is left as it is. With `--all` kept ground truth and the table of files go as well.
    """
    method, keep_days, dry_run = given.method, given.keep_days, given.dry_run
    selecting = given.all or method is not None or keep_days is not None
    old = time.time() - (keep_days or 0) * DAY_S
    total = 0
    for held in find():
        chosen = selecting and (method is None or method in (held.method, _family(held)))
        chosen = chosen and (keep_days is None or held.used() < old)
        with shards.alone(held.folder) as free:
            if not free:
                print(f"{held.name} {held.method}: in use, left as it is")
                continue
            if chosen or held.key is None:
                files, what = sorted(held.folder.iterdir()), "the store"
            else:
                files, what = _rubbish(held), "what is of no use in the store"
            taken = sum(map(size_of, files))
            if not files:
                continue
            total += taken
            print(f"{held.name} {held.method}: {what}, {len(files)} files, {size(taken)}")
            if not dry_run:
                _remove(files, held)
    total += _prune_rest(everything=given.all, dry_run=dry_run)
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


def _family(held: Held) -> str:
    return held.method.partition(".")[0]


def _rubbish(held: Held) -> list[Path]:
    """Return the files of a store that nobody uses which hold nothing of use."""
    damaged = [path for path, _ in held.damage()]
    suffix = ".sha256" if held.kind == "compressed" else ".json"
    beside = [path.with_suffix(suffix) for path in damaged if path.suffix == ".npy"]
    left = held.folder.glob(".*.tmp")
    return sorted({path for path in (*damaged, *beside, *left) if path.exists()})


def _remove(files: Sequence[Path], held: Held) -> None:
    """Remove files of a store, the lock last; the folder too where nothing is left in it."""
    for path in sorted(files, key=lambda path: (path.name == "used", path.name)):
        if not held.is_ours(path):
            print(f"  left, no store writes such a file: {path}")
            continue
        path.unlink(missing_ok=True)
    if not any(held.folder.iterdir()):
        held.folder.rmdir()


ACTIONS: dict[str, Command[Any]] = {
    "list": Command(
        Nothing,
        lambda _: show(),
        "List the stores: key, kind, method, images, shards, size, last use.",
    ),
    "why": Command(
        Why,
        lambda given: why(given.key),
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
