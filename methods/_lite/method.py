"""The methods `lite0`: a head with the weights that are shipped, or those of a file of training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.methods._lite import networks
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


def load(method: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return `method`.lite0; `weights` is a file that training wrote, None for the shipped one."""
    path = Path(weights) if weights else FOLDER / f"{method}_lite0.safetensors"
    state = read_state(path)
    head, about = _head(method, path, set(state))
    load_strict(head, {name: tensor.float() for name, tensor in state.items()}, path.name)
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


def _head(method: str, path: Path, names: set[str]) -> tuple[Any, dict[str, Any]]:
    """Return the head that a file is for, and what a record says of it."""
    if method == "delg":
        return networks.DelgHead(), GEM
    if method == "token":
        return networks.TokenHead(), {"aggregation": "4 tokens"}
    options = ((training_of(path) or {}).get("settings") or {}).get("options") or {}
    fusion = options.get("fusion", networks.FUSIONS[0])
    multi_atrous = any(name.startswith("localmodel.aspp.") for name in names)
    about = {**GEM, "fusion": fusion, "multi_atrous": multi_atrous}
    return networks.DolgHead(fusion, multi_atrous), about
