"""Compressed descriptors: float16 and product quantisation, kept on disk, scored as decoded.

What is searched are the rows that the codes decode to, exactly; queries are not compressed (the
asymmetric rule of Jégou, Douze and Schmid, Product Quantization for Nearest Neighbor Search, PAMI
2011, section III-A). Codes lie in `<cache>/compressed/<key>/part-00012.npy`. The key is made of
what the descriptors are and of the compression, and `key.json` says both in clear, so that codes
are made once. A file appears complete or not at all, and its sha256 stands beside it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.search import quantise
from bench.store import shards
from bench.store.matrix import Decode, Matrix, check_block, content_sha256, count_rows, read
from bench.system.hashing import sha256_json
from bench.system.paths import cache_root, write_bytes
from bench.system.progress import Progress

CODE_VERSION = 1
ROWS_PER_FILE = 8192
TRAINING_ROWS = 16_384
_OURS = re.compile(
    r"used|lock|(key\.json|(part-\d{5,}|centroids)\.(npy|sha256))"
    r"|\.(key\.json|(part-\d{5,}|centroids)\.(npy|sha256))\.[0-9a-f]{8}\.tmp"
)


@dataclass(frozen=True)
class Compression:
    """A compression by its name: "float16", or "pq64x8" for 64 sub-vectors of 8 bits each."""

    name: str
    sub_vectors: int = 0
    bits: int = 0


def parse(name: str) -> Compression | None:
    """Return the compression of that name, or None for "none"."""
    if name == "none":
        return None
    if name == "float16":
        return Compression(name)
    found = re.fullmatch(r"pq([1-9][0-9]{0,4})x([1-8])", name)
    if found is None:
        raise BenchError(
            f"--compression {name!r} is not known; it is none, float16, or pqMxB for M sub-vectors "
            "of B bits each, B from 1 to 8, for instance pq64x8."
        )
    return Compression(name, int(found.group(1)), int(found.group(2)))


def bytes_per_row(choice: Compression, dim: int) -> int:
    """Return the bytes of one compressed descriptor."""
    return 2 * dim if choice.bits == 0 else -(-choice.sub_vectors * choice.bits // 8)


def code(
    choice: Compression | None, dim: int, n_rows: int, given: str = "float32"
) -> str | dict[str, Any]:
    """Return the code of a card; refuse a compression that does not fit dimension and number.

    `n_rows` counts database and distractors; `given` is the type of uncompressed rows.
    """
    if choice is None:
        return f"none ({given})"
    size = {"name": choice.name, "bytes": bytes_per_row(choice, dim)}
    if choice.bits == 0:
        return size
    quantise.check_sub_vectors(choice.name, choice.sub_vectors, choice.bits, dim, n_rows)
    trained = min(n_rows, TRAINING_ROWS)
    return size | {"trained_rows": trained, "rows": n_rows, "seed": quantise.SEED}


def compress(parts: Sequence[Matrix], choice: Compression, *, force: bool = False) -> list[Matrix]:
    """Return the rows of the parts compressed, with what decodes them; codes there are used again.

    Raises BenchError for rows that are no descriptors, and for those float16 cannot hold.
    """
    key = _key(parts, choice)
    folder = cache_root() / "compressed" / sha256_json(key)[:32]
    shards.use(folder)
    _describe(folder, key)
    with FileLock(folder / "lock"):
        quantiser = _quantiser(folder, parts, choice, force=force) if choice.bits else None
        files = _write_codes(folder, parts, choice, quantiser, force=force)
    decode = None if quantiser is None else _decoder(quantiser)
    dim, out, row = parts[0].shape[1], [], 0
    for path in files:
        rows = min(ROWS_PER_FILE, count_rows(parts) - row)
        label = f"{choice.name} of {parts[0].label}"
        out.append(Matrix(label, (rows, dim), path=path, decode=decode))
        row += rows
    return out


def _key(parts: Sequence[Matrix], choice: Compression) -> dict[str, Any]:
    """Return what determines the codes: the rows, by their store's key or by their content."""
    base: list[list[Any]] = []
    for part in parts:
        if part.key is not None and base and base[-1][0] == part.key:
            base[-1][1] += part.shape[0]
        else:
            base.append([part.key or content_sha256(part), part.shape[0]])
    key = {"code": CODE_VERSION, "compression": choice.name, "base": base, "dim": parts[0].shape[1]}
    if choice.bits:
        key["training"] = [TRAINING_ROWS, quantise.SEED, quantise.KMEANS_SEED]
        key["faiss"] = importlib.metadata.version("faiss-cpu")
    return key


def _describe(folder: Path, key: dict[str, Any]) -> None:
    sidecar = folder / "key.json"
    if not sidecar.is_file():
        write_bytes(sidecar, f"{json.dumps(key, indent=1, sort_keys=True)}\n".encode())


def _write_codes(
    folder: Path, parts: Sequence[Matrix], choice: Compression, quantiser: Any, *, force: bool
) -> list[Path]:
    """Write what is not there or damaged; return all files in order."""
    n_rows = count_rows(parts)
    files = []
    with Progress(f"compress to {choice.name}", n_rows, "rows") as progress:
        for number, low in enumerate(range(0, n_rows, ROWS_PER_FILE)):
            path = folder / f"part-{number:05d}.npy"
            high = min(low + ROWS_PER_FILE, n_rows)
            if force or _held(path) is None:
                _put(path, _encode(parts, low, high, quantiser))
            files.append(path)
            progress.advance(high - low)
    return files


def _encode(parts: Sequence[Matrix], low: int, high: int, quantiser: Any) -> NDArray[Any]:
    stored = read(parts, low, high)
    rows, _ = check_block(parts, low, stored)
    if quantiser is not None:
        with quantise.one_thread():
            codes: NDArray[np.uint8] = quantiser.compute_codes(rows)
        return codes
    with np.errstate(over="ignore", under="ignore"):
        halved = rows.astype(np.float16)
    held = np.isfinite(halved).all(axis=1) & halved.any(axis=1)
    if not held.all():
        at = int(np.argmin(held))
        largest = float(np.abs(rows[at]).max())
        raise BenchError(
            f"row {low + at} of the database has {largest:.3g} as its largest number, which "
            "float16 cannot hold; bring descriptors of unit norm, or leave out --compression."
        )
    return halved


def _quantiser(folder: Path, parts: Sequence[Matrix], choice: Compression, *, force: bool) -> Any:
    """Return the product quantiser of these rows, trained here or read back."""
    import faiss

    made = faiss.ProductQuantizer(parts[0].shape[1], choice.sub_vectors, choice.bits)
    path = folder / "centroids.npy"
    held = None if force else _held(path)
    if held is None:
        rows = quantise.training_rows(parts, TRAINING_ROWS)
        quantise.set_clustering(made.cp)
        with Progress(f"train {choice.name}", len(rows), "rows") as progress:
            with quantise.one_thread():
                made.train(rows)
            progress.advance(len(rows))
        _put(path, faiss.vector_to_array(made.centroids))
    else:
        faiss.copy_array_to_vector(held, made.centroids)
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


def _put(path: Path, array: NDArray[Any]) -> None:
    """Write an array, complete or absent; its checksum last."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    content = buffer.getvalue()
    write_bytes(path, content)
    write_bytes(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())


def _held(path: Path) -> NDArray[Any] | None:
    """Return the array of a file that has the bytes it was written with, else None."""
    try:
        content = path.read_bytes()
        expected = path.with_suffix(".sha256").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    if hashlib.sha256(content).hexdigest() != expected:
        return None
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def rows_of(key: Mapping[str, Any]) -> int:
    """Return how many rows the codes of a key are of."""
    return sum(int(rows) for _, rows in key["base"])


def files_of(key: Mapping[str, Any]) -> list[str]:
    """Return the names of the arrays that the codes of a key are made of."""
    choice = parse(key["compression"])
    count = -(-rows_of(key) // ROWS_PER_FILE)
    if choice is None or count < 1:
        raise ValueError("no codes")
    centroids = ["centroids.npy"] if choice.bits else []
    return centroids + [f"part-{number:05d}.npy" for number in range(count)]


def damaged(
    folder: Path, key: Mapping[str, Any], advance: Callable[[], None] = lambda: None
) -> Iterator[Path]:
    """Yield the arrays in a folder of codes that have not the bytes they were written with."""
    for name in files_of(key):
        path = folder / name
        if path.exists() or path.with_suffix(".sha256").exists():
            held = _held(path)
            advance()
            if held is None and not _in_work(folder, path):
                yield path


def _in_work(folder: Path, path: Path) -> bool:
    """Return whether a process is writing codes, or has just written these."""
    try:
        with FileLock(folder / "lock", timeout=0):
            return _held(path) is not None
    except Timeout:
        return True


def is_ours(path: Path) -> bool:
    """Return whether a file in a folder of codes has a name that is given there."""
    return _OURS.fullmatch(path.name) is not None
