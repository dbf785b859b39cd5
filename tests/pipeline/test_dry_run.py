"""What a run costs, before it begins; and disks that are too small for it, or become so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as Pillow

from bench.describe import engine, probe
from bench.errors import BenchError
from bench.images import decode
from bench.store import room
from bench.types import Image

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def command_line(tiny: Path) -> tuple[object, ...]:
    """Return the command that describes the tiny data set."""
    return ("run", "--method", tiny / "halves.py", "--dataset", tiny, "--device", "cpu",
            "--measure", "none")  # fmt: skip


@pytest.mark.slow
def test_a_dry_run_measures_a_few_images_and_writes_nothing(
    workspace, cli, tiny: Path, command_line, described
) -> None:
    (tiny / "slow").write_text("0.01")
    result = cli(*command_line, "--dry-run")
    assert result.status == 0, result.err
    assert described() == 9, "eight, and one to warm up"
    assert "database: 600 images, 600 to describe, 14.4 kB stored" in result.out
    assert "queries: 5 images, 5 to describe, 120 bytes stored" in result.out
    assert re.search(
        r"^to write: \d+\.\d kB; \d+\.\d [GM]B are free for ", result.out, re.MULTILINE
    )
    found = re.search(r"time: about (\d+\.?\d*) s for 605 images \(0\.\d s each, measured on 8\)",
                      result.out)  # fmt: skip
    assert found is not None, result.out
    assert float(found[1]) > 6
    assert not (workspace.cache / "descriptors").exists()
    assert workspace.records() == []
    assert cli(*command_line).status == 0
    described()
    result = cli(*command_line, "--dry-run")
    assert "600 images, 0 to describe" in result.out
    assert "expected time" not in result.out
    assert described() == 0, "no probe where there is nothing to do"


def test_a_run_says_first_what_it_is_going_to_do(workspace, cli, tiny: Path, command_line) -> None:
    first = cli(*command_line).err.splitlines()[0]
    assert re.fullmatch(r"to describe: 605 images; to write: [0-9.]+ kB; .* are free for .*", first)
    assert "to describe" not in cli(*command_line).err


@pytest.mark.parametrize("verb", ["run", "dry-run", "extract"])
def test_a_disk_without_room_is_refused_at_once(
    workspace, cli, refused, tiny: Path, command_line, described, monkeypatch, verb: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 0, 20_000))
    more = ("--dry-run",) if verb == "dry-run" else ()
    if verb == "extract":
        command_line = ("extract", *command_line[1:-2], "--output", tiny / "out.npz")
    text = refused(cli(*command_line, *more))
    assert re.match(
        rf"the disk of {workspace.cache}.* has 20\.0 kB free, but the run would write \d+\.\d kB "
        r"\(describe.* \d+\.\d kB.*\)\. Free some space, or choose folders ", text
    )  # fmt: skip
    assert described() == 0
    assert not list(workspace.cache.rglob("*.npy"))


def test_what_is_there_needs_no_room(workspace, cli, tiny: Path, command_line, monkeypatch) -> None:
    assert cli(*command_line).status == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**6, 0, 60_000))
    assert cli(*command_line).status == 0


def test_folders_of_one_disk_share_its_room(tmp_path: Path, monkeypatch) -> None:
    needs = [room.Need(tmp_path / name, 600, name) for name in ("a", "b")]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1200))
    room.check_room(needs)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1199))
    with pytest.raises(
        BenchError, match=r"has 1\.2 kB free, but the run would write 1\.2 kB .*a 600 bytes, b 600"
    ):
        room.check_room(needs)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (999_949, "999.9 kB"),
     (999_950, "1.0 MB"), (8_241_000_000, "8.2 GB"), (3e12, "3000.0 GB")],
)  # fmt: skip
def test_sizes_in_words(count: float, text: str) -> None:
    assert room.size(count) == text


def test_the_probe_sees_small_and_large_images(tmp_path: Path, monkeypatch) -> None:
    """40 images of 40 sizes: those tried are spread over them, in any beginning as well."""
    wanted = []
    for i in range(40):
        Pillow.new("RGB", (8, 10 + 10 * i)).save(tmp_path / f"{i}.png")
        wanted.append(Image(str(i), f"{i}.png"))
    (tmp_path / "0.png").write_bytes(b"broken")
    sides = [
        decode.header_size(tmp_path / item.file)[1] for item in probe._spread(tmp_path, wanted)
    ]
    assert len(set(sides)) == 8
    assert min(sides) < 100
    assert max(sides) > 300
    assert max(sides[:3]) - min(sides[:3]) > 150

    shown: list[str] = []

    def rows_of(loaded, folder, part, progress):
        shown.extend(item.file for item in part)
        return None, {}

    monkeypatch.setattr(engine, "rows_of", rows_of)
    probed = probe.probe(None, tmp_path, wanted)  # type: ignore[arg-type]
    assert probed is not None
    assert probed.images == 8
    assert len(shown) == 9
    monkeypatch.setattr(probe, "PROBE_S", -1.0)
    few = probe.probe(None, tmp_path, wanted)  # type: ignore[arg-type]
    assert few is not None
    assert few.images == 1, "it stops when its time is over"
    assert probe.probe(None, tmp_path, wanted[:1]) is None  # type: ignore[arg-type]
    assert "not known" in probe.say_time(None, 1)


# --- really full --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 160 kB, or skip where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no command mount")
    if done.returncode != 0:
        pytest.skip(f"only an administrator may mount a small disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_small_disk_is_refused_before_any_work(
    process, refused, tiny: Path, command_line, described, small_disk: Path
) -> None:
    text = refused(process(*command_line, env={"RETRIEVAL_BENCH_CACHE": str(small_disk)}))
    assert re.match(rf"the disk of {small_disk}.* has \d+\.\d kB free, but the run would", text)
    assert described() == 0


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_what_is_finished(
    workspace, process, refused, tiny: Path, command_line, described, small_disk: Path
) -> None:
    """Somebody else fills the disk while the run goes on; when there is room it goes on."""
    cache = {"RETRIEVAL_BENCH_CACHE": str(small_disk)}
    command_line = (*command_line, "--results", workspace.results)
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    whole = (tiny / "halves.py").read_text()
    filling = (
        "if Path(__file__).with_name('count').exists() and len(Path(__file__).with_name('count')"
        f".read_text()) > 300:\n            fill({str(small_disk)!r})\n        halves ="
    )
    fill = (
        "\n\ndef fill(folder):\n    try:\n        with open(folder + '/other', 'wb') as file:\n"
        "            file.write(bytes(5_000_000))\n    except OSError:\n        pass\n"
    )
    (tiny / "halves.py").write_text(whole.replace("halves =", filling, 1) + fill)
    text = refused(process(*command_line, env=cache))
    assert "No space left on device" in text
    assert re.search(rf"{small_disk}/descriptors/\w+/shard-\d+\.(npy|json)", text)
    assert "run the same command again" in text
    assert workspace.records() == []
    assert not list(small_disk.rglob(".*.tmp"))
    done = len(list(small_disk.rglob("shard-*.json")))
    assert done >= 8

    (small_disk / "other").unlink()
    (tiny / "halves.py").write_text(whole)
    described()
    assert process(*command_line, env=cache).status == 0
    assert described() == 605 - 32 * done
    after = {p.name: p.read_bytes() for p in small_disk.rglob("shard-*.npy")}
    assert process(*command_line, "--force", env=cache).status == 0
    assert after == {p.name: p.read_bytes() for p in small_disk.rglob("shard-*.npy")}
    assert len({json.dumps(json.loads(p.read_text())["scores"]) for p in workspace.records()}) == 1


@pytest.mark.slow
def test_a_limit_of_the_system_is_an_error_with_advice(workspace, process, refused) -> None:
    """No file may grow beyond 10,000 bytes: the shard does not fit; without the limit it does."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    arguments = ("run", "--method", "random-unit", "--results", workspace.results)
    message = process(*arguments, preexec_fn=limit)
    text = refused(message)
    assert "File too large" in text
    assert re.search(rf"{re.escape(str(workspace.cache))}/descriptors/\w+/shard-00000\.npy", text)
    assert "run the same command again" in text
    assert workspace.records() == []
    assert not [p for p in workspace.cache.rglob("*") if p.name.endswith((".tmp", ".npy"))]
    assert process(*arguments).status == 0
    assert len(workspace.records()) == 1
