"""The command `cache`: what it says is so, and what it removes is what it said."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.store import file_hashes, shards
from bench.system.hashing import sha256_lines
from tests.support.checkout import ROOT


def key_of(lines: list[str], **changes: Any) -> dict[str, Any]:
    """Return a key as extraction makes it, with a list of images."""
    key = {
        "code": 1,
        "shard_rows": 32,
        "images": {"count": len(lines), "sha256": sha256_lines(lines)},
        "method": {"name": "delg", "variant": "r50", "dim": 4, "weights_sha256": "aa"},
        "preprocess": {"max_side_px": 1024},
    }
    method = {**key["method"], **changes.pop("method", {})}
    return {**key, "method": method, **changes}


def listed(*changed: int, count: int = 70) -> list[str]:
    """Return the list of images of a store; those `changed` have different content."""
    return [
        json.dumps([f"{i}.jpg", None, f"{'new' if i in changed else 'old'}{i}"])
        for i in range(count)
    ]


def made(workspace, key: dict[str, Any], lines: list[str], count: int = 9) -> shards.Store:
    """Make a store on disk with some of its shards, in use by nobody."""
    import numpy as np

    kept = shards.open_store(workspace.cache, key, len(lines), 4, per_shard=32)
    shards.begin(kept, key, "".join(f"{line}\n" for line in lines))
    for shard in list(kept.shards())[:count]:
        first, end = kept.span(shard)
        shards.write(kept, shard, np.ones((end - first, 4), np.float32))
    shards.release()
    return kept


@pytest.fixture
def three(workspace) -> list[shards.Store]:
    """Make a whole store, one of other weights, and a part of one of another method."""
    return [
        made(workspace, key_of(listed()), listed()),
        made(workspace, key_of(listed(), method={"weights_sha256": "bb"}), listed()),
        made(workspace, key_of(listed(), method={"name": "gem", "dim": 4}), listed(), count=1),
    ]


def names(workspace) -> set[str]:
    """Return the folders of stores that are left."""
    return {folder.name for folder in (workspace.cache / "descriptors").iterdir()}


# --- list ---------------------------------------------------------------------------------------


def test_list_has_a_line_per_store(workspace, cli, three) -> None:
    result = cli("cache", "list")
    assert result.status == 0
    *lines, last = result.out.splitlines()
    text = {line.split()[0]: line for line in lines}
    item = re.fullmatch(
        r"\w{8}  descriptors  delg\.r50  70 images from 0\.jpg  3/3 shards  (\d\.\d) kB  "
        r"used 20\d\d-\d\d-\d\d \d\d:\d\d", text[three[0].folder.name[:8]]
    )  # fmt: skip
    assert item is not None, result.out
    size = sum(path.stat().st_size for path in three[0].folder.iterdir())
    assert item[1] == f"{size / 1000:.1f}"
    assert "gem.r50  70 images from 0.jpg  1/3 shards" in text[three[2].folder.name[:8]]
    assert re.fullmatch(rf"3 stores, \d+\.\d kB, in {workspace.cache}", last)
    os.utime(three[1].folder / "used", (0, 0))
    assert cli("cache", "list").out.splitlines()[-2].startswith(three[1].folder.name[:8])


def test_list_of_nothing(workspace, cli) -> None:
    assert cli("cache", "list").out == f"0 stores, 0 bytes, in {workspace.cache}\n"
    assert cli("cache", "verify").status == 0
    assert cli("cache", "prune", "--all").out == "0 bytes removed\n"


# --- why ----------------------------------------------------------------------------------------


def test_why_says_in_what_a_store_differs_from_the_nearest(workspace, cli, three) -> None:
    result = cli("cache", "why", three[0].folder.name[:8])
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0] == f"{three[0].folder}: descriptors, 3/3 shards"
    assert "  method.name: delg" in lines
    assert "  images.count: 70" in lines
    assert lines[-2:] == [
        f"the most similar store is {three[1].folder.name[:8]}; values of this store / of that "
        "store:",
        "  method.weights_sha256: aa / bb",
    ]


def test_why_counts_the_images_that_differ(workspace, cli) -> None:
    old = listed()
    new = [*listed(3, 60)[:69], json.dumps(["0-new.jpg", [0, 0, 1, 1], "x"])]
    new[5] = json.dumps(["5.jpg", [1, 2, 3, 4], "old5"])
    first = made(workspace, key_of(old), old)
    second = made(workspace, key_of(new), new)
    result = cli("cache", "why", second.folder.name)
    assert result.out.splitlines()[-5:] == [
        f"the most similar store is {first.folder.name[:8]}; values of this store / of that store:",
        "  images: 2 of 70 have different content: 3.jpg, 60.jpg",
        "  images: 1 of 70 have a different box: 5.jpg",
        "  images: 1 of 70 in this list are absent from the other: 0-new.jpg",
        "  images: 1 of 70 in the other list are absent from this one: 69.jpg",
    ]
    turned = old[::-1]
    third = made(workspace, key_of(turned), turned)
    result = cli("cache", "why", third.folder.name[:12])
    assert result.out.splitlines()[-1] == "  images: the same, in another order"
    (third.folder / "images.jsonl").write_text("\n".join(old))
    assert "a list is damaged" in cli("cache", "why", third.folder.name[:12]).out


def test_why_of_a_real_change(workspace, cli, tiny: Path) -> None:
    """Somebody replaces a photograph, and asks why all was computed again."""
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu",
             "--limit", "40")  # fmt: skip
    assert cli(*arguments).status == 0
    before = names(workspace)
    shutil.copy(tiny / "jpg" / "500.png", tiny / "jpg" / "017.png")
    assert cli(*arguments).status == 0
    (new,) = names(workspace) - before
    result = cli("cache", "why", new[:8])
    assert result.out.splitlines()[-1] == "  images: 1 of 40 have different content: 017.png"
    assert "halves.plain  40 images from 000.png  2/2 shards" in cli("cache", "list").out


def test_why_of_a_key_that_is_not_there(workspace, cli, refused, three) -> None:
    name = three[0].folder.name
    near = name[:6] + ("00" if name[6:8] != "00" else "11")
    text = refused(cli("cache", "why", near))
    assert f"no store is called '{near}'; did you mean {name[:8]}" in text
    for kept in three:
        assert kept.folder.name[:8] in text
    assert "is the beginning of several keys" in refused(cli("cache", "why", ""))


def test_why_of_the_only_store(workspace, cli) -> None:
    kept = made(workspace, key_of(listed()), listed())
    assert cli("cache", "why", kept.folder.name).out.endswith("to compare it with\n")


# --- verify -------------------------------------------------------------------------------------


def test_verify_names_what_is_damaged(workspace, cli, three) -> None:
    result = cli("cache", "verify")
    assert (result.status, result.out) == (0, "7 shards of 3 stores match their checksums\n")
    content = bytearray(three[0].path(1).read_bytes())
    content[-1] ^= 1
    three[0].path(1).write_bytes(content)
    three[1].path(2).with_suffix(".json").unlink()
    (three[2].folder / "key.json").write_text("{}")
    result = cli("cache", "verify")
    assert result.status == 1
    assert f"a damaged shard: {three[0].path(1)}" in result.out
    assert f"a damaged shard: {three[1].path(2)}" in result.out
    assert f"not a store: its key.json does not match it: {three[2].folder}" in result.out
    assert result.out.splitlines()[-1].startswith("3 damaged; ")
    (three[1].folder / "images.jsonl").write_text("other")
    assert "the list of images does not match the key" in cli("cache", "verify").out


# --- prune --------------------------------------------------------------------------------------


def test_prune_alone_removes_what_is_of_no_use(workspace, cli, three) -> None:
    """Leftovers, damaged shards, rows without a manifest, a manifest without rows, no store."""
    first, two, three_ = three
    before = {path: path.read_bytes() for path in first.folder.iterdir()}
    leftover = first.folder / ".shard-00001.npy.0123abcd.tmp"
    leftover.write_bytes(b"half" * 1000)
    two.path(0).write_bytes(b"damaged")
    two.path(1).with_suffix(".json").unlink()
    two.path(2).unlink()
    (three_.folder / "key.json").write_text("{}")
    dry = cli("cache", "prune", "--dry-run")
    assert dry.status == 0
    assert leftover.exists()
    assert len(names(workspace)) == 3
    result = cli("cache", "prune")
    assert result.out == dry.out.replace("would be removed", "removed")
    assert f"{first.folder.name[:8]} delg.r50: unusable files of the store, 1 files, 4.0 kB" in (
        result.out.splitlines()
    )
    assert {path: path.read_bytes() for path in first.folder.iterdir()} == before
    left = {path.name for path in two.folder.iterdir() if path.suffix != ".lock"}
    assert left == {"images.jsonl", "key.json", "used"}
    assert not three_.folder.exists()
    assert cli("cache", "prune").out == "0 bytes removed\n"


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--all"], []),
        (["--method", "delg"], [2]),
        (["--method", "gem.r50"], [0, 1]),
        (["--method", "gem.r101"], [0, 1, 2]),
        (["--keep-days", "9"], [1, 2]),
        (["--keep-days", "9", "--method", "gem"], [0, 1, 2]),
        (["--keep-days", "11"], [0, 1, 2]),
    ],
)
def test_prune_removes_the_stores_that_are_selected(
    workspace, cli, three, options: list[str], left: list[int]
) -> None:
    weights = workspace.cache / "weights" / "delg" / "r50" / "a.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    ten_days_ago = time.time() - 10 * 86_400
    os.utime(three[0].folder / "used", (ten_days_ago, ten_days_ago))
    dry = cli("cache", "prune", "--dry-run", *options)
    assert len(names(workspace)) == 3
    result = cli("cache", "prune", *options)
    assert result.status == 0
    assert result.out == dry.out.replace("would be removed", "removed")
    assert names(workspace) == {three[i].folder.name for i in left}
    assert weights.read_bytes() == b"weights"


def test_prune_leaves_files_that_no_store_writes(workspace, cli, three) -> None:
    mine = three[0].folder / "notes.txt"
    mine.write_text("mine")
    elsewhere = workspace.folder / "elsewhere"
    shutil.copytree(three[1].folder, elsewhere)
    link = workspace.cache / "descriptors" / ("0" * 32)
    link.symlink_to(elsewhere)
    result = cli("cache", "prune", "--all")
    assert f"  not removed, as no store writes such a file: {mine}" in result.out
    assert [path.name for path in three[0].folder.iterdir()] == ["notes.txt"]
    assert link.is_symlink()
    assert (elsewhere / "key.json").exists()


def test_prune_leaves_a_store_in_use(workspace, cli, three) -> None:
    code = (
        "import sys, time; from pathlib import Path; from bench.store import shards\n"
        "shards.use(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    using = subprocess.Popen(
        [sys.executable, "-c", code, str(three[0].folder)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert using.stdout is not None
    assert using.stdout.readline() == "held\n"
    before = sorted(path.name for path in three[0].folder.iterdir())
    result = cli("cache", "prune", "--all")
    assert f"{three[0].folder.name[:8]} delg.r50: in use, not removed" in result.out
    assert names(workspace) == {three[0].folder.name}
    assert sorted(path.name for path in three[0].folder.iterdir()) == before
    using.kill()
    using.communicate()
    cli("cache", "prune", "--all")
    assert names(workspace) == set()


def test_a_store_may_be_pruned_between_two_uses(workspace, cli, three) -> None:
    """A run that comes just after makes its folder again."""
    with shards.alone(three[0].folder) as free:
        assert free
        shutil.rmtree(three[0].folder)
    shards.use(three[0].folder)
    assert (three[0].folder / "used").exists()
    with shards.alone(three[0].folder) as free:
        assert not free
    shards.release()


def test_a_run_lets_go_of_its_stores(workspace, cli, tiny: Path) -> None:
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--limit", "3")
    assert cli(*arguments).status == 0
    (tiny / "jpg" / "001.png").write_bytes(b"")
    assert cli(*arguments).status == 1
    assert "in use" not in cli("cache", "prune", "--all").out
    assert not names(workspace)
    shutil.copy(tiny / "jpg" / "002.png", tiny / "jpg" / "001.png")
    assert cli(*arguments).status == 0


def test_what_prune_took_is_made_again(workspace, cli, tiny: Path, described) -> None:
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--limit", "40")
    assert cli(*arguments).status == 0
    (listed_,) = [p for p in workspace.cache.rglob("images.jsonl") if "034" in p.read_text()]
    whole = {p.name: p.read_bytes() for p in listed_.parent.iterdir()}
    listed_.write_text("spoilt")
    (listed_.parent / "shard-00001.npy").write_bytes(b"spoilt")
    assert cli("cache", "prune").status == 0
    assert not listed_.exists()
    described()
    assert cli(*arguments).status == 0
    assert described() == 8
    assert {p.name: p.read_bytes() for p in listed_.parent.iterdir()} == whole
    assert cli("cache", "verify").status == 0


def test_wrong_options_and_actions_are_answered(workspace, cli, refused) -> None:
    assert "did you mean --keep-days" in refused(cli("cache", "prune", "--keep-day", "3"))
    assert "--keep-days: '-3' is not a whole number" in refused(
        cli("cache", "prune", "--keep-days", "-3")
    )
    assert "'purge'; did you mean prune?" in refused(cli("cache", "purge"))
    assert file_hashes.of_files([], workspace.cache) == []
