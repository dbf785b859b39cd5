"""Extraction against a plain loop in the manner of the official programs, on photographs' sizes.

The reference is `official_loop.py`, in a process of its own, as those programs are. Both sides
describe the same files in turn, in pairs, and the ratio is the median over pairs of what they took
of the processor, on which other work then does not count; times by the clock are in the results as
well. Nothing is left out on either side: float32 descriptors must be as near to those of float64 as
`bench.describe.accuracy` promises, and those of bf16 within 0.05 of the loop's.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.describe import accuracy, engine, loading
from bench.images import decode
from bench.settings import Settings
from bench.system.progress import Progress
from bench.types import Image
from tests.perf import drawn

IMAGES, PAIRS = 6, 3
EXACT = 2  # of the images are described in float64 as well
LEAST = {"float32": 1.5, "bf16": 2.5}
ON_A_GPU = {"float32": 4.0, "bf16": 8.0}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LOOP = Path(__file__).with_name("official_loop.py")


@pytest.fixture(scope="module")
def photographs(shared: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of JPEG files with the sizes of Revisited Oxford."""
    draw = np.random.default_rng(0)
    try:
        lines = shared("data/roxford5k/image_sizes_gallery.txt").read_text().splitlines()
        sizes = [tuple(int(n) for n in line.split(",")[-2:]) for line in lines]
        chosen = [sizes[i] for i in draw.choice(len(sizes), IMAGES, replace=False)]
    except pytest.skip.Exception:
        chosen = [drawn.USUAL[i] for i in draw.choice(len(drawn.USUAL), IMAGES, replace=False)]
    place = tmp_path_factory.mktemp("photographs")
    drawn.photographs(place, chosen)
    return place


WANTED = tuple(Image(str(i), f"{i}.jpg") for i in range(IMAGES))


def official(name: str, weights: str, folder: Path) -> tuple[float, float, np.ndarray]:
    """Return seconds by the clock and of the processor, and the rows, of the official programs."""
    out = Path(weights).with_name("official.npy")
    arguments = [name, weights, str(folder), str(IMAGES), str(out)]
    done = subprocess.run(
        [sys.executable, str(LOOP), *arguments], stdout=subprocess.PIPE, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(LOOP.parents[2])},
    )  # fmt: skip
    seconds, processor = json.loads(done.stdout)
    return seconds, processor, np.load(out)


def ours(loaded: engine.Loaded, folder: Path) -> np.ndarray:
    with Progress("describe", IMAGES) as progress:
        rows, faults = engine.rows_of(loaded, folder, WANTED, progress)
    assert not faults
    return rows


def timed(work: Any) -> tuple[float, float, np.ndarray]:
    """Return seconds by the clock, seconds of the processor, and the rows."""
    start, cpu = time.perf_counter(), time.process_time()
    rows = work()
    return time.perf_counter() - start, time.process_time() - cpu, rows


def measured(name: str, path: str, fast: engine.Loaded, folder: Path) -> accuracy.Accuracy:
    """Return the accuracy on the first images."""
    plain = loading.load(name, path, DEVICE, fast=False)
    pixels = [decode.load(folder / f"{i}.jpg", None, plain.rule) for i in range(EXACT)]
    return accuracy.measure(plain, fast, pixels)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", drawn.NETWORKS)
def test_extraction_against_the_official_loop(
    name: str, precision: Any, photographs: Path, benchmark: Any, tmp_path: Path
) -> None:
    path = str(drawn.weights(name, tmp_path))
    settings = Settings(precision=precision)
    loaded = loading.load(name, path, DEVICE, settings)
    item = replace(loaded.rule, scales=loaded.rule.scales[:1])
    ours(replace(loaded, rule=item), photographs)  # warm: what libraries prepare once
    pairs = []
    for _ in range(PAIRS):
        reference = official(name, path, photographs)
        pairs.append((reference, timed(lambda: ours(loaded, photographs))))
    theirs, rows = pairs[0][0][2], pairs[0][1][2]
    used = 0 if DEVICE == "cuda" else 1  # of a GPU only the clock knows
    ratio = statistics.median(a[used] / b[used] for a, b in pairs)
    off = float(np.abs(theirs - rows).max())
    order = [np.argsort(-(x @ x.T), axis=1, kind="stable") for x in (theirs, rows)]
    least = (LEAST if DEVICE == "cpu" else ON_A_GPU)[precision]
    if precision == "float32":
        exact = measured(name, path, loaded, photographs)
        benchmark.extra_info |= {"from_float64": exact.fast, "loop_from_float64": exact.plain,
                                 "moved_by_a_rounding_of_the_pixels": exact.moved}  # fmt: skip
        assert exact.well_conditioned
        assert exact.kept
    benchmark.extra_info |= {
        "figure": f"extraction by {name} in {precision} on {DEVICE}",
        "reference": "one image at a time in float32, as the official programs",
        "times_the_reference": round(1 / ratio, 3),
        "at_most": round(1 / least, 3),
        "times_faster": round(ratio, 2),
        "times_faster_by_the_clock": round(statistics.median(a[0] / b[0] for a, b in pairs), 2),
        "official_s_per_image": round(min(a[used] for a, _ in pairs) / IMAGES, 2),
        "largest_difference": off,
        "ranks_changed": int(np.count_nonzero(order[0] != order[1])),
        "ranks": order[0].size,
    }
    print(name, precision, DEVICE, benchmark.extra_info)
    benchmark.pedantic(lambda: None, rounds=1)
    assert off < (2 * accuracy.WITHIN if precision == "float32" else 0.05)
    if precision == "bf16" and DEVICE == "cpu" and not loading.has_bf16():
        pytest.skip(f"no instructions for bf16 here; {ratio:.2f} times the official loop's speed")
    assert ratio >= least
