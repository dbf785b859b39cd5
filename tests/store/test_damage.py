"""What is read again is what was written: manifests, images, views and checkpoints."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.describe import engine, extract
from bench.errors import BenchError
from bench.images import turns
from bench.records import record
from bench.store import shards
from bench.system import checksums
from tests.support.commands import only


@pytest.mark.slow
def test_a_manifest_whose_missing_rows_are_edited_is_computed_again(
    cli, workspace, tiny: Path, described
) -> None:
    (tiny / "jpg" / "007.png").write_bytes(b"no image")
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--allow-missing")
    assert cli(*arguments).status == 0
    first = only(workspace.records())[1]
    for manifest in workspace.cache.glob("descriptors/*/shard-00000.json"):
        content = json.loads(manifest.read_bytes())
        if content["missing"]:
            content["missing"] = dict(zip(["8"], content["missing"].values(), strict=True))
            manifest.write_text(json.dumps(content))
    assert "damaged" in cli("cache", "verify").out
    described()
    assert cli(*arguments).status == 0
    assert 0 < described() <= 40, "one shard, and no other"
    assert cli("cache", "verify").status == 0
    newest = max(workspace.records(), key=lambda path: path.stat().st_mtime_ns)
    assert record.same(record.read(newest)["scores"], first["scores"])


def test_manifests_of_older_versions_are_taken_where_nothing_is_missing(tmp_path: Path) -> None:
    kept = shards.open_store(tmp_path, {"a": 1}, 4, 2)
    shards.write(kept, 0, np.ones((4, 2), dtype=np.float32))
    path = kept.path(0).with_suffix(".json")
    content = json.loads(path.read_bytes())
    del content["manifest_sha256"]
    path.write_text(json.dumps(content))
    assert shards.has(kept, 0)
    path.write_text(json.dumps({**content, "missing": {"3": "gone"}}))
    assert not shards.has(kept, 0, partial=True)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "during"])
def test_an_image_replaced_after_it_was_hashed_poisons_no_store(
    cli, refused, workspace, tiny: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    place = tiny / "jpg" / "100.png"
    old = place.read_bytes()
    usual = extract.describe_part if when == "before" else engine.rows_of
    done = False

    def swapped(*arguments: object) -> object:
        nonlocal done
        if done:
            return usual(*arguments)
        done = True
        Image.new("RGB", (8, 8), (1, 2, 3)).save(place)
        made = usual(*arguments)
        place.write_bytes(old)  # the old one is back before anybody looks again
        return made

    module = extract if when == "before" else engine
    name = "describe_part" if when == "before" else "rows_of"
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, swapped)
        # The first shard has not this image, and is not made: only its own is in question.
        data = json.loads((tiny / "dataset.json").read_text())
        data["database"].insert(0, data["database"].pop(100))
        (tiny / "dataset.json").write_text(json.dumps(data))
        assert f"{place} changed during the run" in refused(cli(*arguments))
    place.write_bytes(old)
    assert cli(*arguments).status == 0
    rows = {p.relative_to(workspace.cache): p.read_bytes() for p in workspace.cache.rglob("*.npy")}
    again = workspace.folder / "again"
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(again))
    assert cli(*arguments).status == 0
    assert rows == {p.relative_to(again): p.read_bytes() for p in again.rglob("*.npy")}


def test_a_checksum_fits_the_file_or_the_one_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"one")
    assert checksums.right(path) is None
    checksums.keep(path, checksums.of(path))
    assert checksums.right(path) is True
    (tmp_path / "new").write_bytes(b"two")
    checksums.keep(path, checksums.of(tmp_path / "new"))
    assert checksums.right(path) is True, "killed before the new one took its place"
    (tmp_path / "new").replace(path)
    assert checksums.right(path) is True
    path.write_bytes(b"twp")
    assert checksums.right(path) is False
    checksums.beside(path).write_bytes(b"")
    assert checksums.right(path) is False


def test_pixels_in_work_are_bounded_whatever_the_number_of_threads() -> None:
    most, now, lock = 0, 0, threading.Lock()
    sizes = [turns.MOST_PIXELS // 3, turns.MOST_PIXELS, 3 * turns.MOST_PIXELS, 1000] * 8
    meet = threading.Barrier(len(sizes))

    def work(pixels: int) -> None:
        nonlocal most, now
        meet.wait()
        with turns.turn(pixels):
            with lock:
                now += pixels
                assert now <= max(turns.MOST_PIXELS, pixels)
                most = max(most, now)
            with lock:
                now -= pixels

    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3 * turns.MOST_PIXELS, "one that is larger has its turn alone"


def test_leftovers_of_killed_runs_go_with_the_next_record(cli, workspace) -> None:
    arguments = ("run", "--method", "random-unit")
    assert cli(*arguments).status == 0
    path, _ = only(workspace.records())
    orphan = path.with_name("00000000-20260101T000000Z-00000a.npz")
    begun = path.with_name(f".{path.name}.0123abcd.tmp")
    foreign = path.with_name("of-the-user.npz")
    for file in (orphan, begun, foreign):
        file.write_bytes(b"x")
    assert cli(*arguments).status == 0
    assert [file.exists() for file in (orphan, begun, foreign)] == [False, False, True]
    assert path.with_suffix(".npz").exists()


def test_leftovers_of_facts_go_with_the_next_record(cli, workspace) -> None:
    """A fact that is there is read, and its killed writer's file would stay."""
    arguments = ("run", "--method", "random-unit")
    assert cli(*arguments).status == 0
    left = [workspace.cache / ".torch.json.0a1b2c3d.tmp",
            workspace.cache / "costs" / ".k.json.0a1b2c3d.tmp"]  # fmt: skip
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert cli(*arguments).status == 0
    assert not any(path.exists() for path in left)


def test_errors_of_records_have_one_line(specimen, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[" * 500 + "]" * 500)
    with pytest.raises(BenchError, match="nested too deeply"):
        record.read(tmp_path / "x.json")
