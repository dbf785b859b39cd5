"""Images that a user brings in memory: each is checked, and written without loss to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import BenchError


def file_of(image: Any, path: Path) -> Path:
    """Return the file of an image: its own, or one that is written without loss."""
    if isinstance(image, str | Path):
        return Path(image).absolute()
    if hasattr(image, "detach"):  # a tensor of torch
        image = _pixels(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise BenchError(
                f"an image is an array of {image.dtype} of shape {image.shape}; it must be uint8 "
                "of shape (height, width, 3)."
            )
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise BenchError(
            f"an image is a {type(image).__name__}; give a path, a Pillow image, an array or a "
            "tensor."
        )
    image.convert("RGB").save(path, compress_level=1)
    return path


def _pixels(tensor: Any) -> NDArray[np.uint8]:
    """Return the pixels (height, width, 3) of a tensor (3, height, width)."""
    whole, shape = "uint8" in str(tensor.dtype), tuple(tensor.shape)
    if len(shape) != 3 or shape[0] != 3 or 0 in shape or not (whole or tensor.is_floating_point()):
        raise BenchError(
            f"an image is a tensor of {tensor.dtype} of shape {shape}; it must be uint8, or "
            "floats from 0 to 1, of shape (3, height, width)."
        )
    try:
        values = tensor.detach().cpu()
        array: NDArray[Any] = values.numpy() if whole else values.float().numpy()
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise BenchError(f"a tensor of an image cannot be read: {error}") from error
    if not whole:
        least, most = float(array.min()), float(array.max())
        if not -1e-6 <= least <= most <= 1 + 1e-6:
            raise BenchError(
                f"a tensor of an image has values from {least:.4g} to {most:.4g}; give floats "
                "from 0 to 1, not normalised and without NaN."
            )
        array = np.rint(array * 255).clip(0, 255)
    return np.moveaxis(array, 0, -1).astype(np.uint8)
