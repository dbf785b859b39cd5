"""Remember torch's facts about this machine, so that a run without a network need not import it.

`<cache>/torch.json` keeps the facts under everything that they depend on: the version of torch,
the environment's settings, the processors this process may use, the devices of the system since it
was started. Where torch is imported already, it is asked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.system.hashing import sha256_json
from bench.system.paths import cache_root, write_bytes

# What decides which GPUs torch sees, and how many threads it takes.
SETTINGS = ("CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_", "OMP_", "MKL_", "KMP_", "GOMP_", "TORCH_")
DEVICES = ("nvidia*", "kfd", "dxg", "dri/*")
BOOT, DRIVER = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Facts:
    """The GPUs that torch sees, by name; its threads; whether a GPU may round factors to TF32."""

    gpus: tuple[str, ...]
    threads: int
    interop_threads: int
    tf32: bool


def facts() -> Facts:
    """Return torch's facts about this machine; torch is imported only if they are not stored."""
    path, key = cache_root() / "torch.json", sha256_json(_depends_on())
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["key"] == key:
            known = Facts(**{**kept["facts"], "gpus": tuple(kept["facts"]["gpus"])})
            return _ask() if "torch" in sys.modules else known
    fresh = _ask()
    with contextlib.suppress(OSError):  # a cache that cannot be written to
        about: Mapping[str, Any] = {"key": key, "facts": dataclasses.asdict(fresh)}
        write_bytes(path, json.dumps(about).encode())
    return fresh


def _ask() -> Facts:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Facts(
        tuple(str(torch.cuda.get_device_name(index)) for index in range(count)),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        bool(torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
    )


def _depends_on() -> dict[str, Any]:
    """Return everything that the facts follow from, as plain values."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "torch": importlib.metadata.version("torch"),
        "python": [platform.python_version(), sys.prefix],
        "processors": sorted(affinity(0)) if affinity else os.cpu_count(),
        "settings": {k: v for k, v in os.environ.items() if k.startswith(SETTINGS)},
        "devices": sorted(str(p) for some in DEVICES for p in Path("/dev").glob(some)),
        "started": [_text(BOOT), _text(DRIVER)],
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
