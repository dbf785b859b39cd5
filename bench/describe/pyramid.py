"""From pixels to one unit descriptor per image, on the device: normalise, scale, describe, combine.

Three of the sampling rules of `Preprocess.scale_sampling` are bilinear without antialiasing, and
differ in where an output pixel looks (for sides `n` in, `m` out, at position `i`):

size-ratio      (i + 0.5) * n / m - 0.5    OpenCV on floats; DOLG, DELG's PyTorch port
scale-factor    (i + 0.5) / scale - 0.5    torch's `scale_factor`, m = floor(n * scale); Token
legacy-corner   i * n / m                  TensorFlow 1; DELG's released models

"antialias" is size-ratio with a filter as wide as the shrinking asks for; "opencv" works on whole
grey values (`bench.images.opencv`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bench.describe import resample
from bench.errors import BenchError
from bench.images import opencv, resize
from bench.types import Preprocess


def to_batch(
    pixels: Sequence[NDArray[np.uint8]],
    rule: Preprocess,
    device: str | torch.device,
    layout: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Return images as one normalised batch, (pixel - mean) / std per channel, then resized.

    In: at least one uint8 array (height, width, 3), channels as `bench.images.decode.load` left
    them, of one shape after the rule's resizing of floats. Out: float32 (n, 3, height, width) on
    `device`, in memory as `layout` says; a row does not depend on the others. Only the bytes are
    uploaded, once for all scales.
    """
    steps = resize.of_floats(rule.resize)
    if not steps:
        return _normalised(pixels, rule, device, layout)
    alone = [
        resample.resized(_normalised([image], rule, device, torch.contiguous_format), steps)
        for image in pixels
    ]
    return torch.cat(alone).contiguous(memory_format=layout)


def _normalised(
    pixels: Sequence[NDArray[np.uint8]],
    rule: Preprocess,
    device: str | torch.device,
    layout: torch.memory_format,
) -> Tensor:
    stacked = _uploaded(pixels, torch.device(device))
    batch = stacked.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout)
    mean, std = _statistics(rule, device)
    return batch.sub_(mean).div_(std)


def _uploaded(pixels: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """Return images (n, height, width, 3) uint8 on the device; to a GPU the copy is queued."""
    gpu = device.type == "cuda"
    host = torch.empty((len(pixels), *pixels[0].shape), dtype=torch.uint8, pin_memory=gpu)
    np.stack(pixels, out=host.numpy())
    return host.to(device, non_blocking=True) if gpu else host


def _statistics(rule: Preprocess, device: str | torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and std (1, 3, 1, 1)."""
    place = torch.device(device)
    return _column(tuple(rule.mean), place), _column(tuple(rule.std), place)


@lru_cache(maxsize=64)
def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a number per channel (1, 3, 1, 1); kept, as an upload waits for the device."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)


def at_scale(batch: Tensor, scale: float, rule: Preprocess) -> Tensor:
    """Return the batch (n, c, height, width) resized by `scale`; at scale 1 it is not touched.

    A side becomes `side * scale`, rounded half to even or down as the rule says, at least 1.
    """
    if scale == 1.0:
        return batch
    if rule.scale_sampling == "scale-factor":
        if min(batch.shape[-2:]) * scale >= 1:
            return functional.interpolate(
                batch, scale_factor=scale, mode="bilinear", align_corners=False
            )
        raise BenchError(
            f"an image of {batch.shape[-1]} x {batch.shape[-2]} pixels vanishes at scale {scale}."
        )
    height, width = scaled_size((batch.shape[-2], batch.shape[-1]), scale, rule)
    if rule.scale_sampling == "legacy-corner":
        return _legacy_corner(batch, height, width)
    if rule.scale_sampling == "opencv":
        return _opencv(batch, scale, rule)
    return functional.interpolate(
        batch,
        size=(height, width),
        mode="bilinear",
        align_corners=False,
        antialias=rule.scale_sampling == "antialias",
    )


def scaled_size(size: tuple[int, int], scale: float, rule: Preprocess) -> tuple[int, int]:
    """Return the size (height, width) of an image at a scale, each side at least 1."""
    rounded: Callable[[float], int] = round if rule.scale_size == "round" else math.floor
    height, width = (side if scale == 1.0 else max(1, rounded(side * scale)) for side in size)
    return height, width


def _opencv(batch: Tensor, scale: float, rule: Preprocess) -> Tensor:
    """Resize whole grey values, which the normalised batch still holds to rounding."""
    mean, std = _statistics(rule, batch.device)
    grey = (batch * std + mean).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    small = [opencv.scaled(np.ascontiguousarray(image), scale) for image in grey]
    return _normalised(small, rule, batch.device, torch.contiguous_format).to(batch.dtype)


def _legacy_corner(batch: Tensor, height: int, width: int) -> Tensor:
    """Resize as TensorFlow 1 did by default: source = target * (in / out), in float32.

    The right and bottom neighbours of the last pixel are the last pixel; first along a row, then
    between rows, each as low + (high - low) * fraction (tensorflow, resize_bilinear_op.cc).
    """
    top, bottom, down = _corner_positions(batch.shape[-2], height, batch.device)
    left, right, across = _corner_positions(batch.shape[-1], width, batch.device)
    rows = batch[:, :, :, left]
    rows = rows + (batch[:, :, :, right] - rows) * across
    upper = rows[:, :, top]
    return upper + (rows[:, :, bottom] - upper) * down[:, None]


@lru_cache(maxsize=256)
def _corner_positions(size: int, out: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each output position, the two source positions and the fraction between.

    They are kept, as an upload waits for the device.
    """
    with torch.inference_mode(False):
        ratio = torch.tensor(size, dtype=torch.float32) / out
        source = (torch.arange(out, dtype=torch.float32) * ratio).to(device)
        low = source.floor()
        first = low.long().clamp_max(size - 1)
        return first, (first + 1).clamp_max(size - 1), source - low


def describe_pyramid(
    describe: Callable[[Tensor], Any],
    batch: Tensor,
    rule: Preprocess,
    dim: int | None = None,
    *,
    strict: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the descriptors of a batch: unit rows, combined over the scales, unit again.

    `batch` is float32 (n, 3, height, width) from `to_batch`; the result is of `dtype`, (n, dim)
    with rows of Euclidean norm 1, on the device of the batch. What `describe` returns is checked at
    each scale: a float tensor (n, dim), finite, no row zero. Where not `strict`, rows that are zero
    or not finite are NaN instead of an error, and the others as they would be without them.
    """
    total: Tensor | None = None
    with torch.inference_mode():
        for scale in rule.scales:
            rows = describe(at_scale(batch, scale, rule))
            where = f"at scale {scale:g} of {batch.shape[-1]} x {batch.shape[-2]} pixels"
            wanted = dim if total is None else int(total.shape[1])
            floats = _checked(rows, len(batch), wanted, where, strict).to(dtype)
            unit = _unit(floats, where, strict)
            total = _powered(unit, rule) if total is None else _added(total, unit, rule)
        if total is None:
            raise BenchError("`scales` of the preprocessing is empty; give at least one scale.")
        if len(rule.scales) == 1:
            return unit
        if rule.combine == "power-mean":
            total = (total / len(rule.scales)).pow(1 / rule.combine_power)
        return _unit(total, "as combined over the scales", strict)


def whitened(
    rows: Tensor, whiten: Callable[[Tensor], Any], dim: int, *, strict: bool = True
) -> Tensor:
    """Return unit rows (n, dim) from combined ones by a method's `whiten`, checked likewise.

    They have the type of the rows before.
    """
    with torch.inference_mode():
        where = "after whitening"
        made = _checked(whiten(rows), len(rows), dim, where, strict)
        return _unit(made.to(rows.dtype), where, strict)


def _powered(unit: Tensor, rule: Preprocess) -> Tensor:
    return unit.clamp_min(0).pow(rule.combine_power) if rule.combine == "power-mean" else unit


def _added(total: Tensor, unit: Tensor, rule: Preprocess) -> Tensor:
    """Return what is known of the scales so far, with one more."""
    if rule.combine == "maximum":
        return torch.maximum(total, unit)
    return total + _powered(unit, rule)


def _checked(rows: Any, count: int, dim: int | None, where: str, strict: bool) -> Tensor:
    """Return `rows`, or say what the method returned instead of (count, dim) floats.

    They are float32 unless the method returned float64.
    """
    if not isinstance(rows, Tensor):
        raise BenchError(f"`describe` returned {type(rows).__name__} {where} instead of a tensor.")
    shape = tuple(rows.shape)
    if len(shape) != 2 or shape[0] != count or shape[1] != (dim or shape[1]):
        wanted = f"({count}, {dim or 'dim'})"
        raise BenchError(f"`describe` returned the shape {shape} {where} instead of {wanted}.")
    if not rows.is_floating_point():
        raise BenchError(f"`describe` returned {rows.dtype} {where} instead of floats.")
    floats: Tensor = rows if rows.dtype == torch.float64 else rows.float()
    bad = int((~torch.isfinite(floats)).any(dim=1).sum()) if strict else 0
    if bad:
        raise BenchError(
            f"`describe` returned NaN or infinity in {bad} of {count} descriptors {where}."
        )
    return floats


def _unit(rows: Tensor, where: str, strict: bool) -> Tensor:
    """Return rows (n, dim) divided by their norms, without over- or underflow.

    The largest entry is divided out first, so that the squares of a row sum to 1..dim.
    """
    largest = rows.abs().amax(dim=1, keepdim=True)
    bare = largest < torch.finfo(torch.float32).tiny
    if not strict:  # and without waiting for the device
        largest = largest.masked_fill(bare | ~torch.isfinite(largest), torch.nan)
    elif zeros := int(bare.sum()):
        raise BenchError(
            f"{zeros} of {len(rows)} descriptors are zero vectors {where}, and cannot be "
            "normalised."
        )
    rows = rows / largest
    return functional.normalize(rows, dim=1)
