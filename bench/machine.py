"""What ran the run: device, processor, memory, libraries, and the state of the source."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.paths import ROOT

LIBRARIES = ("numpy", "scipy", "torch", "torchvision", "timm", "pillow", "faiss-cpu")


def pick_device(asked: str | None) -> str:
    """Return the device to use: what was asked for, or a GPU where there is one, or the CPU."""
    import torch

    gpu = torch.cuda.is_available()
    if asked is None:
        return "cuda" if gpu else "cpu"
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise BenchError(f"there is no device {asked!r}; use cpu, cuda or cuda:N.") from None
    if device.type == "cuda" and not gpu:
        raise BenchError(f"--device {asked}: torch finds no GPU here; leave it out or use cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BenchError(f"--device {asked}: there are {torch.cuda.device_count()} GPUs.")
    if device.type not in ("cpu", "cuda"):
        raise BenchError(f"there is no device {asked!r} for this project; use cpu, cuda or cuda:N.")
    return asked


def describe(device: str | None) -> dict[str, Any]:
    """Return the machine section of a record; `device` is None where nothing ran on one."""
    about: dict[str, Any] = {
        "device": device or "cpu",
        "device_name": _device_name(device),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if device is not None:
        import torch

        about["threads"] = torch.get_num_threads()
    return about


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
    """Return commit and whether files differ from it, results aside; None where git cannot say."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", ":!results")
    dirty = None if changes is None or commit is None else bool(changes)
    return {"commit": commit, "dirty": dirty}


def peak_resident_bytes() -> int:
    """Return the largest resident memory of this process so far.

    Linux keeps it per program in VmHWM; ru_maxrss would count what the parent held before exec.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes(device: str) -> int | None:
    """Return the most memory torch had allocated on the device, or None on a CPU."""
    import torch

    return int(torch.cuda.max_memory_allocated(device)) if device.startswith("cuda") else None


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
        import torch

        return str(torch.cuda.get_device_name(device))
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
