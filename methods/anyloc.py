"""AnyLoc: DINOv2 as it was trained, and a vocabulary of a domain; nothing learned for places.

Keetha et al., "AnyLoc: Towards Universal Visual Place Recognition", RA-L 2024.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from bench.methods._nets import dinov2_files

GROUP = "place recognition"
PROJECT = "AnyLoc/DINO"
DOMAINS = ("urban", "indoor", "aerial", "structured", "unstructured", "global")
GIANT, LAYER = "dinov2.vitg14", 31  # blocks are counted from 0
VARIANTS = {
    **{
        f"vitg14-{domain}": f"ViT-g/14, values of block {LAYER}, 49152-d, vocabulary {domain}; "
        f"needs the file of {GIANT} too"
        for domain in DOMAINS
    },
    "vits14": "ViT-S/14, values of block 9, 12288-d, for a file of your own with DINOv2's names "
    "and c_centers",
}


def _file(domain: str) -> dict[str, object]:
    file = f"dinov2_vitg14_l{LAYER}_value_c32_{domain}_c_centers.pt"
    return {
        "file": file,
        "url": f"https://github.com/{PROJECT}/releases/download/v1/{file}",
        "licence": "not stated",
        "licence_code": "BSD-3-Clause",
        "training_set": f"LVD-142M, without labels; centres of {domain} images",
        "dim": 49152,
    }


WEIGHTS = {f"vitg14-{domain}": _file(domain) for domain in DOMAINS}
CENTRES_BYTES = 10_000_000  # a file below this has centres alone


def check(variant: str, weights: str | None) -> None:
    """Refuse what lacks a file, without importing torch."""
    from bench import methods
    from bench.errors import BenchError

    if weights is None:
        raise BenchError(
            f"anyloc.{variant} has no published file; give --weights a state with the names of "
            "DINOv2 ViT-S/14 and c_centers (32, 384)."
        )
    path = Path(weights)
    if variant in WEIGHTS and path.is_file() and path.stat().st_size < CENTRES_BYTES:
        methods.weights_of(GIANT, None)


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a published file of centres, or DINOv2's state with them.

    With centres alone the transformer is that of the published file of `dinov2.vitg14`.
    """
    from bench import methods
    from bench.methods._nets import anyloc, dinov2, families
    from bench.weights import read_state

    check(variant, weights)
    size, layer = ("giant", LAYER) if variant in WEIGHTS else ("small", 9)
    known = WEIGHTS.get(variant, {"training_set": "not stated"})
    release = families.Release(
        f"anyloc.{variant}", "anyloc", dinov2.DEPTHS[size], PROJECT, "not stated",
        f"{known['training_set']}, if this is the published file", anyloc.read,
    )  # fmt: skip
    state = families.read(str(weights), release)
    if state.keys() == {anyloc.CENTRES} and variant in WEIGHTS:
        backbone = read_state(Path(str(methods.weights_of(GIANT, None))))
        state |= {name: tensor for name, tensor in backbone.items() if name != "mask_token"}
    network, facts = families.load(
        lambda: anyloc.AnyLoc(size, layer), state, str(weights), release,
        dinov2.giant_in_file if size == "giant" else str, device,
    )  # fmt: skip
    network.drop_unused()
    config = {"backbone": "dinov2", "size": size, "block": layer, "facet": "value",
              "clusters": anyloc.CLUSTERS, "assignment": "hard, by cosine"}  # fmt: skip
    return families.method(network, facts, config, dinov2_files.NATIVE)
