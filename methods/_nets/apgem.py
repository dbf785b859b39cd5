"""Files of deep-image-retrieval: reading without running code from them, and whitening.

A published file is {model_options, state_dict, preprocess, pca}; each whitening in `pca` is an
object of scikit-learn, of which four arrays and a flag count. In its place a class is unpickled
that keeps attributes and does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from bench.errors import BenchError, first_few
from bench.methods._nets import families, gem, resnet
from bench.weights import ARRAYS, read_checkpoint, state_in

DIM = 2048
SET, POWER = "Landmarks_clean", 0.25  # the whitening and its power, as the test program's defaults
PARTS = ("pca.mean_", "pca.components_", "pca.explained_variance_")
UNIT = "model_options.norm_features"  # entries beside the network's
WHITEN = "pca.whiten"
RULE = {"crop_rounding": "round", "max_side_px": None, "query_cap": "own"}
OTHER = ("center_bias", "without_fc")  # options that make another network of the same layers


class Pca:
    """Stands for scikit-learn's PCA while a file is read."""


PCA = [
    (Pca, f"sklearn.decomposition.{module}.PCA")
    for module in ("pca", "_pca")
]  # fmt: skip


def read(path: Path) -> dict[str, Tensor]:
    """Return the state in a file, its whitening and its options under flat names."""
    loaded = read_checkpoint(path, [*ARRAYS, *PCA])
    state = state_in(loaded, path)
    if not isinstance(loaded, Mapping) or "pca" not in loaded:
        return state
    options = loaded.get("model_options") or {}
    changed = [key for key in OTHER if options.get(key)]
    if changed:
        raise BenchError(f"{path.name} is another network: it has {first_few(changed)}.")
    known = loaded["pca"] if isinstance(loaded["pca"], Mapping) else {}
    if SET not in known:
        raise BenchError(f"{path.name} has no whitening of {SET}; it has {first_few(known)}.")
    extra = {part: getattr(known[SET], part.partition(".")[2], None) for part in PARTS}
    extra[WHITEN] = bool(getattr(known[SET], "whiten", False))
    extra[UNIT] = bool(options.get("norm_features"))
    missing = [part for part, value in extra.items() if value is None]
    if missing:
        raise BenchError(f"the whitening of {SET} in {path.name} lacks {first_few(missing)}.")
    arrays = {part: torch.from_numpy(np.array(value, np.float32)) for part, value in extra.items()}
    return state | arrays


def load(release: families.Release, weights: str, device: str, dim: int) -> SimpleNamespace:
    """Return the method with the first `dim` components of the whitening."""
    state = families.read(weights, release)
    unit = bool(state.pop(UNIT, torch.tensor(0.0)))
    _whitening(state, dim, Path(weights).name)
    network, facts = gem.load(
        lambda: gem.GemNet(
            release.depth, DIM, between=gem.unit if unit else None, whitened=dim
        ),
        state, weights, release, name_in_file, device,
    )  # fmt: skip
    config = {
        "backbone": f"resnet{release.depth}",
        "pooling": "gem, p of the file",
        "eps": gem.EPS,
        "unit_before_linear": unit,
        "whitening": f"{SET}, power {POWER:g}",
    }
    return families.method(network, facts, config, RULE)


def _whitening(state: dict[str, Tensor], dim: int, name: str) -> None:
    """Put mean and scaled components of the whitening in a state in the place of its parts."""
    missing = [part for part in PARTS if part not in state]
    if missing:
        raise BenchError(f"the weights {name} lack {first_few(missing)}: the whitening.")
    mean, components, variance = (state.pop(part) for part in PARTS)
    if components.dim() != 2 or len(components) < dim or variance.shape != components.shape[:1]:
        raise BenchError(
            f"the whitening in {name} has components {tuple(components.shape)} and variances "
            f"{tuple(variance.shape)}; {dim} of each are needed."
        )
    scale = torch.ones(dim)
    if bool(state.pop(WHITEN, torch.tensor(1.0))):
        if not bool((variance[:dim] > 0).all()):
            raise BenchError(f"the whitening in {name} has variances that are not above 0.")
        scale = variance[:dim].double().pow(POWER).float()
    state[PARTS[0]], state[PARTS[1]] = mean, components[:dim] / scale[:, None]


def name_in_file(name: str) -> str:
    """Return the name in an official checkpoint for a name of the network.

    >>> name_in_file("backbone.layer1.0.bn1.bias"), name_in_file("fc.bias"), name_in_file("p")
    ('layer1.0.bn1.bias', 'fc.bias', 'adpool.p')
    """
    if name.startswith("whitening."):
        return PARTS[0] if name.endswith("mean") else PARTS[1]
    return resnet.renamed(name, "", str) or {"p": "adpool.p"}.get(name, name)
