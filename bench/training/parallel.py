"""Several processes as torchrun starts them, one per GPU, or with gloo on a CPU; one is a case."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from bench.errors import BenchError
from bench.system import machine

PATIENCE = timedelta(hours=12)  # others wait while the first process validates


@dataclass(frozen=True)
class Place:
    """One process: its number, how many there are, and its device."""

    rank: int
    processes: int
    device: str

    @property
    def first(self) -> bool:
        """Tell whether this process writes files and speaks."""
        return self.rank == 0


@contextmanager
def joined(device: str | None) -> Iterator[Place]:
    """Give this process its place, and connect it with the others where torchrun started it."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1:
        yield Place(0, 1, machine.pick_device(device))
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    kind = machine.pick_device(device).split(":")[0]
    if kind == "cuda":
        if local >= torch.cuda.device_count():
            raise BenchError(
                f"torchrun started process {local} of this machine, which has "
                f"{torch.cuda.device_count()} GPUs; set --nproc_per_node to that number."
            )
        torch.cuda.set_device(local)
    backend = "nccl" if kind == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Place(rank, processes, f"cuda:{local}" if kind == "cuda" else "cpu")
    finally:
        distributed.destroy_process_group()


def mean(values: torch.Tensor, place: Place) -> torch.Tensor:
    """Return the mean over the processes, the same on each."""
    if place.processes > 1:
        distributed.all_reduce(values)
        values = values / place.processes
    return values


def wait(place: Place) -> None:
    """Return when every process is here."""
    if place.processes > 1:
        distributed.barrier()
