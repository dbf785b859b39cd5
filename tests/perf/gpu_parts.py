"""The parts of `tests.perf.gpu`, each in a process of its own; every figure is a line of JSON."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.describe import engine, loading, pyramid
from bench.images import decode
from bench.settings import Settings
from bench.system import memory
from bench.system.progress import Progress
from bench.types import Image
from tests.perf import drawn

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
GOALS = {"float32": 4.0, "bf16": 8.0}  # times the official-style loop, on a GPU
LEAST_OF_BARE = 0.95
ROOT = Path(__file__).resolve().parents[2]


class Work:
    """What a part has: the folder of its work, where figures go, how much, and until when."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.folder, self.lines = Path(arguments.folder), Path(arguments.lines)
        self.quick, self.end = arguments.quick, time.monotonic() + arguments.seconds

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()

    def add(self, **figure: Any) -> None:
        """Keep a figure, at once."""
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(figure)}\n")

    def wanted(self) -> list[Image]:
        """Return the photographs."""
        count = len(list((self.folder / "photographs").glob("*.jpg")))
        return [Image(str(n), f"photographs/{n}.jpg") for n in range(count)]


def settle() -> None:
    """Wait until the device has nothing left to do."""
    if CUDA:
        torch.cuda.synchronize()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that work takes, the device's included, and what it gives."""
    settle()
    start = time.perf_counter()
    got = work()
    settle()
    return time.perf_counter() - start, got


def images(work: Work) -> None:
    """Write the photographs."""
    sizes = [drawn.USUAL[n % len(drawn.USUAL)] for n in range(4 if work.quick else 64)]
    if work.quick:
        sizes = [(width // 8, height // 8) for width, height in sizes]
    (work.folder / "photographs").mkdir()
    drawn.photographs(work.folder / "photographs", sizes)
    work.add(photographs=len(sizes), largest=list(max(sizes)))


def named(work: Work, name: str) -> tuple[str, str | None]:
    """Return the name by which a method is loaded, and the file of its weights."""
    if name == "vit-b14":
        return drawn.method_file(work.folder, 112 if work.quick else 322), None
    path = work.folder / f"{name}.pth"
    return name, str(path if path.is_file() else drawn.weights(name, work.folder))


def load(work: Work, name: str, device: str = DEVICE, **settings: Any) -> engine.Loaded:
    """Return a method; a rehearsal takes one scale."""
    text, weights = named(work, name)
    loaded = loading.load(text, weights, device, Settings(**settings))
    if work.quick:
        loaded = replace(loaded, rule=replace(loaded.rule, scales=loaded.rule.scales[-1:]))
    return loaded


def rows_of(loaded: engine.Loaded, work: Work) -> np.ndarray:
    """Return descriptors as a run makes them: from files."""
    return _of(loaded, work, work.wanted())


def _of(loaded: engine.Loaded, work: Work, some: list[Image]) -> np.ndarray:
    with Progress("describe", len(some), quiet=True) as progress:
        rows, faults = engine.rows_of(loaded, work.folder, some, progress)
    assert not faults, faults
    return rows


def extract(work: Work, name: str) -> None:
    """Time extraction against the official-style loop and the bare network, float32 and bf16."""
    slow = official(work, name)
    for precision in ("float32", "bf16"):
        loaded = load(work, name, precision=precision)
        _extraction(work, name, loaded, precision, slow)
        del loaded


def official(work: Work, name: str) -> float:
    """Return images per second of the official-style loop, on some of the photographs."""
    from bench import methods
    from tests.perf import official_loop

    text, weights = named(work, name)
    _, method, rule = methods.load(text, weights, DEVICE)
    rule = replace(rule, scales=rule.scales[-1:]) if work.quick else rule
    count = min(len(work.wanted()), 10)
    folder = work.folder / "photographs"
    official_loop.describe(method, rule, folder, min(2, count))
    seconds, _ = timed(lambda: official_loop.describe(method, rule, folder, count))
    work.add(figure="official-style loop", method=name, images_per_s=round(count / seconds, 2))
    return count / seconds


def _extraction(work: Work, name: str, loaded: engine.Loaded, words: str, slow: float) -> None:
    """Time a method from files, and its network on tensors that are on the device already."""
    count = len(work.wanted())
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    rows_of(loaded, work)  # warm
    seconds, _ = timed(lambda: rows_of(loaded, work))
    fast = count / seconds
    peaks = memory.peaks(DEVICE)
    bare = bare_rate(work, loaded)
    goal = GOALS.get(words)
    work.add(
        figure="extraction", method=name, precision=words, images_per_s=round(fast, 2),
        times_the_official_loop=round(fast / slow, 2), goal=goal if CUDA else None,
        bare_network_images_per_s=round(bare, 2), share_of_the_bare_network=round(fast / bare, 3),
        least_share=LEAST_OF_BARE if CUDA else None, **peaks,
    )  # fmt: skip


def bare_rate(work: Work, loaded: engine.Loaded) -> float:
    """Return images per second of the network alone: the same batches, on the device before."""
    wanted = work.wanted()
    shapes = engine.shapes(work.folder, wanted, loaded.rule)
    seen = [None if shape is None else engine.seen(loaded.rule, shape) for shape in shapes]
    size, most = loaded.settings.batch_size, engine.batch_pixels(loaded)
    planned = engine.plan(seen, size, most, shapes)
    layout = engine._layout(loaded)
    batches = [
        pyramid.to_batch(
            [decode.load(work.folder / wanted[i].path, None, loaded.rule) for i in batch],
            loaded.rule, DEVICE, layout,
        )
        for batch in planned
    ]  # fmt: skip

    def alone() -> None:
        with engine.rounding(loaded.settings), engine._casting(loaded):
            for batch in batches:
                pyramid.describe_pyramid(
                    loaded.method.describe, batch, loaded.rule, loaded.info.dim, strict=False
                )

    with memory.kept(DEVICE):
        alone()
        seconds, _ = timed(alone)
    return len(wanted) / seconds


def compiled(work: Work) -> None:
    """Time the same with --compile; the first run, which compiles, apart."""
    for name in ("vit-b14", "dolg.r50"):
        loaded = load(work, name, compiled=True)
        seconds, _ = timed(lambda loaded=loaded: rows_of(loaded, work))
        work.add(figure="first run with --compile", method=name, seconds=round(seconds, 1))
        _extraction(work, name, loaded, "float32, compiled", official(work, name))


def decoding(work: Work) -> None:
    """Time the decoding of photographs, by one thread and by all: a faster network waits for it."""
    from bench.describe import prefetch

    wanted, rule = work.wanted(), load(work, "vit-b14", "cpu").rule
    lots, sizes = [list(range(len(wanted)))], [1 << 20] * len(wanted)

    def one_by_one(chosen: Any) -> None:
        for image in wanted:
            decode.load(work.folder / image.path, None, chosen)

    def together(chosen: Any) -> None:
        for _ in prefetch.decoded(work.folder, wanted, chosen, lots, sizes, 0):
            pass

    for words, chosen in (("to 1024 px", replace(rule, resize="native", max_side_px=1024)),
                          ("to 322 x 322", rule)):  # fmt: skip
        alone, _ = timed(partial(one_by_one, chosen))
        all_of_them, _ = timed(partial(together, chosen))
        work.add(
            figure=f"decoding {words}", one_thread_images_per_s=round(len(wanted) / alone, 1),
            keeps_up_to_images_per_s=round(len(wanted) / all_of_them, 1),
        )  # fmt: skip


def search(work: Work, rows: int, dim: int, queries: int) -> None:
    """Exact ranks and lists against the bare product of the same blocks on the device."""
    from bench.measure import sizes
    from bench.search import exact
    from bench.store.matrix import blocks, from_array

    if work.quick:
        rows, dim, queries = rows // 50, dim // 16, max(4, queries // 50)
    like = from_array(np.ones((1, dim), dtype=np.float32), "rows")
    part = sizes.drawn(like, rows)
    asked = sizes.drawn(like, queries).open().astype(np.float64)
    asked += np.random.default_rng(1).standard_normal(asked.shape) * 0.01
    labelled = [np.unique(np.random.default_rng(q).integers(0, rows, 5)) for q in range(queries)]
    few = torch.from_numpy(asked.astype(np.float32)).to(DEVICE)

    def product() -> None:
        for _, block in blocks([part], 8192):
            few @ torch.from_numpy(np.ascontiguousarray(block)).to(DEVICE).T

    def found(device: str) -> Any:
        return exact.search([part], asked, labelled, 100, 4 << 30, device=device)

    exact.search([from_array(part.open()[:9000], "few")], asked, [labelled[0][:0]] * queries, 100,
                 device=DEVICE)  # fmt: skip
    bare, _ = timed(product)
    seconds, mine = timed(lambda: found(DEVICE))
    work.add(
        figure="exact search", rows=rows, dim=dim, queries=queries, seconds=round(seconds, 3),
        bare_product_seconds=round(bare, 3), times_the_product=round(seconds / bare, 2),
        **memory.peaks(DEVICE),
    )  # fmt: skip
    if work.left() > 10 * seconds + 30 and CUDA:
        host, theirs = timed(lambda: found("cpu"))
        same = bool(np.array_equal(mine.shortlist.row, theirs.shortlist.row))
        work.add(figure="the same on the processor", seconds=round(host, 3), same_lists=same)


def agreement(work: Work) -> None:
    """Compare descriptors of processor and GPU: largest difference, and ranks that it changes."""
    for name in ("vit-b14", *drawn.NETWORKS):
        some = work.wanted()[:4]
        theirs = _of(load(work, name, "cpu", batch_size=1), work, some)
        for precision in ("float32", "bf16"):
            mine = _of(load(work, name, precision=precision), work, some)
            order = [np.argsort(-(x @ x.T), axis=1, kind="stable") for x in (theirs, mine)]
            work.add(
                figure=f"{DEVICE} against cpu, one image at a time in float32", method=name,
                precision=precision, largest_difference=float(np.abs(theirs - mine).max()),
                ranks_changed=int(np.count_nonzero(order[0] != order[1])), ranks=order[0].size,
            )  # fmt: skip


def verification(work: Work) -> None:
    """Milliseconds of a pair of images, of 1000 features each."""
    from bench.rerank import verification as verifying
    from bench.types import Shortlist
    from tests.perf import test_rerank

    draw = np.random.default_rng(0)
    query = test_rerank.features(draw)
    pairs = [test_rerank.image_of(query, draw) for _ in range(4 if work.quick else 16)]
    listed = Shortlist(np.arange(len(pairs))[None], np.zeros((1, len(pairs))))
    mask = np.ones((1, len(pairs)), dtype=np.bool_)
    for _ in range(2):
        seconds, (counts, _) = timed(
            lambda: verifying.count_inliers(
                listed, mask, lambda _query: query, pairs.__getitem__, test_rerank.RULE, "fast"
            )
        )
    work.add(figure="verification", ms_per_pair=round(1e3 * seconds / len(pairs), 2),
             inliers=[int(counts.min()), int(counts.max())])  # fmt: skip


def marked(work: Work) -> None:
    """Run the tests that need a GPU; without one they are skipped."""
    import pytest  # so that its absence is said, and not the failure of its process

    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "mark.gpu" in path.read_text(encoding="utf-8")
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    work.add(figure="marked tests", pytest=pytest.__version__, files=len(files),
             status=done.returncode, last=lines[-1] if lines else done.stderr[-300:],
             failed=failed)  # fmt: skip
    if done.returncode not in (0, 5):
        raise SystemExit(f"{len(failed)} marked tests failed")


PARTS: dict[str, Callable[[Work], None]] = {
    "images": images,
    "search many rows": lambda work: search(work, 1_005_994, 2048, 70),
    "search many queries": lambda work: search(work, 27_592, 512, 27_592),
    "agreement": agreement,
    "decode": decoding,
    "verification": verification,
    "tests": marked,
    "compile": compiled,
}


def main(arguments: argparse.Namespace) -> None:
    """Do one part."""
    work, name = Work(arguments), arguments.part
    found = re.fullmatch(r"extract (.+)", name)
    if found:
        extract(work, found.group(1))
    else:
        PARTS[name](work)
    work.add(figure="memory of the part", **memory.peaks(DEVICE))
