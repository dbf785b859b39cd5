"""The contract of a method, tried out: same answers in any batch, any order, any image at all.

What a plug-in promises by its shape is checked when it is loaded; what can only be seen by running
it is checked here, on photographs of mini and on files of odd sizes and kinds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from bench import datasets
from bench.describe import accuracy, bits, engine, extract, fusion, pyramid
from bench.errors import BenchError
from bench.images import decode
from bench.scoring import scores
from bench.search import exact
from bench.store.matrix import from_array
from bench.system import machine
from bench.system.progress import Progress
from bench.types import Dataset, Image, LabelledRanks

State = Literal["ok", "note", "FAILS"]
Finding = tuple[State, str]
Pixels = NDArray[np.uint8]

# How far unit vectors may move with the batch: float32 rounding, as the README states it.
BATCH_TOLERANCE = 2e-5
BITS_OF_CHANCE = 1e-3  # numbers so near to 0 that rounding turns their sign
SAMPLE_SIZE = (224, 160)
SAMPLES = 8
MEASURED = 3  # of these, against float64


def check(
    loaded: engine.Loaded,
    pair: Callable[[], tuple[engine.Loaded, engine.Loaded]],
    plain: Callable[[], engine.Loaded],
) -> Iterator[Finding]:
    """Yield a finding per rule of the contract: "ok", "FAILS", or "note" without a limit.

    `pair` loads the method in float32 and in bfloat16, `plain` without making its network fast.
    """
    dataset = datasets.load("mini")
    try:
        sample = _sample(dataset, loaded)
        together = engine.describe(loaded, sample)
    except BenchError as error:
        yield "FAILS", str(error)
        return
    norms = np.linalg.norm(together.astype(np.float64), axis=1)
    yield _judged("rows have unit norm", float(np.abs(norms - 1).max()), 1e-5)
    yield _same("run twice", together, engine.describe(loaded, sample))
    alone = np.concatenate([engine.describe(loaded, [image]) for image in sample])
    yield _same(f"batch of 1 = batch of {SAMPLES}", together, alone)
    order = np.random.default_rng(0).permutation(SAMPLES)
    shuffled = engine.describe(loaded, [sample[i] for i in order])
    yield _same("batch in another order", together[order], shuffled)
    yield _input_kept(loaded, sample)
    if hasattr(loaded.method, "codes"):
        yield _codes(loaded, sample)
    yield from _odd_images(loaded)
    if engine.precision(loaded) == "float32":
        yield _accurate(loaded, plain(), sample[:MEASURED])
    try:
        yield _half_precision(dataset, pair())
    except BenchError as error:
        yield "FAILS", f"mini in float32 and bfloat16: {error}"


def _sample(dataset: Dataset, loaded: engine.Loaded) -> list[Pixels]:
    """Return a few photographs of one shape, 224 x 160 pixels before the rule of the method.

    A method that takes no such size, and has no rule that resizes, gets squares of a larger one.
    """
    uncapped = replace(loaded.rule, max_side_px=None)
    for size in (SAMPLE_SIZE, (224, 224), (320, 320), (384, 384), (518, 518)):
        with tempfile.TemporaryDirectory() as folder:
            chosen = []
            for number, image in enumerate(dataset.database[:SAMPLES]):
                path = Path(folder) / f"{number}.png"
                with Pillow.open(dataset.folder / image.path) as stored:
                    stored.convert("RGB").resize(size).save(path)
                chosen.append(decode.load(path, None, uncapped))
        shape = engine.seen(loaded.rule, (chosen[0].shape[0], chosen[0].shape[1]))
        if (why := engine.refusal(loaded, shape)) is None:
            return chosen
    raise BenchError(f"the method accepts none of the usual sizes: an image {why}.")


def _judged(what: str, off: float, tolerance: float) -> Finding:
    text = f"{what}: largest difference {off:.2g}"
    return ("ok", text) if off <= tolerance else ("FAILS", f"{text}, allowed {tolerance:g}")


def _same(what: str, rows: NDArray[np.float32], other: NDArray[np.float32]) -> Finding:
    return _judged(what, float(np.abs(rows - other).max()), BATCH_TOLERANCE)


def _accurate(loaded: engine.Loaded, plain: engine.Loaded, sample: list[Pixels]) -> Finding:
    """Measure how far descriptors are from those of the network in float64, and judge it."""
    try:
        found = accuracy.measure(plain, loaded, sample)
    except (BenchError, *fusion.FAULTS) as error:
        return "note", f"no comparison with float64: {error}"
    return judged_accuracy(found, machine.describe(loaded.device)["device_name"])


def judged_accuracy(found: accuracy.Accuracy, processor: str) -> Finding:
    """Return the finding of an accuracy measured on a processor."""
    text = (
        f"{found.fast:.2g} from float64, {found.plain:.2g} before the network was made fast; a "
        f"rounding of the pixels moves a descriptor by {found.moved:.2g} ({processor})"
    )
    if not found.kept:
        most = max(accuracy.TIMES * found.plain, accuracy.ROUNDING)
        most = min(most, accuracy.WITHIN) if found.well_conditioned else most
        return "FAILS", f"{text}: allowed {most:.2g} from float64"
    if found.well_conditioned:
        return "ok", text
    return "note", (
        f"{text}: it is ill-conditioned, and on another processor descriptors may differ by more "
        f"than {accuracy.WITHIN:g}"
    )


def _input_kept(loaded: engine.Loaded, sample: list[Pixels]) -> Finding:
    batch = pyramid.to_batch(sample, loaded.rule, loaded.device)
    before = batch.clone()
    with torch.inference_mode():
        loaded.method.describe(batch)
    if torch.equal(batch, before):
        return "ok", "describe does not modify its input"
    return (
        "FAILS",
        "describe modifies its input; work on a copy, because other scales use the same input",
    )


def _codes(loaded: engine.Loaded, sample: list[Pixels]) -> Finding:
    """Compare the bits of a second output in a batch with those of each image alone."""
    try:
        coded = bits.of(loaded)
        together = engine.describe(coded, sample) > 0
        alone = np.concatenate([engine.describe(coded, [image]) for image in sample]) > 0
    except BenchError as error:
        return "FAILS", f"codes: {error}"
    count, moved = together.size, int(np.count_nonzero(together != alone))
    text = f"codes: {moved} of {count} bits differ between a batch of 1 and of {SAMPLES}"
    return ("ok" if moved <= BITS_OF_CHANCE * count else "FAILS"), text


def _odd_images(loaded: engine.Loaded) -> Iterator[Finding]:
    """Describe files of odd sizes and kinds; a refused size is a note, a refused kind a fault."""
    with tempfile.TemporaryDirectory() as folder:
        for name, small in write_odd_images(Path(folder)):
            path = Path(folder) / name
            try:
                pixels = decode.load(path, None, loaded.rule)
                shape = engine.seen(loaded.rule, (pixels.shape[0], pixels.shape[1]))
                if (why := engine.refusal(loaded, shape)) is not None:
                    yield "note", f"{name} is refused: it {why}"
                    continue
                rows = engine.describe(loaded, [pixels])
            except BenchError as error:
                text = str(error).replace(f"{folder}/", "")
                yield ("note" if small else "FAILS"), f"{name} is refused: {text}"
                continue
            fine = bool(np.isfinite(rows).all())
            yield ("ok", f"{name}") if fine else ("FAILS", f"{name} returns NaN or infinity")


def write_odd_images(folder: Path) -> list[tuple[str, bool]]:
    """Write the files; return their names and whether it is the size that is odd and small."""
    rng = np.random.default_rng(0)

    def noise(height: int, width: int) -> Pillow.Image:
        return Pillow.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))

    usual = noise(96, 128)
    deep = (np.asarray(usual.convert("L")).astype(np.uint16) << 8) + 1
    files: dict[str, tuple[Pillow.Image, dict[str, Any]]] = {
        "1-row.png": (noise(1, 300), {}),
        "1-column.png": (noise(300, 1), {}),
        "tiny.png": (noise(3, 3), {}),
        "odd-sides.png": (noise(97, 131), {}),
        "huge.jpg": (noise(600, 800).resize((4000, 3000)), {}),
        "grey.jpg": (usual.convert("L"), {}),
        "alpha.png": (usual.convert("RGBA"), {}),
        "cmyk.jpg": (usual.convert("CMYK"), {}),
        "palette.gif": (usual.convert("P"), {}),
        "16-bit.png": (Pillow.fromarray(deep), {}),
        "one-colour.png": (Pillow.new("RGB", (128, 96), (120, 120, 120)), {}),
        "black.png": (Pillow.new("RGB", (128, 96)), {}),
        "animated.gif": (usual, {"save_all": True, "append_images": [noise(96, 128)]}),
    }
    for name, (image, how) in files.items():
        image.save(folder / name, **how)
    return [(name, min(image.size) < 32) for name, (image, _) in files.items()]


def _half_precision(dataset: Dataset, pair: tuple[engine.Loaded, engine.Loaded]) -> Finding:
    """Measure what bfloat16 does to the descriptors of mini and to the ranks of its labels."""
    both = []
    for name, used in zip(("float32", "bfloat16"), pair, strict=True):
        described = [
            _all(used, dataset.folder, wanted, f"{what}, {name}")
            for what, wanted in (("database", dataset.database), ("queries", dataset.queries))
        ]
        both.append((described[0], _ranks(dataset, *described)))
    (fine, ranks), (rough, moved) = both
    off = float(np.abs(fine - rough).max())
    changed = int(np.count_nonzero(ranks.rank != moved.rank))
    return "note", (
        f"bfloat16 instead of float32: descriptors move by up to {off:.2g}, and "
        f"{changed} of {len(ranks.rank)} labelled images of mini change their rank"
    )


def _all(
    loaded: engine.Loaded, folder: Path, wanted: tuple[Image, ...], phase: str
) -> NDArray[np.float32]:
    with Progress(phase, len(wanted)) as progress:
        rows, faults = engine.rows_of(loaded, folder, wanted, progress)
    if faults:
        raise extract.BrokenImagesError(list(faults.values()), len(wanted))
    return rows


def _ranks(
    dataset: Dataset, database: NDArray[np.float32], queries: NDArray[np.float32]
) -> LabelledRanks:
    parts = [from_array(database, "mini")]
    labelled = scores.labelled_rows(dataset.protocols)
    return exact.search(parts, queries.astype(np.float64), labelled, 0).ranks
