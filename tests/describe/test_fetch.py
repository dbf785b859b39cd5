"""Descriptors fetched behind the next batch, and a device that is never waited for in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import nn
from torch.overrides import TorchFunctionMode

from bench import contract
from bench.describe import engine, fetch
from bench.settings import Settings
from bench.system.progress import Progress
from bench.types import Image

# What is asked of a tensor that the host has to wait for.
WAITING = {"item", "__int__", "__bool__", "__float__", "__index__", "tolist", "nonzero", "cpu",
           "equal", "allclose", "masked_select"}  # fmt: skip


class Mean:
    """A method whose descriptor is a projection of the mean colour."""

    version, dim = "1", 4

    def __init__(self, device: str = "cpu", **rule: Any) -> None:
        self.config: dict[str, Any] = {}
        self.weights = {"source": "none", "licence": "none", "sha256": None,
                        "training_set": "none", "trained": None}  # fmt: skip
        self.preprocess = {"scales": (0.5, 1.0), **rule}
        torch.manual_seed(0)
        self.head = nn.Linear(3, 4).to(device).eval()

    def describe(self, batch: Any) -> Any:
        return self.head(batch.mean(dim=(2, 3)))


def loaded(device: str = "cpu", **rule: Any) -> engine.Loaded:
    method = Mean(device, **rule)
    info, pixels = contract.check(method, "mean", "one")
    return engine.Loaded(method, info, pixels, device, Settings(batch_size=2))


@pytest.fixture
def photographs(tmp_path: Path) -> tuple[Path, list[Image]]:
    draw = np.random.default_rng(0)
    for number in range(6):
        Pillow.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    return tmp_path, [Image(str(n), f"{n}.png") for n in range(6)]


def rows_of(of: engine.Loaded, photographs: tuple[Path, list[Image]]) -> np.ndarray:
    with Progress("describe", 6, quiet=True) as progress:
        rows, faults = engine.rows_of(of, *photographs, progress)
    assert not faults
    return rows


def test_an_item_is_taken_once_the_next_is_queued() -> None:
    lines: list[str] = []

    def queued() -> Iterator[int]:
        for number in range(3):
            lines.append(f"queue {number}")
            yield number

    for number in fetch.behind(queued()):
        lines.append(f"fetch {number}")
    assert lines == ["queue 0", "queue 1", "fetch 0", "queue 2", "fetch 1", "fetch 2"]
    assert list(fetch.behind([1, 2, 3], 5)) == [1, 2, 3]
    assert list(fetch.behind([])) == []


def test_a_batch_is_fetched_once_the_next_is_described(photographs, monkeypatch) -> None:
    lines: list[str] = []
    plain = fetch.started

    def started(rows: Any) -> Any:
        later, number = plain(rows), sum(item.startswith("queue") for item in lines)
        lines.append(f"queue {number}")

        class Watched:
            def fetched(self) -> Any:
                lines.append(f"fetch {number}")
                return later.fetched()

        return Watched()

    wanted = rows_of(loaded(), photographs)
    monkeypatch.setattr(fetch, "started", started)
    assert np.array_equal(rows_of(loaded(), photographs), wanted)
    assert lines == ["queue 0", "queue 1", "fetch 0", "queue 2", "fetch 1", "fetch 2"]


@pytest.mark.parametrize(
    "rule",
    [{}, {"scale_sampling": "legacy-corner"}, {"resize": "bilinear:8x8"},
     {"combine": "maximum"}],
)  # fmt: skip
def test_no_number_is_read_from_the_device_while_batches_are_queued(rule, photographs) -> None:
    """Reading a number, or a size that depends on numbers, is what a GPU is waited for."""

    class Asked(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            self.names.append(func.__name__)
            return func(*args, **(kwargs or {}))

    of, asked = loaded(**rule), Asked()
    with asked:
        rows_of(of, photographs)
    assert len(asked.names) > 20
    assert not WAITING & set(asked.names)
    with asked:  # the check itself: where zeros are refused, they are looked for
        engine.describe(of, [np.ones((12, 16, 3), dtype=np.uint8)])
    assert WAITING & set(asked.names)


def test_what_goes_wrong_on_the_device_later_names_the_method(photographs, monkeypatch) -> None:
    from bench.errors import BenchError

    class Broken:
        def fetched(self) -> Any:
            raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(fetch, "started", lambda rows: Broken())
    with pytest.raises(BenchError, match=r"mean\.one failed: .*illegal memory access"):
        rows_of(loaded(), photographs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("rule", [{}, {"scale_sampling": "legacy-corner"}])
def test_on_a_gpu_nothing_waits_for_the_device(rule, photographs) -> None:
    of = loaded("cuda", **rule)
    wanted = rows_of(loaded(**rule), photographs)
    rows_of(of, photographs)  # what is kept is uploaded
    torch.cuda.set_sync_debug_mode("error")
    try:
        got = rows_of(of, photographs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.abs(got - wanted).max() < 1e-5
