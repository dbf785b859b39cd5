"""Descriptors in HDF5 files by the name of the image, as hloc writes them.

hloc (Sarlin et al., From Coarse to Fine, CVPR 2019) keeps a group for every image, at the path of
its name, with the dataset `global_descriptor` (dim,).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError, first_few
from bench.pipeline.tensors import Named

GLOBAL = "global_descriptor"
GROWTH = 200  # how far descriptors may shrink in a file, as in other archives
SPARE_BYTES = 64 << 20


def read(path: Path, names: Sequence[str]) -> Named:
    """Return the rows (n, dim) of an HDF5 file, and the names of their images.

    A file has a group with `global_descriptor` (dim,) for each image, a dataset (dim,) for each, or
    one (n, dim), under the first of `names` that there is, beside which `ids` has the names. Links
    to other files are not followed. Raises BenchError for another form, and where h5py is absent.
    """
    try:
        import h5py
    except ImportError:
        raise BenchError(
            f"{path}: reading HDF5 needs the package h5py, which is not installed: pip install "
            "'retrieval-bench[hdf5]', or pip install h5py."
        ) from None
    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {}

        def keep(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                found[name] = item

        file.visititems(keep)  # neither soft nor external links
        _check(found, path)
        ids = found.pop("ids", None)
        matrix = _matrix(found, names)
        if matrix is not None:
            return matrix[()], None if ids is None else tuple(ids.asstr()[()].ravel().tolist())
        of_image = _by_image(found, path)
        rows = [np.asarray(item[()]).ravel() for item in of_image.values()]
        return np.stack(rows), tuple(of_image)


def _check(found: Mapping[str, Any], path: Path) -> None:
    """Refuse what is in other files, and more items than the file can hold."""
    for name, item in found.items():
        if item.is_virtual or item.external:
            raise BenchError(
                f"{path}: {name} is stored in another file; give one file with all rows."
            )
    size = path.stat().st_size
    if sum(item.nbytes for item in found.values()) > GROWTH * size + SPARE_BYTES:
        raise ValueError(f"its {size} bytes unpack to more data than descriptors can have")


def _matrix(found: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Return the dataset with all rows; None if there is none, or more than one."""
    matrices = {name: item for name, item in found.items() if item.ndim == 2 and "/" not in name}
    chosen = [name for name in (*names, GLOBAL) if name in matrices]
    chosen = chosen or (list(matrices) if len(matrices) == len(found) == 1 else [])
    return matrices[chosen[0]] if chosen else None


def _by_image(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the dataset of each image by its name, as the file says which they are."""
    end = f"/{GLOBAL}"
    of_image = {name.removesuffix(end): item for name, item in found.items() if name.endswith(end)}
    if not of_image and all(item.ndim == 1 for item in found.values()):
        of_image = dict(found)
    if not of_image:
        kinds = first_few(sorted({name.rpartition("/")[2] for name in found}))
        raise BenchError(
            f"{path} contains {kinds or 'nothing'}, but no {GLOBAL} of an image; HDF5 of "
            f"descriptors needs a group with {GLOBAL} (dim,) for each image, as hloc writes it."
        )
    lengths = {item.size for item in of_image.values()}
    if len(lengths) > 1:
        raise BenchError(
            f"{path}: the descriptors of its images have different lengths, {min(lengths)} and "
            f"{max(lengths)}."
        )
    return of_image
