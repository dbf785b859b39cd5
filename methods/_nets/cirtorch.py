"""Files of cnnimageretrieval-pytorch: reading, loading, and the pixels of its test program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.methods._nets import families, gem, resnet
from bench.system.notes import note
from bench.weights import ARRAYS, read_checkpoint, state_in

RULE = {
    "crop_rounding": "round",
    "max_side_px": 1024,
    "cap_filter": "thumbnail-lanczos",
    "query_cap": "relative",
    "scale_size": "floor",
    "scale_sampling": "scale-factor",
}
ROOT = 0.7071067811865475  # 1 / sqrt(2), as the program rounds it
UP, DOWN = (1.0, 1.4142135623730951, ROOT), (1.0, ROOT, 0.5)
MEAN, SHIFT = "Lw.m", "Lw.P"
HEAD = {"p": "pool.p", "fc.weight": "whiten.weight", "fc.bias": "whiten.bias"}
SET = "retrieval-SfM-120k"  # whose learned whitening is taken


def read(path: Path) -> dict[str, Tensor]:
    """Return the state in a file, with the learned whitening for several scales that it has.

    A published file keeps that under meta["Lw"][data set]["ms"], as arrays m and P.
    """
    loaded = read_checkpoint(path, ARRAYS)
    meta = loaded.get("meta") if isinstance(loaded, Mapping) else None
    state = state_in(loaded, path)
    learned = meta.get("Lw") if isinstance(meta, Mapping) else None
    if not learned or any(name.startswith("whiten.") for name in state):
        return state
    try:
        entry = learned[SET]["ms"]
        arrays = {name: np.asarray(entry[key], np.float32) for name, key in
                  ((MEAN, "m"), (SHIFT, "P"))}  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(
            f"{path.name} has no learned whitening of {SET} for several scales, m and P."
        ) from error
    return state | {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


def load(release: families.Release, weights: str, device: str, *, inside: bool) -> SimpleNamespace:
    """Return the method; `inside`: whitening is a layer of the network."""
    state = families.read(weights, release)
    kept = None if inside else _components(state, release, weights)
    network, facts = gem.load(
        lambda: gem.GemNet(
            release.depth, resnet.CHANNELS[release.depth], linear=inside,
            between=gem.nearly_unit if inside else None, whitened=kept,
        ),
        state, weights, release, name_in_file, device,
    )  # fmt: skip
    config: dict[str, Any] = {
        "backbone": f"resnet{release.depth}",
        "pooling": "gem, p of the file",
        "eps": gem.EPS,
        "whitening": "in the network" if inside else "none" if kept is None else "learned",
    }
    rule: dict[str, Any] = {**RULE, "scales": UP}
    if not inside:  # then descriptors are not negative, and the program takes the mean of powers
        rule |= {
            "scales": DOWN,
            "combine": "power-mean",
            "combine_power": float(network.p.detach()),
        }
    return families.method(network, facts, config, rule)


def _components(state: dict[str, Tensor], release: families.Release, weights: str) -> int | None:
    """Return how many components the learned whitening of a file has; None where it has none."""
    if MEAN not in state and SHIFT not in state:
        note(
            f"{release.variant}: {Path(weights).name} holds no learned whitening ({MEAN}, "
            f"{SHIFT}); descriptors are those of the network"
        )
        return None
    if MEAN in state:
        state[MEAN] = state[MEAN].flatten()
    components = state.get(SHIFT)
    if components is None or components.dim() != 2 or not len(components):
        raise BenchError(f"{Path(weights).name}: {SHIFT} is missing or not a matrix.")
    return len(components)


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint for a name of the network.

    >>> name_in_file("backbone.layer1.0.bn1.bias"), name_in_file("fc.bias"), name_in_file("p")
    ('features.4.0.bn1.bias', 'whiten.bias', 'pool.p')
    """
    if name.startswith("whitening."):
        return MEAN if name.endswith("mean") else SHIFT
    return resnet.renamed(name, "features.", resnet.sequential) or HEAD[name]
