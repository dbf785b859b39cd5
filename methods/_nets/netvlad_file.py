"""The MATLAB files of NetVLAD's authors as a state in PyTorch's shapes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.weights import read_state

MEAN = "mean"  # the entry with the mean pixel, which the network does not have
VGG_MEAN = (123.68, 116.779, 103.939)
ASSIGNMENT, WHITENING = 30, 33  # numbers of layers in the file; the convolutions have torchvision's
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def read(path: Path) -> dict[str, Tensor]:
    """Return the state in a `.mat`, or in a file of PyTorch or safetensors, which has it already.

    In a `.mat` a kernel is (height, width, in, out), the centres are negated, and the mean pixel is
    that of `meta.normalization`.
    """
    if path.suffix != ".mat":
        return read_state(path)
    if not path.is_file():
        raise BenchError(f"the weights file {path} does not exist; check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True)["net"]
        state = {f"backbone.{i}": net.layers[i].weights for i in CONVOLUTIONS}
        scores, centers = net.layers[ASSIGNMENT].weights
        components, bias = net.layers[WHITENING].weights
        average = np.asarray(net.meta.normalization.averageImage)
    except Exception as error:  # a damaged file makes scipy raise nearly every type there is
        raise BenchError(
            f"the weights file {path} is not a MATLAB network of NetVLAD's authors: "
            f"{' '.join(str(error).split())}"
        ) from error
    made: dict[str, Any] = {MEAN: average.reshape(-1, 3)[0]}
    for name, (kernel, shift) in state.items():
        made[f"{name}.weight"] = np.transpose(kernel, (3, 2, 0, 1))
        made[f"{name}.bias"] = np.reshape(shift, -1)
    made["netvlad.score_proj.weight"] = np.transpose(scores)[:, :, None]
    made["netvlad.centers"] = -np.asarray(centers)
    made["whiten.weight"] = np.transpose(np.reshape(components, (-1, np.shape(components)[-1])))
    made["whiten.bias"] = np.reshape(bias, -1)
    return {name: torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
            for name, value in made.items()}  # fmt: skip


def mean_of(state: dict[str, Tensor], weights: str) -> tuple[float, ...]:
    """Take the mean pixel out of a state; that of VGG16 where it has none."""
    mean = state.pop(MEAN, None)
    if mean is None:
        return VGG_MEAN
    if mean.shape != (3,) or not torch.isfinite(mean).all():
        raise BenchError(f"the mean pixel in {Path(weights).name} is not three numbers.")
    return tuple(float(x) for x in mean)


def dim_of(state: dict[str, Tensor], weights: str) -> int:
    """Return the numbers that whitening keeps."""
    bias = state.get("whiten.bias")
    if bias is None or bias.dim() != 1 or not len(bias):
        raise BenchError(f"{Path(weights).name} has no whitening: whiten.bias is missing or empty.")
    return len(bias)
