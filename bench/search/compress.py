"""Compressed descriptors: whole numbers, signs, products of centroids; scored as decoded.

The search runs exactly on the decoded rows; queries are not compressed (the asymmetric rule of
Jégou, Douze and Schmid, Product Quantization for Nearest Neighbor Search, PAMI 2011, section
III-A). Codes are kept by `bench.store.derived` under what the descriptors are and the compression,
so that they are made once.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.search import quantise, scalar
from bench.store import derived
from bench.store.matrix import Decode, Matrix, check_block, count_rows, from_array, read
from bench.system.progress import Progress

CODE_VERSION = 1
KIND = "compressed"  # the folder of the cache
TRAINING_ROWS = 16_384
# Codes of every number: half precision; a whole number times a scale of its dimension, fitted on
# the database; the sign after the database's mean is subtracted, of queries too (Hamming distance);
# the bits that a method gives beside its vectors.
SCALAR = ("float16", "int8", "binary", "codes")
CODES = "codes"
BITS = ("binary", CODES)


@dataclass(frozen=True)
class Compression:
    """A compression by its name: one of `SCALAR`, or "pq64x8" for 64 sub-vectors of 8 bits each."""

    name: str
    sub_vectors: int = 0
    bits: int = 0


def parse(name: str) -> Compression | None:
    """Return the compression of that name, or None for "none"."""
    if name == "none":
        return None
    if name in SCALAR:
        return Compression(name)
    found = re.fullmatch(r"pq([1-9][0-9]{0,4})x([1-8])", name)
    if found is None:
        raise BenchError(
            f"--compression {name!r} is unknown; use none, {', '.join(SCALAR)}, or pqMxB for M "
            "sub-vectors of B bits each, B from 1 to 8, for instance pq64x8."
        )
    return Compression(name, int(found.group(1)), int(found.group(2)))


def bytes_per_row(choice: Compression, dim: int) -> int:
    """Return the bytes of one compressed descriptor; `dim` of codes is their number of bits."""
    if choice.bits:
        return -(-choice.sub_vectors * choice.bits // 8)
    return {"float16": 2 * dim, "int8": dim}.get(choice.name, -(-dim // 8))


def code(
    choice: Compression | None, dim: int, n_rows: int, name: str = "float32"
) -> str | dict[str, Any]:
    """Return the code of a card; refuse a compression that does not fit dimension and number.

    `n_rows` counts database and distractors; `name` is the type of uncompressed rows.
    """
    if choice is None:
        return f"none ({name})"
    size = {"name": choice.name, "bytes": bytes_per_row(choice, dim)}
    if choice.name in ("float16", CODES):
        return size
    if not choice.bits:  # fitted on the rows that are searched
        return size | {"rows": n_rows}
    quantise.check_sub_vectors(choice.name, choice.sub_vectors, choice.bits, dim, n_rows)
    trained = min(n_rows, TRAINING_ROWS)
    return size | {"trained_rows": trained, "rows": n_rows, "seed": quantise.SEED}


def compress(parts: Sequence[Matrix], choice: Compression, *, force: bool = False) -> list[Matrix]:
    """Return the rows of the parts compressed, with what decodes them; codes there are used again.

    Raises BenchError for rows that are not descriptors, and for those float16 cannot hold.
    """
    folder = derived.open_folder(KIND, _key(parts, choice), force=force)
    with folder.lock():
        coder = _coder(folder, parts, choice)
        files = folder.rows(
            count_rows(parts),
            lambda low, high: _encode(parts, low, high, coder),
            f"compress to {choice.name}",
        )
    label = f"{choice.name} of {parts[0].label}"
    decode = None if coder is None else coder.decoder()
    return derived.matrices(files, parts[0].shape[1], label, decode)


def compress_queries(
    queries: Sequence[Matrix], parts: Sequence[Matrix], choice: Compression
) -> list[Matrix]:
    """Return queries as they are compared with the codes of `parts`: signs, where these are."""
    code = query_coder(parts, choice)
    if code is None:
        return list(queries)
    rows = read(queries, 0, count_rows(queries))
    check_block(queries, 0, rows)
    return [from_array(code(rows), f"{choice.name} of {queries[0].label}")]


def query_coder(
    parts: Sequence[Matrix], choice: Compression
) -> Callable[[NDArray[Any]], NDArray[np.float32]] | None:
    """Return the function that encodes queries (n, dim) for the comparison with codes, or None."""
    if choice.name not in BITS:
        return None
    folder = derived.open_folder(KIND, _key(parts, choice))
    with folder.lock():
        coder = _coder(folder, parts, choice)
    assert coder is not None
    codes, decode = coder.codes, coder.decoder()
    return lambda rows: decode(codes(np.asarray(rows, dtype=np.float32)))


def _key(parts: Sequence[Matrix], choice: Compression) -> dict[str, Any]:
    """Return what determines the codes: the rows, by their store's key or by their content."""
    key = {
        "code": CODE_VERSION,
        "compression": choice.name,
        "base": derived.base_of(parts),
        "dim": parts[0].shape[1],
    }
    if choice.bits:
        key["training"] = [TRAINING_ROWS, quantise.SEED, quantise.KMEANS_SEED]
        key["faiss"] = importlib.metadata.version("faiss-cpu")
    return key


def _encode(parts: Sequence[Matrix], low: int, high: int, coder: Coder | None) -> NDArray[Any]:
    stored = read(parts, low, high)
    rows, _ = check_block(parts, low, stored)
    if coder is not None:
        return coder.codes(rows)
    with np.errstate(over="ignore", under="ignore"):
        halved = rows.astype(np.float16)
    finite = np.isfinite(halved).all(axis=1) & halved.any(axis=1)
    if not finite.all():
        at = int(np.argmin(finite))
        largest = float(np.abs(rows[at]).max())
        raise BenchError(
            f"row {low + at} of the database has {largest:.3g} as its largest number, which "
            "exceeds float16; use descriptors of unit norm, or remove --compression."
        )
    return halved


class Coder(Protocol):
    """What makes codes of rows, and what makes rows of codes."""

    def codes(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        """Return the codes of rows (n, dim)."""

    def decoder(self) -> Decode:
        """Return what decodes; it can be sent to another process."""


def _coder(folder: derived.Folder, parts: Sequence[Matrix], choice: Compression) -> Coder | None:
    """Return what codes the rows, fitted to them here or read back; None: their type changes."""
    if choice.bits:
        return _Quantiser(_quantiser(folder, parts, choice))
    if choice.name == "int8":
        return scalar.Int8(folder.array("scale", partial(scalar.scales, parts)))
    if choice.name == "binary":
        return scalar.Binary(folder.array("mean", partial(scalar.means, parts)))
    if choice.name == CODES:
        return scalar.Binary(np.zeros(parts[0].shape[1], dtype=np.float32))
    return None


@dataclass(frozen=True)
class _Quantiser:
    """A product quantiser of faiss."""

    made: Any

    def codes(self, rows: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the codes of rows, made by one thread."""
        with quantise.one_thread():
            codes: NDArray[np.uint8] = self.made.compute_codes(rows)
        return codes

    def decoder(self) -> Decode:
        """Return what decodes."""
        return _decoder(self.made)


def _quantiser(folder: derived.Folder, parts: Sequence[Matrix], choice: Compression) -> Any:
    """Return the product quantiser of these rows, trained here or read back."""
    import faiss

    made = faiss.ProductQuantizer(parts[0].shape[1], choice.sub_vectors, choice.bits)

    def train() -> NDArray[Any]:
        rows = quantise.training_rows(parts, TRAINING_ROWS)
        quantise.set_clustering(made.cp)
        with Progress(f"train {choice.name}", len(rows), "rows") as progress:
            with quantise.one_thread():
                made.train(rows)
            progress.advance(len(rows))
        centroids: NDArray[Any] = faiss.vector_to_array(made.centroids)
        return centroids

    faiss.copy_array_to_vector(folder.array("centroids", train), made.centroids)
    return made


@dataclass(frozen=True)
class _Decoder:
    """What makes rows of codes; it can be sent to another process, which faiss's own cannot."""

    shape: tuple[int, int, int]  # dimension, sub-vectors, bits
    centroids: NDArray[np.float32]

    @cached_property
    def quantiser(self) -> Any:
        """Return faiss's object for it."""
        import faiss

        made = faiss.ProductQuantizer(*self.shape)
        faiss.copy_array_to_vector(self.centroids, made.centroids)
        return made

    def __call__(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        with quantise.alone():  # the threads of the search are the workers
            rows: NDArray[np.float32] = self.quantiser.decode(np.ascontiguousarray(codes))
        return rows

    def __reduce__(self) -> tuple[Any, ...]:
        return _Decoder, (self.shape, self.centroids)


def _decoder(quantiser: Any) -> Decode:
    import faiss

    shape = quantiser.d, quantiser.M, quantiser.nbits
    return _Decoder(shape, faiss.vector_to_array(quantiser.centroids))


def files_of(key: Mapping[str, Any]) -> list[str]:
    """Return the names of the arrays that the codes of a key are made of."""
    choice = parse(key["compression"])
    count = -(-derived.rows_of(key) // derived.ROWS_PER_FILE)
    if choice is None or count < 1:
        raise ValueError("no codes")
    fitted = {"int8": ["scale.npy"], "binary": ["mean.npy"], "float16": [], CODES: []}
    first = fitted.get(choice.name, ["centroids.npy"])
    return first + [derived.part_name(number) for number in range(count)]
