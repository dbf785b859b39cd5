"""The memory of a method in a process of its own: weights and activations, over what is empty.

The process loads the method, describes an image, from its file to its descriptor, and drops the
method again: what is left, the interpreter, the libraries and their code, is empty. It does the
same once more, and keeps the figures. So they depend neither on what the run did before nor on the
order of the methods of a command. Every array of 64 KiB or more has pages of its own, so holes
between arrays, which differ from process to process, are not counted.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from bench import contract, methods
from bench.describe import engine, loading, local_store
from bench.images import decode
from bench.settings import Settings
from bench.system import memory
from bench.system.hashing import plain
from bench.system.notes import note
from bench.system.progress import Progress
from bench.types import Image, LocalRule, Preprocess

START = "from bench.measure.alone import main; main()"
MOST_S = 1800.0  # loading and three descriptors; who needs longer is not measured
RUNS = 2
RESET = 1.02  # a reset peak is at most so many times the memory in use

Local = Literal["none", "too", "only"]
Memory = dict[str, dict[str, int] | None]


@dataclass(frozen=True)
class Asked:
    """A method as the user named it, and the image that is described.

    `local` are its local features: "none", "too" besides its descriptor, or "only".
    """

    method: str
    weights: str | None
    device: str
    settings: Settings
    rule: Preprocess
    folder: Path
    image: Image
    threads: int
    local: Local = "none"


def asked(
    text: str,
    weights: str | None,
    loaded: engine.Loaded,
    folder: Path,
    image: Image,
    *,
    local: Local = "none",
) -> Asked:
    """Return the requested figures of a method that this process has loaded."""
    threads = torch.get_num_threads()
    return Asked(text, weights, loaded.device, loaded.settings, loaded.rule, folder, image,
                 threads, local)  # fmt: skip


def measure(of: Asked) -> Memory | None:
    """Return bytes: `resident`, and on a GPU `device`, each of empty, weights and activations.

    None, with a note that says why, where the method does not run in a process of its own.
    """
    path = [str(Path.cwd()) if place == "" else place for place in sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path), "MALLOC_ARENA_MAX": "1"}
    with Progress("measure memory", None, brief=True):
        try:
            done = subprocess.run(
                [sys.executable, "-c", START],
                input=json.dumps(plain({**vars(of), "folder": str(of.folder)})),
                capture_output=True, text=True, env=environment, timeout=MOST_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            _note(of, str(error))
            return None
    if done.returncode:
        words = done.stderr.strip().splitlines()
        _note(of, words[-1] if words else f"status {done.returncode}")
        return None
    kept: Memory = json.loads(done.stdout)
    return kept


def _note(of: Asked, why: str) -> None:
    note(f"the memory of {of.method} is not measured: its process failed ({why[:200]}).")


def main() -> None:
    """Measure what standard input asks for, and print JSON."""
    with os.fdopen(os.dup(1), "w", encoding="ascii") as out:
        os.dup2(2, 1)  # a plug-in may print
        request = json.load(sys.stdin)
        rule = contract.preprocess(request.pop("rule"), request["method"])
        settings, image = Settings(**request.pop("settings")), _image(request.pop("image"))
        folder = Path(request.pop("folder"))
        of = Asked(**request, settings=settings, rule=rule, folder=folder, image=image)
        torch.set_num_threads(of.threads)
        memory.in_pages_of_their_own()
        out.write(json.dumps(_measured(of)))


def _measured(of: Asked) -> Memory:
    _once(of)  # all code is imported and the libraries are ready
    empty = _held(of.device)
    loaded, most = _once(of)
    out: Memory = {"resident": None, "device": None}
    if most["resident_bytes"] is not None:
        out["resident"] = _parts(empty["cpu"], loaded["cpu"], most["resident_bytes"])
    if most["device_allocated_bytes"] is not None:
        top = most["device_allocated_bytes"]
        parts = _parts(empty[of.device], loaded[of.device], top)
        out["device"] = parts | {"reserved_bytes": most["device_reserved_bytes"] or 0}
    return out


def _parts(empty: int, loaded: int, most: int) -> dict[str, int]:
    return {
        "empty_bytes": empty,
        "weights_bytes": max(0, loaded - empty),
        "activations_bytes": max(0, most - loaded),
    }


def _once(of: Asked) -> tuple[dict[str, int], memory.Memory]:
    """Load and describe; return the memory in use after one image, and the later peaks.

    The peak is None if the system cannot reset it.
    """
    loaded = loading.load(
        of.method, of.weights, of.device, of.settings, lambda _own, _method: of.rule
    )
    rule = methods.local_of(loaded.method, loaded.info) if of.local != "none" else None
    _describe(loaded, of, rule)  # the libraries keep weights in the order they like
    allocated = _held(of.device)
    memory.reset_peaks(of.device)
    reset = memory.peak_resident_bytes() <= RESET * memory.held_bytes("cpu")
    for _ in range(RUNS):
        _describe(loaded, of, rule)
    most = memory.peaks(of.device)
    return allocated, most if reset else {**most, "resident_bytes": None}


def _describe(loaded: engine.Loaded, of: Asked, rule: LocalRule | None) -> None:
    pixels = decode.load(of.folder / of.image.path, of.image.box, loaded.rule)
    if of.local != "only":
        engine.describe(loaded, [pixels])
    if rule is not None:
        engine.on_batch(loaded, [pixels], local_store.work_of(loaded, rule))


def _held(device: str) -> dict[str, int]:
    """Return the bytes in use, resident and on the device, without freed memory."""
    gc.collect()
    memory.give_back()
    return {"cpu": memory.held_bytes("cpu"), device: memory.held_bytes(device)}


def _image(request: dict[str, Any]) -> Image:
    box = request.pop("box")
    return Image(**request, box=None if box is None else tuple(box))
