"""What ran the run: device, processor, memory, libraries, and the state of the source."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import threadpoolctl

from bench import __version__
from bench.errors import BenchError
from bench.root import BUILD, CHECKOUT, ROOT
from bench.system import memory, torch_facts

LIBRARIES = ("numpy", "scipy", "torch", "torchvision", "timm", "pillow", "faiss-cpu")


def pick_device(asked: str | None) -> str:
    """Return the device to use: the requested one, or a GPU if present, or the CPU."""
    if asked is not None and not re.fullmatch(r"(cpu|cuda)(:\d+)?", asked):
        raise BenchError(f"the device {asked!r} is not supported; use cpu, cuda or cuda:N.")
    if asked is not None and asked.startswith("cpu"):
        return asked
    gpus = len(torch_facts.facts().gpus)
    if asked is None:
        return "cuda" if gpus else "cpu"
    if not gpus:
        raise BenchError(
            f"--device {asked}: torch finds no GPU on this machine; remove the option or use cpu."
        )
    if int(asked.partition(":")[2] or 0) >= gpus:
        raise BenchError(f"--device {asked}: this machine has {gpus} GPUs, numbered from 0.")
    return asked


def describe(device: str | None) -> dict[str, Any]:
    """Return the machine section of a record; `device` is None if none was used."""
    about: dict[str, Any] = {
        "device": device or "cpu",
        "device_name": _device_name(device),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    about |= {"blas_threads": _blas_threads(), **clocks(device)}
    if device is not None:
        known = torch_facts.facts()
        about["threads"] = known.threads
        about["interop_threads"] = known.interop_threads
        about["tf32"] = known.tf32
    return about


def _blas_threads() -> int | None:
    """Return the threads of the library that multiplies NumPy's matrices."""
    pools = threadpoolctl.threadpool_info()
    return max((int(p["num_threads"]) for p in pools if p["user_api"] == "blas"), default=None)


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that can move a number."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def source() -> dict[str, Any]:
    """Return commit and whether files differ from it, results aside; None where git cannot say.

    An installed package says its version, and what it was built from.
    """
    if CHECKOUT is None:
        built = json.loads(BUILD.read_text(encoding="utf-8")) if BUILD.is_file() else {}
        stated = {"commit": built.get("commit"), "dirty": built.get("dirty")}
        return {**stated, "version": __version__}
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", ":!results")
    dirty = None if changes is None or commit is None else bool(changes)
    return {"commit": commit, "dirty": dirty}


def clocks(device: str | None) -> dict[str, float | None]:
    """Return the clocks at this moment in MHz: mean over the processor's cores, and of a GPU.

    None where they cannot be read.
    """
    mhz = None
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        cores = [float(n) for n in re.findall(r"^cpu MHz\s*: ([0-9.]+)", text, re.MULTILINE)]
        mhz = round(sum(cores) / len(cores), 1) if cores else None
    except (OSError, ValueError):
        pass
    return {"processor_mhz": mhz, "device_mhz": _gpu_mhz(device)}


def _gpu_mhz(device: str | None) -> float | None:
    if device is None or not device.startswith("cuda"):
        return None
    import torch

    try:
        which = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        asked = [
            "nvidia-smi",
            "-i",
            which,
            "--query-gpu=clocks.sm",
            "--format=csv,noheader,nounits",
        ]
        done = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10)
        return float(done.stdout)
    except (AttributeError, OSError, subprocess.SubprocessError, ValueError):
        return None


def available_bytes() -> int | None:
    """Return how much memory a new program could take; None where the system does not say."""
    return memory.free_bytes("cpu")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _device_name(device: str | None) -> str:
    if device is not None and device.startswith("cuda"):
        return torch_facts.facts().gpus[int(device.partition(":")[2] or 0)]
    return _processor()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
