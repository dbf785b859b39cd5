"""The methods `lite0` and `lite1`: a head with shipped weights, or with those of a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.methods._lite import networks, packed
from bench.methods._nets import backbones
from bench.weights import load_strict, origin, read_state, training_of

FOLDER = Path(__file__).parent.parent / "weights"
TRAINED_ON = "a few hundred photographs from packages (demonstration)"
LICENCE = "Apache-2.0 (trunk); photographs under open licences, see methods/weights/README.md"
SIDE_PX = 480  # as for gem.lite0
GEM = {"pooling": "gem", "p": networks.P, "eps": networks.EPS}
LOCAL_RULE = {
    "dim": networks.LOCAL_DIM,
    "stride_px": 16.0,
    "offset_px": 7.5,
    "scales": (0.70710677, 1.0, 1.4142135, 2.0),
    "max_features": 1500,
    "match_distance": 0.7,
    "mutual": True,
    "upright": True,
    "inlier_weight": 0.15,
}


def load(method: str, variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return a lite variant; `weights` is a file that training wrote, None for the shipped one."""
    path = Path(weights) if weights else FOLDER / f"{method}_{variant}.safetensors"
    state = packed.unpack(read_state(path))
    head, about = _head(method, path, state)
    load_strict(head, state, path.name)
    backbone = backbones.lite0(device)
    network = networks.Lite(networks.Trunk(backbone.model), head).eval().to(device)
    facts = backbones.facts(network, f"{backbone.weights['source']}; {path.name}", LICENCE,
                             f"ImageNet-1k; {TRAINED_ON}", True)  # fmt: skip
    made = SimpleNamespace(
        version="1",
        config={"backbone": backbone.name, **about},
        weights=facts | (origin(path) if weights else {}),
        dim=head.dim,
        preprocess={**backbone.pixels, "max_side_px": SIDE_PX},
        describe=network,
        network=network,
    )  # fmt: skip
    if method == "delg":
        made.local, made.local_rule = network.local, LOCAL_RULE
    return made


def _head(method: str, path: Path, state: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the head that a file is for, and its facts for a record."""
    if method == "delg":
        return networks.DelgHead(), GEM
    if method == "token":
        width = _rows(state, "tr.conv.0.weight", networks.TOKEN_DIM)
        return networks.TokenHead(width), {"aggregation": "4 tokens"}
    options = ((training_of(path) or {}).get("settings") or {}).get("options") or {}
    fusion = options.get("fusion", networks.FUSIONS[0])
    multi_atrous = any(name.startswith("localmodel.aspp.") for name in state)
    about = {**GEM, "fusion": fusion, "multi_atrous": multi_atrous}
    each = _rows(state, "localmodel.aspp.aspp.0.weight", networks.EACH)
    return networks.DolgHead(fusion, multi_atrous, each), about


def _rows(state: Mapping[str, Any], name: str, otherwise: int) -> int:
    """Return the outputs of a layer in a state, by which a width is known."""
    return len(state[name]) if name in state and state[name].ndim else otherwise
