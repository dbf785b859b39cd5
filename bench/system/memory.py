"""The memory of this process and of a GPU: in use, free, and the peaks."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

KINDS = ("resident_bytes", "device_allocated_bytes", "device_reserved_bytes")
Memory = dict[str, int | None]

# Parameters of mallopt (malloc.h), and what glibc has them at, at the end of its own adjustment.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
USUAL = ((M_MMAP_MAX, 65536), (M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 64 << 20))
_keepers = 0
_own_pages = False
_lock = Lock()


def peak_resident_bytes() -> int:
    """Return the largest resident memory of this process so far.

    Linux keeps it per program in VmHWM; ru_maxrss would count the memory of the parent before exec.
    """
    kept = _number_in("/proc/self/status", "VmHWM:")
    if kept is not None:
        return kept
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peaks(device: str | None) -> dict[str, int | None]:
    """Return the peaks of resident memory, and of what torch allocated and reserved on a GPU.

    All since the process began, or since `reset_peaks`; None where there is no GPU.
    """
    allocated = reserved = None
    if device is not None and device.startswith("cuda"):
        import torch

        allocated = int(torch.cuda.max_memory_allocated(device))
        reserved = int(torch.cuda.max_memory_reserved(device))
    return {
        "resident_bytes": peak_resident_bytes(),
        "device_allocated_bytes": allocated,
        "device_reserved_bytes": reserved,
    }


def reset_peaks(device: str) -> None:
    """Reset the peaks to the memory in use now, as far as the system lets a process do so."""
    with contextlib.suppress(OSError):  # VmHWM: proc_pid_clear_refs(5), value 5
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def give_back() -> None:
    """Return freed memory to the system, which glibc would keep between blocks in use.

    Arrays of images of many sizes leave such holes: gigabytes of them after some hundred images.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def kept(device: str) -> Iterator[None]:
    """Keep memory freed within the block for later requests, if the C library is glibc.

    Otherwise each feature map of a network on a processor is memory that the system has to clear
    first, which takes up to a third of the time. After the block glibc does as by itself, with the
    limits that it comes to once large pieces were freed, and gives back what is not used.
    """
    global _keepers
    if not device.startswith("cpu") or _own_pages:
        yield
        return
    with _lock:
        _keepers += 1
        _glibc((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1))
    try:
        yield
    finally:
        with _lock:
            _keepers -= 1
            if not _keepers:
                _glibc(*USUAL)
                give_back()


def in_pages_of_their_own() -> None:
    """Give every larger array of this process pages of its own, where the C library is glibc.

    Resident memory is then memory in use. It costs time: for a process that measures memory, in
    which `kept` keeps nothing.
    """
    global _own_pages
    _own_pages = True
    _glibc((M_MMAP_MAX, 1 << 20), (M_MMAP_THRESHOLD, 64 << 10), (M_TRIM_THRESHOLD, 64 << 10))


def _glibc(*options: tuple[int, int]) -> None:
    """Set parameters of glibc's malloc (mallopt(3)); other C libraries have none, or other ones."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            for option, value in options:
                library.mallopt(option, value)


def held_bytes(device: str) -> int:
    """Return the memory in use: allocated on a GPU, resident on a processor (0: not readable)."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.memory_allocated(device))
    return _number_in("/proc/self/status", "VmRSS:") or 0


def free_bytes(device: str) -> int | None:
    """Return the memory that is still free on the device, or None if unknown.

    On a processor that is what Linux calls available, or what the control group leaves.
    """
    if device.startswith("cuda"):
        import torch

        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + reserved)
    available = _number_in("/proc/meminfo", "MemAvailable:")
    try:
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text(encoding="ascii"))
        left = most - int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):  # no control group, or one without a limit ("max")
        return available
    return left if available is None else min(left, available)


def _number_in(file: str, key: str) -> int | None:
    """Return the bytes that a file below /proc has, in kB, for a key; None where it has not."""
    try:
        text = Path(file).read_text(encoding="utf-8")
        return 1024 * int(text.split(key)[1].split()[0])
    except (OSError, IndexError, ValueError):
        return None


class Peaks:
    """The largest memory of this process and on a device, in total and within a phase.

    The counters of the system and of torch are set back when a phase begins, so what they showed
    until then is kept here.
    """

    def __init__(self, device: str, before: Memory | None = None) -> None:
        """Take the device as the command line names it, and peaks that were seen before."""
        self.device = device
        self.kind = "device_allocated_bytes" if device.startswith("cuda") else "resident_bytes"
        self._before: Memory = dict.fromkeys(KINDS) | (before or {})

    @contextlib.contextmanager
    def phase(self) -> Iterator[Memory]:
        """Give a mapping that has, once the block has ended, the peaks within it.

        `resident_bytes` stays the peak of the whole process where the system cannot set it back.
        """
        self._before = self.total()
        give_back()
        reset_peaks(self.device)
        within: Memory = {}
        yield within
        within |= peaks(self.device)

    def total(self) -> Memory:
        """Return the peaks since the process began."""
        now = peaks(self.device)
        return {kind: _larger(self._before[kind], now[kind]) for kind in KINDS}


def _larger(first: int | None, other: int | None) -> int | None:
    return max((n for n in (first, other) if n is not None), default=None)
