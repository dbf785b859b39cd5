"""The command `cache` on what is no store: codes, ground truth, fingerprints, what was killed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.commands import cache_inventory
from bench.data import ground_truth
from bench.system.paths import complete_or_absent, unheld
from tests.support.checkout import ROOT


@pytest.fixture
def codes(workspace, cli, tiny: Path) -> Path:
    """Run with compression; return the folder of the codes."""
    arguments = ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--limit", "40")
    assert cli(*arguments, "--compression", "pq3x4").status == 0
    (folder,) = (workspace.cache / "compressed").iterdir()
    return folder


def test_codes_are_listed_explained_and_verified(workspace, cli, codes: Path) -> None:
    name = codes.name[:8]
    text = {line.split()[0]: line for line in cli("cache", "list").out.splitlines()}
    size = sum(path.stat().st_size for path in codes.iterdir())
    assert re.fullmatch(
        rf"{name}  compressed  halves\.plain  pq3x4 of 40 rows  2/2 files  {size / 1000:.1f} kB  "
        r"used 20\d\d-\d\d-\d\d \d\d:\d\d", text[name]
    )  # fmt: skip
    why = cli("cache", "why", name).out
    assert why.startswith(f"{codes}: compressed, 2/2 files\n")
    assert "  compression: pq3x4" in why
    assert cli("cache", "verify").out == "5 shards of 3 stores match their checksums\n"
    part = codes / "part-00000.npy"
    content = bytearray(part.read_bytes())
    content[-1] ^= 1
    part.write_bytes(content)
    (codes / "centroids.npy").unlink()
    result = cli("cache", "verify")
    assert result.status == 1
    assert f"{name}: damaged codes: {part}" in result.out
    assert f"{name}: damaged codes: {codes / 'centroids.npy'}" in result.out
    result = cli("cache", "prune")
    assert f"{name} halves.plain: unusable files of the store, 3 files" in result.out
    left = {path.name for path in codes.iterdir()}
    assert left == {"key.json", "lock", "used"}


def test_codes_are_pruned_with_the_stores_of_their_method(workspace, cli, codes: Path) -> None:
    cli("cache", "prune", "--method", "gem")
    assert codes.exists()
    cli("cache", "prune", "--method", "halves")
    assert not list(workspace.cache.glob("*/*/key.json"))
    assert not codes.exists()


def test_codes_without_their_store_and_folders_without_a_key(workspace, cli, codes: Path) -> None:
    for store_ in (workspace.cache / "descriptors").iterdir():
        for path in store_.iterdir():
            path.unlink()
        store_.rmdir()
    assert f"{codes.name[:8]}  compressed  not.known  pq3x4" in cli("cache", "list").out
    cli("cache", "prune", "--method", "halves")
    assert codes.exists()
    (codes / "key.json").write_text("{}")
    (codes / "mine.txt").write_text("mine")
    assert f"{codes.name[:8]}  compressed  not a store" in cli("cache", "list").out
    assert cli("cache", "verify").status == 1
    assert (
        f"not removed, as no store writes such a file: {codes / 'mine.txt'}"
        in cli("cache", "prune").out
    )
    assert [path.name for path in codes.iterdir()] == ["mine.txt"]


def test_codes_in_use_are_left(workspace, cli, codes: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from bench.store import shards\n"
        "shards.use(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    using = subprocess.Popen(
        [sys.executable, "-c", code, str(codes)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert using.stdout is not None
    assert using.stdout.readline() == "held\n"
    assert f"{codes.name[:8]} halves.plain: in use" in cli("cache", "prune", "--all").out
    assert codes.exists()
    using.kill()
    using.communicate()


def test_brought_descriptors_are_let_go_of(workspace, cli, small_file: Path, brought) -> None:
    database, queries = brought
    arguments = ("--dataset", small_file, "--database", database, "--queries", queries)
    assert cli("evaluate", *arguments, "--compression", "float16").status == 0
    assert "compressed  not.known  float16 of 8 rows  1/1 files" in cli("cache", "list").out
    assert "in use" not in cli("cache", "prune", "--all").out
    assert not list((workspace.cache / "compressed").iterdir())


# --- all else -----------------------------------------------------------------------------------


def test_all_else_is_listed_and_verified(workspace, cli, codes: Path, tmp_path: Path) -> None:
    source = tmp_path / "gnd.pkl"
    source.write_bytes(b"source")
    ground_truth.once([source], "reader 1", lambda contents: {"a": len(contents)})
    (kept,) = (workspace.cache / "truth").glob("*.json")
    weights = workspace.cache / "weights" / "delg" / "r50" / "a.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"x" * 2000)
    (workspace.cache / "holiday").mkdir()
    result = cli("cache", "list").out
    lines = {line.split("  ")[0]: line for line in result.splitlines()}
    size = (workspace.cache / "fingerprints.sqlite").stat().st_size
    assert lines["weights"] == f"weights  {cache_inventory.REST['weights']}  1 files  2.0 kB"
    assert lines["truth"].startswith(f"truth  {cache_inventory.REST['truth']}  1 files  ")
    assert lines["fingerprints.sqlite"].endswith(f"1 files  {size / 1000:.1f} kB")
    assert lines["holiday"] == "holiday  not written by this program  0 files  0 bytes"
    total = sum(path.stat().st_size for path in workspace.cache.rglob("*") if path.is_file())
    assert f"3 stores, {total / 1000:.1f} kB, in" in result
    assert cli("cache", "verify").status == 0
    kept.write_text(kept.read_text().replace('"a":1', '"a":2'))
    (workspace.cache / "fingerprints.sqlite").write_bytes(b"no table" * 100)
    result = cli("cache", "verify")
    assert result.status == 1
    assert f"damaged ground truth: {kept}" in result.out
    assert f"a damaged table: {workspace.cache / 'fingerprints.sqlite'}" in result.out
    cli("cache", "prune")
    assert not kept.exists()
    assert not (workspace.cache / "fingerprints.sqlite").exists()
    assert weights.exists()
    assert codes.exists()


def test_all_is_all_that_can_be_computed_again(workspace, cli, codes: Path) -> None:
    weights = workspace.cache / "weights" / "delg" / "r50" / "a.pth"
    kept = workspace.cache / "truth" / f"{'0' * 64}.json"
    for path in (weights, kept):
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    dry = cli("cache", "prune", "--all", "--dry-run")
    assert kept.exists()
    assert codes.exists()
    assert cli("cache", "prune", "--all").out == dry.out.replace("would be removed", "removed")
    assert [path for path in workspace.cache.rglob("*") if path.is_file()] == [weights]


WRITER = """
import sys, time
from pathlib import Path
from bench.system.paths import complete_or_absent
with complete_or_absent(Path(sys.argv[1])) as file:
    file.write(b"half" * 500)
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("place", ["truth/a.json", "weights/delg/r50/a.pth.json", "a.bin"])
def test_what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not(
    workspace, cli, place: str
) -> None:
    path = workspace.cache / place
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    (temporary,) = path.parent.glob(".*.tmp")
    assert cli("cache", "prune").out == "0 bytes removed\n"
    assert temporary.exists()
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert cli("cache", "prune", "--dry-run").out.endswith("2.0 kB would be removed\n")
    assert temporary.exists()
    result = cli("cache", "prune").out
    assert result == f"{temporary.relative_to(workspace.cache)}: 2.0 kB\n2.0 kB removed\n"
    assert not temporary.exists()


def test_a_writer_whose_file_is_taken_before_it_is_locked_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    lock, taken = fcntl.flock, []

    def late(file, how: int) -> None:
        if not taken:
            taken.append(file.name)
            Path(file.name).unlink()
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with complete_or_absent(tmp_path / "a") as file:
        file.write(b"whole")
        with unheld(Path(file.name)) as free:
            assert not free
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len(taken) == 1
