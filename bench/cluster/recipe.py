"""What makes two processes describe alike: the method as it is sent, and how it is compared."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench import methods
from bench.describe import engine, extract, loading
from bench.errors import BenchError
from bench.plugins import is_path, split
from bench.root import ROOT
from bench.settings import Settings
from bench.store import file_hashes
from bench.system.paths import cache_root
from bench.types import Preprocess

PARTS = ("torch", "torchvision", "timm", "numpy", "pillow")  # what descriptors are computed with
PIECE_BYTES = 8 << 20

# Gives the bytes of a file of the driver from an offset on, some MB of them; empty at its end.
Read = Callable[[str, int], bytes]


@dataclass(frozen=True)
class Recipe:
    """A method as a worker loads it, and `same`, in which worker and driver must not differ.

    `method` is what the user named, absolute if a path, with the source of that file in `source`.
    `weights_sha256` is that of the file `weights`, or None where `weights` names no file.
    """

    method: str
    source: bytes | None
    weights: str | None
    weights_sha256: str | None
    device: str
    settings: Settings
    rule: Preprocess
    threads: int
    same: Mapping[str, Any]


def of(text: str, weights: str | None, loaded: engine.Loaded) -> Recipe:
    """Return the recipe of a method that this process has loaded."""
    name, variant = split(text)
    source = None
    if is_path(name):
        path = Path(name).resolve()
        source = path.read_bytes()
        text = str(path) + (f":{variant}" if variant else "")
    file = methods.weights_of(text, weights)
    digest = None
    if file is not None and Path(file).is_file():
        file = str(Path(file).resolve())
        digest = file_hashes.of_files([Path(file)], cache_root())[0]
    return Recipe(
        text,
        source,
        file,
        digest,
        loaded.device.split(":")[0],
        loaded.settings,
        loaded.rule,
        torch.get_num_threads(),
        same_of(text, loaded),
    )


def same_of(text: str, loaded: engine.Loaded) -> dict[str, Any]:
    """Return all in which processes that fill one store must agree, but for the images."""
    key = extract.key_of(loaded, extract.Listed(Path(), (), ()))
    about = engine.about(loaded)
    return {
        "the version of its stages": key["code"],
        "the code of bench/ and methods/": _code(),
        "the plug-in": hashlib.sha256(methods.file_of(text).read_bytes()).hexdigest(),
        **{f"the method's {name}": value for name, value in key["method"].items()},
        "precision": key["precision"],
        "compiled": key["compiled"],
        "device": key["device"],
        **{
            f"the network's {name.replace('_', ' ')}": about[name]
            for name in ("folded_norms", "fused_convolutions", "parts", "channels_last")
        },
        "bf16 in hardware": _bf16(loaded),
        **{name: _release(name) for name in PARTS},
    }


def load(recipe: Recipe, read: Read, folder: Path) -> engine.Loaded:
    """Load the method on this machine; what it lacks of files is read into `folder`."""
    text = recipe.method
    name, variant = split(text)
    if recipe.source is not None and _bytes(Path(name)) != recipe.source:
        path = folder / Path(name).name
        path.write_bytes(recipe.source)
        text = str(path) + (f":{variant}" if variant else "")
    weights = recipe.weights
    if weights is not None and recipe.weights_sha256 is not None:
        digest = file_hashes.of_files([Path(weights)], cache_root())[0]
        if digest != recipe.weights_sha256:
            weights = str(folder / Path(weights).name)
            _copy(str(recipe.weights), Path(weights), read, recipe.weights_sha256)
    torch.set_num_threads(recipe.threads)
    loaded = loading.load(
        text, weights, recipe.device, recipe.settings, lambda _own, _method: recipe.rule
    )
    check(recipe.same, same_of(text, loaded))
    return loaded


def check(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Refuse a worker that would not compute what the driver's store says."""
    faults = [
        f"{what} is {_short(found[what])} instead of {_short(wanted[what])}"
        for what in wanted
        if found[what] != wanted[what]
    ]
    if faults:
        raise BenchError(f"{'; '.join(faults)}, so its results would differ.")


def _bf16(loaded: engine.Loaded) -> bool | None:
    """Return whether the device multiplies bf16 natively; None if bf16 is not used."""
    if not loaded.settings.precision.startswith("bf16"):
        return None
    if loaded.device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return loading.has_bf16()


def _copy(source: str, target: Path, read: Read, sha256: str) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for piece in _pieces(source, read):
            file.write(piece)
            digest.update(piece)
    if digest.hexdigest() != sha256:
        raise BenchError(
            f"the weights {source} changed during the run; run the same command again."
        )


def _pieces(source: str, read: Read) -> Iterator[bytes]:
    at = 0
    while piece := read(source, at):
        yield piece
        at += len(piece)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _code() -> str:
    """Return the sha256 of the code that a worker runs, plug-ins by path apart."""
    digest = hashlib.sha256()
    for folder in ("bench", "methods"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _release(name: str) -> str | None:
    """Return major and minor version of a package; None where it is not installed."""
    try:
        return ".".join(importlib.metadata.version(name).split("+")[0].split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return None


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text
