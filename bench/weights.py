"""Network weights: read without running code from the file, identified by content, loaded strictly.

A state is a mapping from parameter name to tensor.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from bench.errors import BenchError, first_few

# Under these keys training programs wrap the state; the first one present is taken.
WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model")

# What torch's wrappers for several GPUs put before every name; taken off where every name has it.
PARALLEL = "module."

# The entry of a safetensors file's metadata in which a training says what it was, as JSON.
TRAINING = "retrieval-bench training"

# NumPy's numbers, for instance the learning rate that a cosine schedule left in the state of an
# optimiser, beside that of the network; before NumPy 2 what makes them had another name.
_MAKE_NUMBER: Any = np.float64(0).__reduce__()[0]
NUMBERS: list[Any] = [
    _MAKE_NUMBER,
    (_MAKE_NUMBER, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "?")),
]


# NumPy's arrays, which some programs keep beside the state, for instance a learned whitening.
_MAKE_ARRAY: Any = np.zeros(1).__reduce__()[0]
ARRAYS: list[Any] = [_MAKE_ARRAY, (_MAKE_ARRAY, "numpy.core.multiarray._reconstruct"), np.ndarray]


_notes: list[list[Path]] = []


@contextlib.contextmanager
def noting() -> Iterator[list[Path]]:
    """Give a list that has, at the end of the block, the files of weights read within it."""
    read: list[Path] = []
    _notes.append(read)
    try:
        yield read
    finally:
        _notes.remove(read)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 (64 hex digits) of names, dtypes, shapes and bytes, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        head = json.dumps([name, str(tensor.dtype), list(tensor.shape)])
        digest.update(len(head).to_bytes(8, "little") + head.encode("ascii"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state in a `.safetensors` file or a PyTorch checkpoint, on the CPU.

    Nothing is unpickled but tensors, numbers and plain containers. A state wrapped by a training
    program (see WRAPPERS) is unwrapped; what else is not a mapping of tensors is refused.
    """
    return state_in(read_checkpoint(path), path)


def read_checkpoint(path: Path, allowed: Sequence[Any] = ()) -> Any:
    """Return what a `.safetensors` file or a PyTorch checkpoint holds, tensors on the CPU.

    Nothing is unpickled but tensors, numbers, plain containers and the classes in `allowed`, each
    alone or as (class, its name in the file); ARRAYS are those of NumPy.
    """
    for read in _notes:
        read.append(path.absolute())
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise BenchError(
            f"the weights file {path} {found}; check the path in --weights, or, for a file below "
            "methods/weights, install the project again."
        )
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise BenchError(
                f"the weights file {path} is a web page (HTML): the server sent a page instead "
                "of the file; open its address in a browser, or download it again."
            )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on how old files were pickled
            with torch.serialization.safe_globals([*NUMBERS, *allowed]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch says at length how to switch the protection off; that is not advice to pass on.
        raise BenchError(
            f"the weights file {path} is not a plain checkpoint: it is damaged, or it contains "
            "objects other than tensors, which could run code and are not loaded. Save the state "
            "dict alone, preferably as .safetensors."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise BenchError(
            f"the weights file {path} ({size} bytes) cannot be read: it is truncated, or in "
            "neither PyTorch's format nor safetensors."
        ) from error


def state_in(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Return the mapping of tensors in what `read_checkpoint` gave."""
    inner = loaded
    if isinstance(loaded, Mapping):
        inner = next((loaded[key] for key in WRAPPERS if key in loaded), loaded)
    if isinstance(inner, Mapping) and inner:
        if all(isinstance(k, str) and isinstance(v, Tensor) for k, v in inner.items()):
            parallel = all(name.startswith(PARALLEL) for name in inner)
            return {name.removeprefix(PARALLEL if parallel else ""): v for name, v in inner.items()}
        found = f"the keys {first_few(inner)}"
    else:
        found = f"an object of type {type(inner).__name__}"
    raise BenchError(
        f"the weights file {path} holds {found}, not a mapping from names to tensors "
        f"(alone, or under one of the keys {', '.join(WRAPPERS)})."
    )


def training_of(path: Path) -> dict[str, Any] | None:
    """Return what `python -m bench train` wrote of a training into its final file, or None."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "pt") as file:
            stated = json.loads((file.metadata() or {}).get(TRAINING, "null"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None
    return stated if isinstance(stated, dict) else None


def origin(path: Path) -> dict[str, str]:
    """Return source, licence and training set of a file that was trained here; {} of others."""
    stated = training_of(path)
    if stated is None:
        return {}
    try:
        data, commit = stated["data"], stated["source"]["commit"] or "not known"
        changed = " with changes" if stated["source"]["dirty"] else ""
        return {
            "source": f"file {path.name}, trained by recipe {stated['recipe']}, {stated['steps']} "
            f"steps, seed {stated['seed']}, from {stated['init']}; commit {commit}{changed}",
            "licence": str(data["licence"]),
            "training_set": f"{data['name']}: {data['photographs']} photographs of "
            f"{data['classes']} classes, sha256 {data['sha256'][:16]}",
        }
    except (KeyError, TypeError):
        raise BenchError(
            f"{path} is marked as trained by this program, but lacks what training writes; it "
            "was changed, or a later version wrote it."
        ) from None


def load_strict(
    network: torch.nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    name_in_file: Callable[[str], str] = str,
) -> None:
    """Load `state` into `network`; every name and shape must agree, every number be finite.

    `source` names the weights in the error, which lists what is missing, unexpected or misshapen.
    `name_in_file` gives the name in `state` for a name of the network; the error speaks of those.
    """
    own = {name_in_file(name): (name, tensor) for name, tensor in network.state_dict().items()}
    shapes = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, (_, tensor) in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    faults = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "of another shape": shapes,
        "with NaN or infinity": [
            name
            for name in own
            if name in state
            and state[name].is_floating_point()
            and not torch.isfinite(state[name]).all()
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{len(v)} {k}: {first_few(v)}" for k, v in faults.items() if v)
        raise BenchError(f"the weights {source} do not fit {type(network).__name__}: {listed}.")
    network.load_state_dict({ours: state[name] for name, (ours, _) in own.items()})
