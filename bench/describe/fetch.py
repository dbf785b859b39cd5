"""Descriptors on their way from a device to the host, fetched behind the next batch.

On a GPU what a network is asked for is queued, and the host goes on. So the host waits for a batch
only once the next one is queued, and the device always has work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")
BEHIND = 1  # batches that may be queued before the host waits for one


class Later(Protocol):
    """Descriptors that may still be on their way."""

    def fetched(self) -> NDArray[np.float32]:
        """Return the descriptors (n, dim), once they are here."""


class _Here:
    """Descriptors that a processor made."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def fetched(self) -> NDArray[np.float32]:
        out: NDArray[np.float32] = self.rows.numpy()
        return out


class _Copied:
    """Descriptors that a GPU copies into pinned memory once it has made them."""

    def __init__(self, rows: Tensor) -> None:
        import torch

        self.rows = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        self.rows.copy_(rows, non_blocking=True)
        self.event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.event.record(torch.cuda.current_stream(rows.device))

    def fetched(self) -> NDArray[np.float32]:
        self.event.synchronize()
        out: NDArray[np.float32] = self.rows.numpy()
        return out


def started(rows: Tensor) -> Later:
    """Return the descriptors (n, dim) float32; their copy from a GPU is queued."""
    return _Copied(rows) if rows.is_cuda else _Here(rows)


def behind(made: Iterable[Item], count: int = BEHIND) -> Iterator[Item]:
    """Yield the items in order, each after `count` more were requested, or at the end.

    >>> list(behind(iter("abc")))
    ['a', 'b', 'c']
    """
    waiting: deque[Item] = deque()
    for item in made:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting
