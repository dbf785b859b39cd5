"""What compression and approximate search share: names with numbers, training rows, one thread.

faiss trains its quantisers by k-means. Its result depends on the training rows, on the seed, and on
the number of threads; so the rows are drawn by a fixed seed, and one thread does the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.errors import BenchError, first_few
from bench.store.matrix import Matrix, blocks, check_block, count_rows, take

SEED = 0
KMEANS_SEED = 1234


def training_rows(parts: Sequence[Matrix], most: int) -> NDArray[np.float32]:
    """Return up to `most` rows of the database, float32, drawn without replacement by the seed."""
    n_rows = count_rows(parts)
    rows = np.arange(n_rows)
    if n_rows > most:
        rows = np.sort(np.random.default_rng(SEED).choice(n_rows, most, replace=False))
    out = np.empty((len(rows), parts[0].shape[1]), dtype=np.float32)
    for low in range(0, len(rows), 512):
        out[low : low + 512] = take(parts, rows[low : low + 512])
    squares = np.einsum("ij,ij->i", out, out)
    if not np.all(np.isfinite(squares) & (squares > 0)):  # the first such row is named
        for low, stored in blocks(parts, 512):
            check_block(parts, low, stored)
    return out


def set_clustering(parameters: Any) -> None:
    """Set the seed of a k-means of faiss, and let it have few rows without complaint."""
    parameters.seed = KMEANS_SEED
    parameters.min_points_per_centroid = 1


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let faiss and the library it multiplies with use one thread inside the block."""
    with alone(), threadpool_limits(1, "blas"):
        yield


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let faiss's loops that this thread begins run in it alone; torch's share the setting."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def check_sub_vectors(name: str, sub_vectors: int, bits: int, dim: int, n_rows: int) -> None:
    """Refuse a product quantiser that does not fit the descriptors."""
    if dim % sub_vectors:
        fitting = [m for m in range(1, dim + 1) if dim % m == 0]
        near = sorted(fitting, key=lambda m: (abs(m - sub_vectors), m))[:4]
        raise BenchError(
            f"{name} divides a descriptor into {sub_vectors} parts, but {dim} dimensions cannot "
            f"be divided into so many equal parts; use for instance {first_few(sorted(near))} "
            "parts."
        )
    if n_rows < 1 << bits:
        raise BenchError(
            f"{name} needs at least {1 << bits} database rows for training, but the database has "
            f"{n_rows}; use fewer bits, for instance pq{sub_vectors}x4."
        )
