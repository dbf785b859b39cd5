"""The engine: from image files to descriptors in memory, batch by batch, decoding ahead.

Rows do not depend on what was there already or on how fast anything went: the batches of a shard
follow from its images (`bench.describe.engine`), and what an out-of-memory error teaches is
forgotten at the end of the shard. Other limits, devices or numbers of threads move rows by rounding
only.

Which images are given to the network together: planned from the headers, before decoding.

Images of one shape make a batch. A batch is a function of the list of images and of two limits
alone, never of what was there already or of how fast anything went, so that a list cut into the
same shards is described to the same bytes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench import plugins
from bench.describe import fetch, prefetch
from bench.describe.quickened import Quickened
from bench.errors import BenchError
from bench.images import decode, resize
from bench.settings import Settings
from bench.system import memory
from bench.system.progress import Progress
from bench.types import Image, Method, MethodInfo, Preprocess

if TYPE_CHECKING:  # torch takes seconds to import, and a run with all in the store needs none
    import torch

READERS = 16  # threads that wait for a disk or a network, more than for a processor

Shape = tuple[int, int]


def shapes(folder: Path, wanted: Sequence[Image], rule: Preprocess) -> list[Shape | None]:
    """Return (height, width) of each image as the network will see it, from the headers alone.

    None where a header cannot be read or a box does not fit: decoding will say why.
    """

    def shape_of(image: Image) -> Shape | None:
        try:
            return decode.shape(folder / image.path, image.box, rule)
        except BenchError:
            return None

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(shape_of, wanted))


def plan(
    known: Sequence[Shape | None],
    most: int,
    most_pixels: int,
    decoded: Sequence[Shape | None] | None = None,
) -> list[list[int]]:
    """Return positions in batches: one shape each, at most `most`, at most `most_pixels` together.

    An image with more pixels than that is a batch alone, and so is one of unknown shape. Shapes
    come in the order of their first image, and within a shape images keep theirs. `decoded` has the
    shapes before resizing on the device: of those pixels `DECODED` times as many may be together.
    """
    groups: dict[tuple[Shape | None, int], list[int]] = {}
    for position, shape in enumerate(known):
        groups.setdefault((shape, 0 if shape else position), []).append(position)
    batches = []
    for (shape, _), members in groups.items():
        pixels = shape[0] * shape[1] if shape else most_pixels
        for before in map((decoded or known).__getitem__, members):
            pixels = max(pixels, before[0] * before[1] // DECODED if before else 0)
        wide = max(1, min(most, most_pixels // pixels))
        batches += [members[low : low + wide] for low in range(0, len(members), wide)]
    return batches


# Processors gain nothing from wider batches of photographs, which take memory.
PIXELS_OF_GPU, PIXELS_OF_PROCESSOR = 4_000_000, 1_000_000
DECODED = 16  # 3 bytes a pixel wait as decoded, and the network's maps take far more

Pixels = NDArray[np.uint8]
Result = TypeVar("Result")
Many = TypeVar("Many")  # an array or a list, one item per image


@dataclass(frozen=True)
class Loaded:
    """A method ready to describe: the network, what a record keeps of it, rule and device.

    `quickened` says what was done to the network; None: it runs as the plug-in gave it.
    `parameters` are those that it had before (see `bench.describe.footprint`).
    """

    method: Method
    info: MethodInfo
    rule: Preprocess
    device: str
    settings: Settings = field(default_factory=Settings)
    quickened: Quickened | None = None
    parameters: Mapping[str, int | None] | None = None


def precision(loaded: Loaded) -> str:
    """Return the precision as a card names it."""
    chosen = loaded.settings.precision
    tf32 = loaded.settings.tf32 and loaded.device.startswith("cuda")
    return "float32 (TF32)" if chosen == "float32" and tf32 else chosen


def batch_pixels(loaded: Loaded) -> int:
    """Return the most pixels of a batch: as asked for, or by the kind of device."""
    gpu = not loaded.device.startswith("cpu")
    return loaded.settings.batch_pixels or (PIXELS_OF_GPU if gpu else PIXELS_OF_PROCESSOR)


def about(loaded: Loaded) -> dict[str, Any]:
    """Return what a record keeps of how descriptors are computed."""
    done = loaded.quickened or Quickened()
    settings = loaded.settings
    return {
        "precision": precision(loaded),
        "compiled": settings.compiled,
        "batch_size": settings.batch_size,
        "batch_pixels": batch_pixels(loaded),
        "workers": settings.workers,
        "folded_norms": done.folded,
        "fused_convolutions": done.fused,
        "parts": done.parts,
        "channels_last": done.channels_last,
    }


def rows_of(
    loaded: Loaded, folder: Path, wanted: Sequence[Image], progress: Progress
) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Return the rows of one shard, and a sentence per position that has none.

    That is an image that cannot be decoded, or of which the method makes zeros or no numbers.
    """
    rows = np.zeros((len(wanted), loaded.info.dim), dtype=np.float32)
    faults: dict[int, str] = {}
    work, name = _queued(loaded, strict=False), f"{loaded.info.name}.{loaded.info.variant}"
    made = results(loaded, folder, wanted, progress, faults, work)
    for positions, later in fetch.behind(made):
        with _named(loaded):
            described = later.fetched()
        bare = np.array([not np.isfinite(row).all() for row in described])
        rows[positions] = np.where(bare[:, None], 0, described)
        for position in np.array(positions)[bare].tolist():
            faults[position] = (
                f"{folder / wanted[position].path} has no descriptor: the method {name} returns "
                "zeros, NaN or infinity for it."
            )
    return rows, faults


def results(
    loaded: Loaded,
    folder: Path,
    wanted: Sequence[Image],
    progress: Progress,
    faults: dict[int, str],
    work: Callable[[Any], Many],
) -> Iterator[tuple[list[int], Many]]:
    """Yield (positions, what `work` makes of these images), all images of a shard in batches.

    `work` gets a normalised batch and gives one item per image. A sentence per position whose image
    cannot be decoded is added to `faults`.
    """
    settings, most_pixels = loaded.settings, batch_pixels(loaded)
    known = shapes(folder, wanted, loaded.rule)
    shown = [None if shape is None else seen(loaded.rule, shape) for shape in known]
    planned = plan(shown, settings.batch_size, most_pixels, known)
    sizes = [shape[0] * shape[1] if shape else most_pixels for shape in known]
    fits: dict[tuple[int, ...], int] = {}
    lots = prefetch.decoded(folder, wanted, loaded.rule, planned, sizes, settings.workers)
    with memory.kept(loaded.device):
        for batch, images in zip(planned, lots, strict=True):
            groups: dict[tuple[int, ...], list[tuple[int, Pixels]]] = {}
            for position, image in zip(batch, images, strict=True):
                if isinstance(image, str):
                    faults[position] = image
                    continue
                shape = seen(loaded.rule, (image.shape[0], image.shape[1]))
                if (why := refusal(loaded, shape)) is not None:
                    faults[position] = f"{folder / wanted[position].path} {why}."
                else:  # of the planned shape, unless header and pixels disagree
                    groups.setdefault(shape, []).append((position, image))
            for members in groups.values():
                yield from _fitting(loaded, members, work, fits, progress.note)
            progress.advance(len(batch))


def seen(rule: Preprocess, shape: Shape) -> Shape:
    """Return the shape that the network sees at scale 1 of a decoded image."""
    return resize.sized(resize.of_floats(rule.resize), shape)


def refusal(loaded: Loaded, shape: Shape) -> str | None:
    """Return why the method takes no image of this shape at one of the scales; None if it does."""
    judge: Any = getattr(loaded.method, "refusal", None)
    if judge is None:
        return None
    from bench.describe import pyramid

    for scale in loaded.rule.scales:
        height, width = pyramid.scaled_size(shape, scale, loaded.rule)
        if (why := judge(height, width)) is not None:
            return f"has {width} x {height} pixels at the network: {why}"
    return None


def _fitting(
    loaded: Loaded,
    members: list[tuple[int, Pixels]],
    work: Callable[[Any], Many],
    fits: dict[tuple[int, ...], int],
    note: Callable[[str], None],
) -> Iterator[tuple[list[int], Many]]:
    """Yield results for images of one shape; what does not fit the memory is halved.

    `fits` keeps the number that fitted, by shape; `note` is told where a number was too large.
    """
    shape = members[0][1].shape
    while members:
        now = members[: fits.get(shape, len(members))]
        try:
            made = on_batch(loaded, [pixels for _, pixels in now], work)
        except _TooLargeError as error:
            if len(now) == 1:
                raise BenchError(str(error)) from error
            fits[shape] = len(now) // 2
            _free(loaded.device)
            note(
                f"out of memory with {len(now)} images of {shape[1]} x {shape[0]} pixels per "
                f"batch; continuing with {fits[shape]}.",
            )
            continue
        yield [position for position, _ in now], made
        members = members[len(now) :]


class _TooLargeError(BenchError):
    """A batch that does not fit the memory."""


def describe(loaded: Loaded, pixels: Sequence[Pixels]) -> NDArray[np.float32]:
    """Return unit descriptors (n, dim) float32 of decoded images of one shape."""
    later = on_batch(loaded, pixels, _queued(loaded, strict=True))
    with _named(loaded):
        return later.fetched()


def unit_rows(
    loaded: Loaded, *, strict: bool, dtype: torch.dtype | None = None
) -> Callable[[Any], NDArray[Any]]:
    """Return the function from a batch to descriptors (n, dim), of `dtype`; None: float32."""
    queued = _queued(loaded, strict=strict, dtype=dtype)
    return lambda batch: queued(batch).fetched()


def _queued(
    loaded: Loaded, *, strict: bool, dtype: torch.dtype | None = None
) -> Callable[[Any], fetch.Later]:
    """Return the same function, whose descriptors are still on their way to the host."""
    import torch

    from bench.describe import pyramid

    made = torch.float32 if dtype is None else dtype

    def work(batch: Any) -> fetch.Later:
        dim, whiten = loaded.info.dim, getattr(loaded.method, "whiten", None)
        before = dim if whiten is None else None
        rows = pyramid.describe_pyramid(
            loaded.method.describe, batch, loaded.rule, before, strict=strict, dtype=made
        )
        if whiten is not None:
            rows = pyramid.whitened(rows, whiten, dim, strict=strict)
        return fetch.started(rows)

    return work


@contextmanager
def _named(loaded: Loaded) -> Iterator[None]:
    """Let what goes wrong on the device, which is only known later, name the method."""
    try:
        yield
    except RuntimeError as error:
        name = f"{loaded.info.name}.{loaded.info.variant}"
        raise BenchError(f"the method {name} failed: {plugins.fault(error)}.") from error


def on_batch(loaded: Loaded, pixels: Sequence[Pixels], work: Callable[[Any], Result]) -> Result:
    """Return what `work` makes of decoded images of one shape; a failure names the method."""
    from bench.describe import pyramid

    name = f"{loaded.info.name}.{loaded.info.variant}"
    shape = "x".join(str(n) for n in (len(pixels), *pixels[0].shape))
    try:
        with rounding(loaded.settings), _casting(loaded):
            return work(pyramid.to_batch(pixels, loaded.rule, loaded.device, _layout(loaded)))
    except BenchError as error:
        raise BenchError(f"the method {name}: {error}") from error
    except Exception as error:
        if _is_out_of_memory(error):
            height, width = pixels[0].shape[:2]
            raise _TooLargeError(
                f"the method {name} runs out of memory on {loaded.device} with one image of "
                f"{width} x {height} pixels; use a device with more memory, or lower --max-side."
            ) from error
        if loaded.settings.compiled and type(error).__module__.startswith("torch._"):
            raise BenchError(
                f"torch could not compile the method {name} ({plugins.fault(error)}); run without "
                "--compile."
            ) from error
        raise BenchError(
            f"the method {name} failed on a batch of {shape}: {plugins.fault(error)}."
        ) from error


@contextmanager
def rounding(settings: Settings) -> Iterator[None]:
    """Let a GPU round the factors of float32 products to TF32 if the settings say so, else not.

    torch has this as a setting of the process, which is put back.
    """
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = settings.tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def half_of(settings: Settings) -> torch.dtype | None:
    """Return the type of half precision that the settings ask for; None: float32."""
    import torch

    kinds = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    return kinds[settings.precision.partition("-")[0]]  # "bf16-attention"


def _casting(loaded: Loaded) -> Any:
    """Return the context that computes in half precision what the network was not cut into."""
    import torch

    half = half_of(loaded.settings)
    if half is None or (loaded.quickened is not None and loaded.quickened.parts):
        return nullcontext()
    return torch.autocast(torch.device(loaded.device).type, dtype=half)


def _layout(loaded: Loaded) -> torch.memory_format:
    import torch

    last = loaded.quickened is not None and loaded.quickened.channels_last
    return torch.channels_last if last else torch.contiguous_format


def _is_out_of_memory(error: Exception) -> bool:
    """Tell whether an error is a lack of memory; torch on a CPU has only a message for it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("can't allocate memory", "not enough memory", "CUDA out of memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in words)


def _free(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
