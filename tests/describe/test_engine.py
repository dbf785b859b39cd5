"""The engine: rows that depend on the images alone, decoding in processes, too little memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from bench.describe import engine, extract, loading, prefetch
from bench.errors import BenchError
from bench.images import decode
from bench.settings import Settings
from bench.store import shards
from bench.system import memory
from bench.system.progress import Progress
from bench.types import Image, MethodInfo, Preprocess
from tests.support.checkout import ROOT

TOLERANCE = 2e-5
RULE = Preprocess(max_side_px=None, mean=(0, 0, 0), std=(255, 255, 255), scales=(1.0, 0.5))
SIZES = [(40, 30), (30, 40), (40, 30), (24, 24), (40, 30), (40, 30), (30, 40), (40, 30), (9, 7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images of several sizes, called by their numbers."""
    place, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i, (width, height) in enumerate(SIZES):
        pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Pillow.fromarray(pixels).save(place / f"{i}.png")
    return place


ALL = tuple(Image(str(i), f"{i}.png") for i in range(len(SIZES)))


class Means:
    """A method that gives the mean of each channel, and keeps the sizes of its batches."""

    def __init__(self, most: int = 99, error: Callable[[], Exception] = MemoryError) -> None:
        """Take the largest batch that fits, and what is raised by a larger one."""
        self.most, self.error = most, error
        self.seen: list[tuple[int, ...]] = []

    def describe(self, batch: Any) -> Any:
        if len(batch) > self.most:
            raise self.error()
        self.seen.append(tuple(batch.shape))
        return batch.mean(dim=(2, 3)) + 0.1


def loaded(method: Any, **changes: Any) -> engine.Loaded:
    info = MethodInfo("means", "only", "1", 3)
    return engine.Loaded(method, info, RULE, "cpu", replace(Settings(), **changes))


def rows(of: engine.Loaded, folder: Path, wanted: Any = ALL) -> np.ndarray:
    with Progress("describe", len(wanted)) as progress:
        found, faults = engine.rows_of(of, folder, wanted, progress)
    assert faults == {}
    assert progress.done == len(wanted)
    return found


def expected(folder: Path, wanted: Any = ALL) -> np.ndarray:
    """Return what `Means` says of each image alone, without the engine."""
    found = []
    for image in wanted:
        pixels = decode.load(folder / image.file, image.box, RULE).astype(np.float64) / 255
        half = torch.nn.functional.interpolate(
            torch.from_numpy(pixels.transpose(2, 0, 1)[None]),
            size=[round(0.5 * n) for n in pixels.shape[:2]], mode="bilinear",
        )  # fmt: skip
        both = [pixels.mean(axis=(0, 1)) + 0.1, half[0].mean(dim=(1, 2)).numpy() + 0.1]
        total = sum(row / np.linalg.norm(row) for row in both)
        found.append(total / np.linalg.norm(total))
    return np.stack(found)


def test_rows_are_those_of_each_image_alone_in_the_order_of_the_list(folder: Path) -> None:
    method = Means()
    found = rows(loaded(method), folder)
    assert np.abs(found - expected(folder)).max() < 1e-6
    first = [shape for shape in method.seen if shape[2:] in ((30, 40), (40, 30), (24, 24), (7, 9))]
    assert first == [(5, 3, 30, 40), (2, 3, 40, 30), (1, 3, 24, 24), (1, 3, 7, 9)]


def test_a_batch_keeps_to_both_limits(folder: Path) -> None:
    for changes, largest in (({"batch_size": 2}, 2), ({"batch_pixels": 3600}, 3)):
        method = Means()
        rows(loaded(method, **changes), folder)
        assert max(shape[0] for shape in method.seen) == largest
    method = Means()
    rows(loaded(method, batch_pixels=1), folder)
    assert max(shape[0] for shape in method.seen) == 1


def test_batches_are_wider_on_a_gpu_unless_asked_for() -> None:
    usual = loaded(Means())
    assert engine.batch_pixels(usual) == 1_000_000
    assert engine.batch_pixels(replace(usual, device="cuda:0")) == 4_000_000
    asked = loaded(Means(), batch_pixels=7)
    assert engine.batch_pixels(replace(asked, device="cuda:0")) == engine.batch_pixels(asked) == 7


def test_memory_is_kept_while_images_are_described(folder: Path) -> None:
    keepers = []

    class Counting(Means):
        def describe(self, batch: Any) -> Any:
            keepers.append(memory._keepers)
            return super().describe(batch)

    rows(loaded(Counting()), folder)
    assert set(keepers) == {1}
    assert memory._keepers == 0


def test_broken_images_are_named_and_shift_no_row(folder: Path, tmp_path: Path) -> None:
    for image in ALL:
        (tmp_path / image.file).write_bytes((folder / image.file).read_bytes())
    whole = (folder / "4.png").read_bytes()
    (tmp_path / "4.png").write_bytes(whole[: len(whole) // 2])  # a good header
    (tmp_path / "6.png").write_text("<html>")
    for workers in (0, 1):
        with Progress("describe", len(ALL)) as progress:
            found, faults = engine.rows_of(
                loaded(Means(), workers=workers), tmp_path, ALL, progress
            )
        assert len(faults) == 2
        assert any("4.png cannot be decoded" in text for text in faults.values())
        assert any("6.png is a web page" in text for text in faults.values())
        good = [i for i in range(len(ALL)) if i not in (4, 6)]
        assert np.abs(found - expected(folder))[good].max() < 1e-6


def test_pixels_that_differ_from_their_header_go_by_themselves(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "shape", lambda path, box, rule: (30, 40))
    method = Means()
    assert np.abs(rows(loaded(method), folder) - expected(folder)).max() < 1e-6
    assert {shape[0] for shape in method.seen} == {1, 2, 5}


# --- memory ---------------------------------------------------------------------------------------

OUT_OF_MEMORY = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 B"),
    "python": MemoryError,
}


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_a_batch_that_does_not_fit_is_halved(
    folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    method = Means(2, OUT_OF_MEMORY[kind])
    assert np.abs(rows(loaded(method), folder) - expected(folder)).max() < 1e-6
    wide = [shape[0] for shape in method.seen if shape[2:] == (30, 40)]
    assert wide == [2, 2, 1]  # 5 fail, then 2 at once, for this shape from then on
    printed = [line for line in capsys.readouterr().err.splitlines() if "out of memory" in line]
    assert printed == [
        "out of memory with 5 images of 40 x 30 pixels per batch; continuing with 2."
    ]


def test_what_fitted_is_kept_for_the_shape(folder: Path) -> None:
    failed = []

    def error() -> Exception:
        failed.append(1)
        return MemoryError()

    rows(loaded(Means(2, error), batch_size=4), folder, (*ALL, *ALL))  # 4, 4 and 2 of one shape
    assert len(failed) == 2  # once of this shape, once of the other that is there four times


def test_what_one_shard_learns_does_not_change_the_batches_of_the_next(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = Means(2)
    item = loaded(method)
    rows(item, folder)
    seen = list(method.seen)
    rows(item, folder)
    assert method.seen == 2 * seen
    assert capsys.readouterr().err.count("out of memory") == 2  # once in each phase


def test_one_image_that_does_not_fit_is_one_sentence(folder: Path) -> None:
    with pytest.raises(BenchError, match=r"means.only runs out of memory on cpu .* 40 x 30 pixels"):
        rows(loaded(Means(0)), folder)


def test_another_failure_is_not_taken_for_want_of_memory(folder: Path) -> None:
    method = Means(2, lambda: RuntimeError("shapes do not match"))
    with pytest.raises(BenchError, match=r"failed on a batch of 5x30x40x3: RuntimeError: shapes"):
        rows(loaded(method), folder)


# --- the same bytes -------------------------------------------------------------------------------


def network_of(name: str, **changes: Any) -> engine.Loaded:
    """Return a real network with random weights and small images."""
    ready = loading.load(name, None, "cpu", replace(Settings(), **changes))
    return replace(ready, rule=replace(ready.rule, max_side_px=None, scales=(1.0, 1.4142)))


@pytest.fixture(
    scope="module", params=["delg.untrained", "gem.resnet10t", "gem.mobilenetv3_small_050"]
)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> engine.Loaded:
    """Return networks of three kinds, with drawn weights where timm would have to fetch them."""
    if request.param == "delg.untrained":
        return network_of(request.param)
    import timm
    from safetensors.torch import save_file

    from bench.methods._nets import backbones

    model = timm.create_model(request.param.removeprefix("gem."), pretrained=False, num_classes=0)
    backbones.randomise(model, 0)
    path = tmp_path_factory.mktemp("weights") / "drawn.safetensors"
    save_file(model.state_dict(), path)
    ready = loading.load(request.param, str(path), "cpu")
    return replace(ready, rule=replace(ready.rule, max_side_px=None, scales=(1.0, 1.4142)))


@pytest.mark.slow
def test_rows_do_not_depend_on_batch_workers_or_shards(real: engine.Loaded, folder: Path) -> None:
    usual = rows(real, folder)
    assert rows(real, folder).tobytes() == usual.tobytes()
    for changes in ({"batch_size": 1}, {"batch_size": 2}, {"batch_pixels": 2500}):
        other = replace(real, settings=replace(real.settings, **changes))
        assert np.abs(rows(other, folder) - usual).max() < TOLERANCE
    apart = replace(real, settings=replace(real.settings, workers=1))
    assert rows(apart, folder).tobytes() == usual.tobytes()
    halves = [rows(real, folder, ALL[:4]), rows(real, folder, ALL[4:])]
    assert np.abs(np.concatenate(halves) - usual).max() < TOLERANCE


@pytest.mark.slow
def test_a_resumed_run_gives_the_bytes_of_an_undisturbed_one(
    folder: Path, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "open_store", partial(shards.open_store, per_shard=4))
    real = network_of("delg.untrained")
    wanted = [*ALL, *ALL]

    def described() -> tuple[bytes, shards.Store]:
        parts, _ = extract.extract(real, folder, wanted, "describe")
        kept = extract.prepare(real, folder, wanted, "describe").work.store
        return np.concatenate([part.open() for part in parts]).tobytes(), kept

    whole, kept = described()
    for lost in (0, 2, 4):
        kept.path(lost).unlink()
        assert described()[0] == whole


# --- decoding -------------------------------------------------------------------------------------


def lots(folder: Path, workers: int) -> list[Any]:
    planned = [[0, 2], [1], [3, 4, 5], [8]]
    sizes = [width * height for width, height in SIZES]
    return list(prefetch.decoded(folder, ALL, RULE, planned, sizes, workers))


def test_processes_decode_what_threads_do(folder: Path) -> None:
    for item, other in zip(lots(folder, 0), lots(folder, 2), strict=True):
        assert [x.tobytes() for x in item] == [x.tobytes() for x in other]
    assert [len(lot) for lot in lots(folder, 0)] == [2, 1, 3, 1]


def test_decoding_stays_a_little_ahead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    load = decode.load
    monkeypatch.setattr(
        decode, "load", lambda path, *rest: asked.append(path.name) or load(path, *rest)
    )
    monkeypatch.setattr(prefetch, "AHEAD_PIXELS", 1)
    planned = [[i] for i in range(len(ALL))]
    found = prefetch.decoded(folder, ALL, RULE, planned, [1] * len(ALL), 0)
    next(found)
    time.sleep(0.2)
    assert 1 <= len(asked) <= 3
    found.close()


def test_a_worker_that_is_killed_ends_in_one_sentence(folder: Path) -> None:
    lots(folder, 2)
    pool: Any = prefetch._pool(2)
    for process in pool._processes.values():
        os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while not pool._broken:  # the pool notices a moment later
        assert time.monotonic() < end
        time.sleep(0.05)
    with pytest.raises(BenchError, match="was killed"):
        lots(folder, 2)
    assert len(lots(folder, 2)) == 4  # the next run has new ones


ENDLESS = """
import sys
from pathlib import Path
from bench.describe import prefetch
from bench.describe import engine
from bench.system import interrupt
from bench.types import Image, Preprocess
interrupt.watch()  # as every command does: an interruption may find threads that wait
wanted = [Image("0", "0.png")] * 100000
said = False  # once: nobody reads on, and a full pipe would hold the end up
for lot in prefetch.decoded(Path(sys.argv[1]), wanted, Preprocess(), [[i] for i in range(100000)],
                            [1200] * 100000, 2):
    if prefetch._pool(2)._processes and not said:
        print(*prefetch._pool(2)._processes, flush=True)
        said = True
"""


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(folder: Path, way: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__':\n exec({ENDLESS!r})", str(folder)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        pids = [int(text) for text in process.stdout.readline().split()]
        process.send_signal(way)
        assert process.wait(timeout=120) != 0
    assert len(pids) == 2
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):
        assert time.monotonic() < end, "a worker is still there"
        time.sleep(0.05)


def test_method_is_asked_in_plain_tensors(folder: Path) -> None:
    """A plug-in without a network gets contiguous float32, whatever the settings."""
    seen = []

    def describe(batch: Any) -> Any:
        seen.append((batch.dtype, batch.is_contiguous()))
        return batch.mean(dim=(2, 3)) + 0.1

    rows(loaded(SimpleNamespace(describe=describe)), folder)
    assert set(seen) == {(torch.float32, True)}
