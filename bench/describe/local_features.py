"""From dense maps to local features: scales, threshold, the strongest N, their places, unit norm.

The rules are those of DELG (Cao, Araujo, Sim, ECCV 2020): its official extractor and its PyTorch
port, told apart by `LocalRule`. Both suppress boxes that overlap too much, which does nothing: the
first asks for an overlap above 1; boxes of 291 px at a stride of 16 px overlap by 0.90, and the
second asks for 0.98. (The port then fills up with copies of the strongest feature; that is not
done here.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bench.describe import pyramid
from bench.errors import BenchError
from bench.types import LocalFeatures, LocalRule, Preprocess

LEAST_HALVED = 0.1


def describe_pyramid(
    local: Callable[[Tensor], Any], batch: Tensor, pixels: Preprocess, rule: LocalRule
) -> list[LocalFeatures | None]:
    """Return the local features of each image of a batch, float32.

    `batch` is float32 (n, 3, height, width) from `pyramid.to_batch`; `local` is called once per
    scale of the rule, and what it returns is checked. None for an image of which it makes NaN or
    infinity at any scale; the others are as they would be without it.
    """
    found: list[list[LocalFeatures]] = [[] for _ in batch]
    broken: set[int] = set()
    with torch.inference_mode():
        for scale in rule.scales:
            resized = pyramid.at_scale(batch, scale, pixels)
            where = f"at scale {scale:g} of {batch.shape[-1]} x {batch.shape[-2]} pixels"
            maps = _checked(local(resized), len(batch), rule.dim, where)
            for image, level in enumerate(zip(*maps, strict=True)):
                if all(bool(torch.isfinite(part).all()) for part in level):
                    places = level[2] if len(level) > 2 else None
                    found[image].append(select(level[0], level[1], scale, rule, places))
                else:
                    broken.add(image)
    return [
        None if image in broken else strongest(features, rule.max_features)
        for image, features in enumerate(found)
    ]


def select(
    descriptors: Tensor,
    attention: Tensor,
    scale: float,
    rule: LocalRule,
    places_px: Tensor | None = None,
) -> LocalFeatures:
    """Return the features of one image at one scale: at most `max_features`, strongest first.

    `descriptors` (dim, h, w) and `attention` (h, w) are float32; equal attention: in order of rows.
    `places_px` (2, h, w) has (y, x) in pixels of the scaled image; None: the rule's lattice.
    """
    flat = attention.flatten()
    order = torch.sort(flat, descending=True, stable=True).indices
    order = order[: kept(flat[order].cpu().numpy(), rule)]
    rows = functional.normalize(descriptors.flatten(1)[:, order].T, dim=1)
    if places_px is None:
        width = attention.shape[1]
        places = torch.stack([order // width, order % width], dim=1).cpu().numpy()
        points = keypoints(places, scale, rule)
    else:
        points = (places_px.flatten(1)[:, order].T.cpu().numpy() / scale).astype(np.float32)
    return LocalFeatures(
        points=points,
        attention=flat[order].cpu().numpy(),
        scale=np.full(len(order), scale, dtype=np.float32),
        descriptors=rows.cpu().numpy(),
    )


def kept(attention: NDArray[np.floating], rule: LocalRule) -> int:
    """Return how many of the values (n,), which descend, the threshold leaves at one scale."""
    least = rule.threshold
    if rule.threshold_rule == "at-least":
        count = int(np.count_nonzero(attention >= least))
    else:
        while (count := int(np.count_nonzero(attention > least))) < rule.max_features:
            if least / 2 < LEAST_HALVED:
                break
            least /= 2
    return min(count, rule.max_features)


def keypoints(places: NDArray[np.int64], scale: float, rule: LocalRule) -> NDArray[np.float32]:
    """Return the points (n, 2) float32 of positions (row, column), in pixels before scaling."""
    points = (places * rule.stride_px + rule.offset_px) / scale
    return points.astype(np.float32)


def strongest(parts: list[LocalFeatures], count: int) -> LocalFeatures:
    """Return the `count` features of greatest attention of all scales; equal: earlier scale."""
    order = np.argsort(-np.concatenate([p.attention for p in parts]), kind="stable")[:count]
    return LocalFeatures(
        *(
            np.concatenate([getattr(part, name) for part in parts])[order]
            for name in ("points", "attention", "scale", "descriptors")
        )
    )


def _checked(returned: Any, count: int, dim: int, where: str) -> tuple[Tensor, ...]:
    """Return descriptors (n, dim, h, w), attention (n, h, w) and any places (n, 2, h, w), float32.

    Raises BenchError for other results.
    """
    if not (
        isinstance(returned, tuple)
        and len(returned) in (2, 3)
        and all(isinstance(part, Tensor) and part.is_floating_point() for part in returned)
    ):
        raise BenchError(
            f"`local` must return two or three float tensors; it returned something else {where}."
        )
    size = tuple(returned[0].shape[2:])
    for (name, channels), part in zip(
        (("descriptors", dim), ("attention", 1), ("places", 2)), returned, strict=False
    ):
        if part.ndim != 4 or tuple(part.shape) != (count, channels, *size):
            raise BenchError(
                f"`local` returned {name} of the shape {tuple(part.shape)} {where} instead of "
                f"({count}, {channels}, h, w)."
            )
    descriptors, attention, *places = (part.float() for part in returned)
    return descriptors, attention[:, 0], *places
