"""Matrices of a head in a file: in half precision, or in 8 bits with a scale per row.

A matrix `NAME` (rows, …) in 8 bits is int8, and `NAME.scale` (rows,) float32: a number is an
integer of -127..127 times the scale of its row. Vectors are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"


def pack(state: Mapping[str, Tensor], bits: int) -> dict[str, Tensor]:
    """Return a state of float32 in its file format: matrices in half precision, or in 8 bits."""
    if bits == 16:
        return {name: t.half() if t.ndim >= 2 else t for name, t in state.items()}
    written: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            written[name] = tensor
            continue
        rows = tensor.flatten(1)
        scale = rows.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        written[name] = (rows / scale[:, None]).round().to(torch.int8).view_as(tensor)
        written[name + SCALE] = scale
    return written


def unpack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state of float32 as the head takes it."""
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        scale = state.get(name + SCALE)
        if scale is not None:
            made[name] = tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
        elif name.removesuffix(SCALE) not in state or not name.endswith(SCALE):
            made[name] = tensor.float()
    return made
