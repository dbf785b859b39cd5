"""How far descriptors are from exact ones, and whether a fast network is the worse.

Float32 rounds at every operation, and another order of sums rounds otherwise: the same weights
give other descriptors on another processor, and no program is the right one. So the network as its
plug-in gave it and the one made fast are both compared with the network in float64, from the same
pixels, and one rounding of these pixels (half a unit in the last place of float32) shows what the
method makes of a rounding: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition,
section 1.6. Where it makes much of it, as a saturated softmax does, nothing that computes in
float32 can be near.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.describe import engine, fusion
from bench.describe.quickened import Quickened
from bench.errors import BenchError

WITHIN = 2e-5  # of the entries of a unit vector, where the method is well conditioned
TIMES = 2.0  # as far as the plain network may the fast one be from float64
ROUNDING = 1e-6  # of the entries of a unit vector: so near, neither is the worse
WELL = 1e-6  # a rounding of the pixels moves a well conditioned method no farther
HALF_ULP = 2.0**-24

Answer = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Accuracy:
    """Largest differences of an entry of a unit descriptor, over some images.

    plain  float32 from float64, the network as the plug-in gave it
    fast   the same, of the network made fast
    moved  float64 from float64, after one rounding of the pixels
    """

    plain: float
    fast: float
    moved: float

    @property
    def well_conditioned(self) -> bool:
        """Tell whether a rounding of the pixels stays a rounding."""
        return self.moved <= WELL

    @property
    def kept(self) -> bool:
        """Tell whether the fast network is as near to float64 as is promised."""
        near = self.fast <= max(TIMES * self.plain, ROUNDING)
        return near and (self.fast <= WITHIN or not self.well_conditioned)


def measure(
    plain: engine.Loaded, fast: engine.Loaded, pixels: Sequence[NDArray[np.uint8]]
) -> Accuracy:
    """Return the accuracy of a method on decoded images, each described alone.

    `plain` and `fast` are the same method in float32, without and with its network made fast.
    Scales are resized, and descriptors combined, in the precision of the network.
    """
    network = getattr(plain.method, "network", None)
    if not isinstance(network, nn.Module):
        raise BenchError("it has no attribute `network`, so float64 cannot be tried.")
    found = [[engine.describe(loaded, [image])[0] for image in pixels] for loaded in (plain, fast)]
    work = engine.unit_rows(plain, strict=True, dtype=torch.float64)
    draw = torch.Generator().manual_seed(0)

    def rounded(batch: Tensor) -> NDArray[np.float64]:
        signs = 2 * torch.randint(0, 2, batch.shape, generator=draw) - 1
        return work(batch.double() * (1 + HALF_ULP * signs.to(batch.device).double()))

    with in_float64(network):
        exact = [engine.on_batch(plain, [image], lambda b: work(b.double()))[0] for image in pixels]
        moved = [engine.on_batch(plain, [image], rounded)[0] for image in pixels]
    return Accuracy(*(_farthest(rows, exact) for rows in (*found, moved)))


def _farthest(rows: Sequence[NDArray[np.floating]], exact: Sequence[NDArray[np.float64]]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(rows, exact, strict=True))


@contextmanager
def in_float64(network: nn.Module) -> Iterator[None]:
    """Let a network of float32 compute in float64; afterwards it has the same bits as before."""
    values = [*network.parameters(), *network.buffers()]
    other = {value.dtype for value in values if value.is_floating_point()} - {torch.float32}
    if other:
        raise BenchError(f"its network has values of {', '.join(map(str, sorted(other, key=str)))}")
    network.double()
    try:
        yield
    finally:
        network.float()


def holds(
    network: nn.Module,
    done: Quickened,
    answer: Answer,
    sample: Tensor,
    before: list[Tensor],
    after: list[Tensor],
) -> bool:
    """Tell whether answers `after` a change are as near to float64 as those `before` it, or nearly.

    The network as it was before all changes of `done` answers in float64; where it cannot, true.
    """
    try:
        with done.aside(), in_float64(network), torch.no_grad():
            exact = answer(sample.double())
    except fusion.FAULTS:
        return True
    return all(
        _off(two, right) <= max(TIMES * _off(row, right), ROUNDING * float(right.abs().max()))
        for row, two, right in zip(before, after, exact, strict=True)
        if right.numel()
    )


def _off(found: Tensor, right: Tensor) -> float:
    return float((found.double() - right).abs().max())
