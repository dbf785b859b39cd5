"""Descriptors in PyTorch's files: only tensors are made, no larger than their file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError, first_few

Named = tuple[NDArray[Any], tuple[str, ...] | None]  # rows (n, dim) and their names


def array_of(tensor: Any) -> NDArray[Any]:
    """Return a tensor as an array; from its device, and of types that NumPy lacks as float32."""
    tensor = tensor.detach().cpu()
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_floating_point() and kind not in ("float16", "float32", "float64"):
        tensor = tensor.float()
    array: NDArray[Any] = tensor.numpy()
    return array


def read(path: Path, names: Sequence[str]) -> Named:
    """Return the rows (n, dim) of a `.pt`, `.pth` or `.safetensors` file, and their names.

    Rows are a tensor alone, or under the first of `names` that there is, or the only one of two
    dimensions. Names are texts under `ids`; in a safetensors file, a JSON list in its metadata. A
    file with a tensor (dim,) per image, by its name, is read likewise. Raises ValueError for a
    file that is damaged, and BenchError for one that does not say which tensor it is.
    """
    import torch

    loaded = _safetensors(path) if path.suffix == ".safetensors" else _checkpoint(path)
    if isinstance(loaded, torch.Tensor):
        return array_of(_within(loaded, path)), None
    if not isinstance(loaded, Mapping):
        raise BenchError(f"{path} contains a {type(loaded).__name__}; save the tensor alone.")
    tensors = {key: _within(t, path) for key, t in loaded.items() if isinstance(t, torch.Tensor)}
    ids = None if loaded.get("ids") is None else tuple(map(str, loaded["ids"]))
    if ids is None and len(tensors) > 1 and {t.ndim for t in tensors.values()} == {1}:
        if len({len(t) for t in tensors.values()}) > 1:
            raise BenchError(f"{path}: the tensors of its images have different lengths.")
        rows = np.stack([array_of(tensor) for tensor in tensors.values()])
        return rows, tuple(map(str, tensors))
    matrices = [key for key, tensor in tensors.items() if tensor.ndim == 2]
    wanted = [key for key in names if key in matrices] or matrices
    if not wanted or (len(matrices) > 1 and wanted is matrices):
        raise BenchError(
            f"{path} holds {first_few(tensors) or 'no tensor'}; name the descriptors `vectors`."
        )
    return array_of(tensors[wanted[0]]), ids


def _within(tensor: Any, path: Path) -> Any:
    """Return a tensor whose items the file holds; a view of few items may have any shape."""
    if tensor.numel() * tensor.element_size() > path.stat().st_size:
        raise ValueError(
            f"a tensor of shape {tuple(tensor.shape)} has more items than its file; save a copy of "
            "it (.clone())"
        )
    return tensor


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        found: dict[str, Any] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    if "ids" in metadata:
        found["ids"] = json.loads(metadata["ids"])
        if not isinstance(found["ids"], list):
            raise ValueError("`ids` in its metadata is not a JSON list")
    return found


def _checkpoint(path: Path) -> Any:
    """Return what a file of `torch.save` holds: tensors, numbers and plain containers alone."""
    import pickle

    import torch

    if not zipfile.is_zipfile(path):
        raise ValueError("it is not in the format of torch.save since version 1.6")
    with zipfile.ZipFile(path) as packed:
        if any(info.compress_type != zipfile.ZIP_STORED for info in packed.infolist()):
            raise ValueError("it is compressed in a way that torch.save never uses")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it contains objects other than tensors, which may be code; save the tensor alone"
        ) from error
