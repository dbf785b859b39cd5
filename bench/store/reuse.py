"""Shards of a store that another one already has: a list of which one image was replaced, say.

Two stores whose keys differ in nothing but the images cut their lists alike; a shard of the same
images at the same place has the same content in both, to the last bit. It is linked, not copied.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.store.shards import Store, has, manifest, seal, use
from bench.system import reading
from bench.system.hashing import canonical_json, sha256_json, sha256_lines

Key = Mapping[str, Any]


def find(
    kept: Store, key: Key, lines: Sequence[str], shards: Sequence[int], *, partial: bool
) -> dict[int, Store]:
    """Return which of the shards another store has, and which store; these stay locked.

    `lines` are those of images.jsonl. Every byte of a shard that is found is checked.
    """
    found: dict[int, Store] = {}
    for folder in sorted(kept.folder.parent.glob("[0-9a-f]*")) if shards else ():
        if folder == kept.folder or len(found) == len(shards):
            continue
        other = _like(kept, key, folder)
        if other is None:
            continue
        theirs = _lines(folder)
        for shard in shards:
            first, end = kept.span(shard)
            same = other.span(shard) == (first, end) and lines[first:end] == theirs[first:end]
            if same and shard not in found and has(other, shard, partial=partial):
                use(folder)
                found[shard] = other
    return found


def take(kept: Store, shard: int, other: Store) -> None:
    """Put the shard of another store into this one, with a manifest of its own."""
    entry = manifest(other, shard)
    if entry is None:
        return
    path = kept.path(shard)
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        try:
            os.link(other.path(shard), temporary)
        except OSError:  # a file system without links
            shutil.copyfile(other.path(shard), temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    seal(kept, shard, entry["sha256"], entry["missing"])


def _like(kept: Store, key: Key, folder: Path) -> Store | None:
    """Return the store in a folder if its key differs from `key` in the images alone."""
    try:
        theirs = reading.json_file(folder / "key.json")
        digest = sha256_json(theirs)
        rows, expected = int(theirs["images"]["count"]), theirs["images"]["sha256"]
        alike = canonical_json({**theirs, "images": None}) == canonical_json(
            {**key, "images": None}
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not alike or digest[:32] != folder.name or sha256_lines(_lines(folder)) != expected:
        return None
    return Store(folder, rows, kept.dim, kept.per_shard, digest)


def _lines(folder: Path) -> list[str]:
    try:
        return (folder / "images.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
