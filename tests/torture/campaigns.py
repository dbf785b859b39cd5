"""Kills, flips, writers, injections: a trial does harm and returns what was lost by it."""

from __future__ import annotations

import builtins
import errno
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.torture import world as worlds
from tests.torture.world import World

CODES = ("--compression", "pq2x4")


def whole(world: World) -> tuple[set[str], list[str]]:
    """Return the shards that are whole, and what is wrong with the records that are there."""

    def look() -> tuple[set[str], list[str]]:
        from bench.commands import cache_inventory
        from bench.records.verify import verify
        from bench.store import shards

        there = {
            f"{item.folder.name}/{shard}"
            for item in cache_inventory.find()
            if item.kind == "descriptors"
            for shard in item.store.shards()
            if shards.has(item.store, shard)
        }
        return there, [f"{p.name}: {fault}" for p in world.records() for fault in verify(p)[0]]

    found: tuple[set[str], list[str]] = worlds.ask(world, look)
    return found


def as_it_was(world: World, done: worlds.Outcome) -> list[str]:
    """Return in what a run that ended well left other bytes than a quiet one."""
    if done.status != 0:
        return [f"the run after it fails: {done.err[-600:]}"]
    now = world.kept()
    found = [f"{name} has other bytes" for name in world.reference
             if name in now and now[name] != world.reference[name]]  # fmt: skip
    found += [f"{name} is not there" for name in world.reference if name not in now]
    return found + leftovers(world)


def leftovers(world: World) -> list[str]:
    """Return what killed writers left after a run that ended well."""
    left = [p for folder in (world.cache, world.results) for p in folder.rglob(".*.tmp")]
    alone = [p for p in world.results.rglob("*.npz") if not p.with_suffix(".json").exists()]
    return [f"left behind: {path.relative_to(world.folder)}" for path in (*left, *alone)]


def kill(world: World) -> list[str]:
    """Kill a run at any moment: nothing that was whole is lost, and it goes on to the same bytes.

    Every few kills it may end, and everything is removed.
    """
    at = world.draw.uniform(0.0, 1.1 * world.run_s)
    done = worlds.run(world, world.command(*CODES), kill_at=at)
    after, wrong = whole(world)
    found = [*done.faults(), *wrong, *(f"lost: {name}" for name in sorted(world.whole - after))]
    world.whole = after
    if world.draw.random() < 0.2:
        found += as_it_was(world, worlds.run(world, world.command(*CODES)))
        world.clear()
    return found


def writers(world: World) -> list[str]:
    """Let several runs write one cache and one folder of results at once, and kill one of them."""
    world.clear()
    since = time.monotonic()
    logs = [world.folder / f"writer-{number}" for number in range(3)]
    children = [worlds.start(world, world.command(*CODES), log) for log in logs]
    killed = world.draw.uniform(0.0, 2.0 * world.run_s)
    ends = [killed, None, None]
    found: list[str] = []
    for child, log, end in zip(children, logs, ends, strict=True):
        done = worlds.wait(child, log, since, end)
        found += done.faults()
        if end is None and done.status != 0:
            found.append(f"a writer fails: {done.err[-600:]}")
    _, wrong = whole(world)
    return found + wrong + as_it_was(world, worlds.run(world, world.command(*CODES)))


def flip(world: World) -> list[str]:
    """Flip one bit of any file of a finished run: it is found, or changes nothing."""
    spare = world.folder / "finished"
    if not spare.is_dir():
        world.clear()
        done = worlds.run(world, world.command(*CODES))
        assert done.status == 0, done.err
        for name in ("cache", "results"):
            shutil.copytree(world.folder / name, spare / name, symlinks=True)
    world.clear()
    for name in ("cache", "results"):
        shutil.copytree(spare / name, world.folder / name)
    files = [p for f in (world.cache, world.results) for p in sorted(f.rglob("*"))
             if p.is_file() and p.stat().st_size]  # fmt: skip
    path = world.draw.choice(files)
    place = flip_bit(path, world.draw)
    label = f"{path.relative_to(world.folder)}, {place}"
    if path.is_relative_to(world.results):
        return [f"{label}: {fault}" for fault in _flipped_record(world, path)]
    done = worlds.run(world, world.command(*CODES))
    found = done.faults()
    if done.status == 0:
        found += as_it_was(world, done)
        found += _other_scores(world)
    _, wrong = whole(world)
    return [f"{label}: {fault}" for fault in (*found, *wrong)]


def flip_bit(path: Path, draw: random.Random) -> str:
    """Flip one bit of a file; return which."""
    content = bytearray(path.read_bytes())
    place, bit = draw.randrange(len(content)), draw.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place}"


def _flipped_record(world: World, path: Path) -> list[str]:
    """Return what is wrong where a flipped record is neither refused nor read as it was."""
    record = path.with_suffix(".json")
    done = worlds.run(world, ["verify", str(record)])
    found = done.faults()
    if done.status == 0 and path.suffix == ".json":
        import json

        spare = world.folder / "finished" / path.relative_to(world.folder)
        if json.loads(record.read_bytes()) != json.loads(spare.read_bytes()):
            found.append("verify takes a changed record")
    elif done.status == 0:
        found.append("verify takes changed arrays")
    shown = worlds.run(world, ["report", "--results", str(world.results)])
    found += shown.faults()
    if shown.status != 0:
        found.append(f"the report ends: {shown.err[-300:]}")
    return found


def _other_scores(world: World) -> list[str]:
    """Return whether the newest record scores otherwise than the first."""

    def look() -> list[Any]:
        from bench.records import record

        made = [record.read(path) for path in world.records()]
        return [item["scores"] for item in sorted(made, key=lambda first: first["run_id"])]

    scores = worlds.ask(world, look)
    return [] if all(score == scores[0] for score in scores) else ["other scores, in silence"]


FAULTS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)


def injection(world: World) -> list[str]:
    """Let a call of the system fail at any moment of a run: one sentence, and then as ever."""
    world.clear()
    number, after = world.draw.choice(FAULTS), world.draw.randrange(60)
    kind = world.draw.choice(("fsync", "replace", "open"))

    def before() -> None:
        inject(world, kind, after, number)

    done = worlds.run(world, world.command(*CODES), before=before)
    found = [f"{kind} {after} gives {errno.errorcode[number]}: {fault}" for fault in done.faults()]
    _, wrong = whole(world)
    return found + wrong + as_it_was(world, worlds.run(world, world.command(*CODES)))


def inject(world: World, kind: str, after: int, number: int) -> None:
    """Let the calls of one kind on files of the world fail from a moment on, in this process."""
    count = 0

    def fails(name: object) -> bool:
        nonlocal count
        inside = isinstance(name, int) or str(os.fspath(name)).startswith(  # type: ignore[call-overload]
            (str(world.cache), str(world.results))
        )
        count += inside
        return inside and after < count

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(name: Any, *more: Any, **named: Any) -> Any:
            if fails(name):
                raise OSError(number, os.strerror(number), str(name))
            return call(name, *more, **named)

        return wrapped

    if kind == "open":
        usual = builtins.open

        def wrapped(name: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
            if set(mode) & set("wxa+") and not isinstance(name, int) and fails(name):
                raise OSError(number, os.strerror(number), str(name))
            return usual(name, mode, *more, **named)

        import io

        builtins.open = io.open = wrapped  # type: ignore[assignment]
    elif kind == "fsync":
        os.fsync = failing(os.fsync)
    else:
        os.replace = failing(os.replace)
        os.rename = failing(os.rename)
