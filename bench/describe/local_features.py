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
            descriptors, attention = _checked(local(resized), len(batch), rule.dim, where)
            for image, one in enumerate(zip(descriptors, attention, strict=True)):
                if all(bool(torch.isfinite(part).all()) for part in one):
                    found[image].append(select(*one, scale, rule))
                else:
                    broken.add(image)
    return [
        None if image in broken else strongest(features, rule.max_features)
        for image, features in enumerate(found)
    ]


def select(descriptors: Tensor, attention: Tensor, scale: float, rule: LocalRule) -> LocalFeatures:
    """Return the features of one image at one scale: at most `max_features`, strongest first.

    `descriptors` (dim, h, w) and `attention` (h, w) are float32; equal attention: in order of rows.
    """
    flat = attention.flatten()
    order = torch.sort(flat, descending=True, stable=True).indices
    order = order[: kept(flat[order].cpu().numpy(), rule)]
    width = attention.shape[1]
    rows = functional.normalize(descriptors.flatten(1)[:, order].T, dim=1)
    places = torch.stack([order // width, order % width], dim=1).cpu().numpy()
    return LocalFeatures(
        points=keypoints(places, scale, rule),
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


def _checked(returned: Any, count: int, dim: int, where: str) -> tuple[Tensor, Tensor]:
    """Return descriptors (n, dim, h, w) and attention (n, h, w), float32, or say what is wrong."""
    if not (
        isinstance(returned, tuple)
        and len(returned) == 2
        and all(isinstance(part, Tensor) and part.is_floating_point() for part in returned)
    ):
        raise BenchError(f"`local` must return two float tensors, and does not {where}.")
    descriptors, attention = returned
    size = tuple(descriptors.shape[2:])
    for name, part, wanted in (
        ("descriptors", descriptors, (count, dim, *size)),
        ("attention", attention, (count, 1, *size)),
    ):
        if part.ndim != 4 or tuple(part.shape) != wanted:
            needed = f"({count}, {dim if name == 'descriptors' else 1}, h, w)"
            raise BenchError(
                f"`local` returned {name} of the shape {tuple(part.shape)} {where}, not {needed}."
            )
    return descriptors.float(), attention[:, 0].float()
