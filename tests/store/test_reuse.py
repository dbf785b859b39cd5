"""A list that changes a little: shards that did not change are taken from the store before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.store import shards


@pytest.fixture
def command(tiny: Path) -> tuple[Any, ...]:
    """Return the command that describes the tiny data set: shards of 32, the last of 24."""
    return ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu")


def shard_bytes(cache: Path) -> dict[str, bytes]:
    """Return the bytes of all shards and manifests."""
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.glob("descriptors/*/shard-*"))
        if path.suffix != ".lock"
    }


def database(tiny: Path, change: Any) -> None:
    """Change the list of the database."""
    data = json.loads((tiny / "dataset.json").read_text())
    change(data["database"])
    (tiny / "dataset.json").write_text(json.dumps(data))


@pytest.mark.slow
def test_a_replaced_image_costs_its_shard_and_the_bytes_are_those_of_a_fresh_cache(
    workspace, cli, tiny: Path, command, described, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*command).status == 0
    before = shard_bytes(workspace.cache)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tiny / "jpg" / "300.png", compress_level=0)
    described()
    dry = cli(*command, "--dry-run")
    assert "database: 600 images, 32 to describe" in dry.out
    assert shard_bytes(workspace.cache) == before
    described()
    assert cli(*command).status == 0
    assert described() == 32
    after = shard_bytes(workspace.cache)
    assert cli("cache", "verify").status == 0
    record = json.loads(max(workspace.records(), key=lambda p: p.stat().st_mtime_ns).read_text())
    assert record["timing"]["images_from_store"] == 605 - 32
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(workspace.folder / "fresh"))
    assert cli(*command).status == 0
    assert described() == 605
    fresh = shard_bytes(workspace.folder / "fresh")
    assert {name: content for name, content in after.items() if name in fresh} == fresh
    assert after.keys() - fresh.keys() < before.keys()
    for name, content in before.items():
        assert after[name] == content, "the store before is as it was"


@pytest.mark.slow
def test_images_appended_leave_whole_shards_and_one_put_first_leaves_none(
    workspace, cli, tiny: Path, command, described
) -> None:
    assert cli(*command).status == 0
    for name in ("new.png", "newer.png"):
        Image.new("RGB", (8, 8), (9, len(name), 3)).save(tiny / "jpg" / name, compress_level=0)
    described()
    database(tiny, lambda files: files.append("new.png"))
    assert cli(*command).status == 0
    assert described() == 25
    database(tiny, lambda files: files.insert(0, "newer.png"))
    assert cli(*command).status == 0
    assert described() == 602


@pytest.mark.slow
def test_only_whole_shards_of_the_same_rule_are_taken(
    workspace, cli, tiny: Path, command, described
) -> None:
    assert cli(*command).status == 0
    (folder,) = [
        path for path in (workspace.cache / "descriptors").iterdir()
        if (path / "shard-00018.npy").exists()
    ]  # fmt: skip
    (folder / "shard-00004.npy").write_bytes(b"damaged")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tiny / "jpg" / "300.png", compress_level=0)
    described()
    assert cli(*command).status == 0
    assert described() == 2 * 32, "the damaged one is no use to anybody"

    other = tiny / "other" / "halves.py"
    other.parent.mkdir()
    method = (tiny / "halves.py").read_text()
    other.write_text(method.replace('version="1"', 'version="2"'))
    assert cli("run", "--method", other, *command[3:]).status == 0
    assert len(other.with_name("count").read_text()) == 605
    for file in (workspace.cache / "descriptors").glob("*/images.jsonl"):
        file.write_text("spoilt")
    Image.new("RGB", (8, 8), (3, 2, 1)).save(tiny / "jpg" / "301.png", compress_level=0)
    assert cli(*command).status == 0
    assert described() == 600, "a list that is not that of its key is not believed"


def test_a_store_that_gives_shards_is_not_pruned_meanwhile(workspace, tiny: Path) -> None:
    import numpy as np

    from bench.store import reuse
    from bench.system.hashing import sha256_lines

    def key(lines: list[str]) -> dict[str, Any]:
        return {"images": {"count": len(lines), "sha256": sha256_lines(lines)}, "shard_rows": 32}

    lines = [f'["{i}.jpg", null, "a"]' for i in range(40)]
    other = shards.open_store(workspace.cache, key(lines), 40, 2)
    shards.begin(other, key(lines), "".join(f"{line}\n" for line in lines))
    shards.write(other, 0, np.ones((32, 2), np.float32), {5: "5.jpg is empty"})
    shards.release()
    fresh = [*lines[:39], '["39.jpg", null, "b"]']
    kept = shards.open_store(workspace.cache, key(fresh), 40, 2)
    assert reuse.find(kept, key(fresh), fresh, [0, 1], partial=False) == {}, "it lacks an image"
    assert reuse.find(kept, key(fresh), fresh, [0, 1], partial=True) == {0: other}
    with shards.alone(other.folder) as free:
        assert not free
    shards.begin(kept, key(fresh), "")
    reuse.take(kept, 0, other)
    assert shards.has(kept, 0, partial=True)
    assert shards.absent_rows(kept) == {5: "5.jpg is empty"}
    assert sorted(p.name for p in kept.folder.iterdir() if p.name.startswith("shard")) == [
        "shard-00000.json", "shard-00000.npy",
    ]  # fmt: skip
    shards.release()
