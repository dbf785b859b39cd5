"""NetVLAD: residuals to 64 learned centres, whitened; native size.

Arandjelović, Gronat, Torii, Pajdla, Sivic, "NetVLAD: CNN architecture for weakly supervised place
recognition", CVPR 2016; with the files of its authors, read as hloc reads them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

GROUP = "place recognition"
PROJECT = "Relja/netvlad"
SETS = {"pitts30k": ("Pitts30K", "Pittsburgh 30k"), "tokyotm": ("TokyoTM", "Tokyo Time Machine")}
VARIANTS = {key: f"VGG16, 4096-d, trained on {training}" for key, (_, training) in SETS.items()}
LICENCE = f"not stated for the weights; that of {PROJECT} is MIT"
HOST = "https://cvg-data.inf.ethz.ch/hloc/netvlad"
WEIGHTS: dict[str, dict[str, Any]] = {
    key: {
        "file": f"{stem}_struct.mat",
        "url": f"{HOST}/{stem}_struct.mat",
        "licence": "not stated",
        "licence_code": "MIT",
        "training_set": training,
        "dim": 4096,
    }
    for key, (stem, training) in SETS.items()
}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the .mat of its authors, or a state in PyTorch's shapes.

    Such a state has `backbone.{layer}`, `netvlad.score_proj.weight`, `netvlad.centers` and
    `whiten`; its mean pixel is that of VGG16, where the file has no `mean`.
    """
    from bench.methods._nets import families, netvlad, netvlad_file

    assert weights is not None  # WEIGHTS names a file for every variant
    release = families.Release(
        f"netvlad.{variant}", "netvlad", families.VGG, PROJECT, LICENCE,
        f"{SETS[variant][1]}, if this is the published file", netvlad_file.read,
    )  # fmt: skip
    state = families.read(weights, release)
    mean = netvlad_file.mean_of(state, weights)
    dim = netvlad_file.dim_of(state, weights)
    network, facts = families.load(
        lambda: netvlad.NetVlad(dim), state, weights, release, str, device
    )
    config = {"backbone": "vgg16", "clusters": netvlad.CLUSTERS, "whitening": "of the file"}
    rule = {"max_side_px": None, "query_cap": "own", "mean": mean, "std": (1.0, 1.0, 1.0)}
    return families.method(network, facts, config, rule)
