"""Fits the whitening that `delg.lite0` ships: PCA of GeM vectors of the mini database.

    python -m bench.methods._fit_whitening [OUTPUT]

writes `methods/weights/delg_lite0_whitening.safetensors` (or OUTPUT) in well under a minute.

Forty-nine photographs do not determine a covariance in 1280 dimensions: full whitening of 49
vectors makes all of them orthogonal, whatever they show. So the covariance is that of GeM vectors
of many regions of each feature map (the square windows of R-MAC: Tolias, Sicre, Jegou, "Particular
Object Retrieval with Integral Max-Pooling", ICLR 2016), DIM components are kept, and each is
divided by the square root of its standard deviation, not by all of it. Queries take no part.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from bench import images, pyramid
from bench.methods import _backbones, delg
from bench.methods._pooling import gem
from bench.plugins import ROOT
from bench.types import Preprocess

MINI = ROOT / "datasets" / "mini-data"
DIM = delg.LITE0_DIM
EXPONENT = 0.25  # of the eigenvalues; 0.5 would whiten fully, 0 only rotate
LEVELS = 4


def regions(features: Tensor) -> Iterator[Tensor]:
    """Yield GeM vectors (1, c) of a feature map (1, c, h, w): the whole, then square windows.

    At level l the side is 2 * min(h, w) / (l + 1), and neighbours overlap by at least 40 %.
    """
    yield gem(features)
    height, width = features.shape[-2:]
    for level in range(1, LEVELS + 1):
        side = max(1, 2 * min(height, width) // (level + 1))
        for top in _starts(height, side):
            for left in _starts(width, side):
                yield gem(features[:, :, top : top + side, left : left + side])


def _starts(size: int, side: int) -> list[int]:
    """Return evenly spaced starts of windows of `side` that cover `size`."""
    steps = math.ceil(max(0, size - side) / (0.6 * side))
    return [round(i * (size - side) / max(1, steps)) for i in range(steps + 1)]


def vectors(folder: Path = MINI) -> Tensor:
    """Return the GeM vectors (n, 1280) float32 of all regions of the database images."""
    network = _backbones.lite0("cpu")
    rule = Preprocess(**network.pixels, max_side_px=1024)
    described = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    rows = []
    with torch.inference_mode():
        for file in described["database"]:
            pixels = images.load(folder / described["images"] / file, None, rule)
            rows.extend(regions(network(pyramid.to_batch([pixels], rule, "cpu"))))
    return torch.cat(rows)


def fit(rows: Tensor) -> dict[str, Tensor]:
    """Return `weight` (DIM, c) float16 and `bias` (DIM,) float32 of the layer for rows (n, c).

    A component's sign is free: its entry of largest magnitude is made positive.
    """
    exact = rows.double()
    mean = exact.mean(dim=0)
    centred = exact - mean
    values, axes = torch.linalg.eigh(centred.T @ centred / len(rows))
    values, axes = values.flip(0)[:DIM], axes.flip(1)[:, :DIM].T
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    weight = (axes * largest.sign() / values[:, None] ** EXPONENT).half().contiguous()
    return {"weight": weight, "bias": -(weight.double() @ mean).float()}


def main(arguments: list[str]) -> int:
    """Fit, and write the layer with what is known of it."""
    from safetensors.torch import save_file

    output = Path(arguments[0]) if arguments else delg.WHITENING
    rows = vectors()
    facts = {
        "fitted": delg.FITTED,
        "vectors": f"{len(rows)} GeM vectors (p 3) of regions",
        "eigenvalue_exponent": str(EXPONENT),
        "network": f"{_backbones.LITE0}, ImageNet-1k, Apache-2.0",
        "photographs": "mini-data, MIT",
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    save_file(fit(rows), output, metadata=facts)
    print(f"{output}: {output.stat().st_size} bytes, {len(rows)} vectors")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
