"""SOLAR as Token's authors trained it: second-order attention, GeM and whitening, three scales.

Ng et al., "SOLAR: Second-Order Loss and Attention for Image Retrieval", ECCV 2020, retrained on
other data by Wu et al., "Learning Token-Based Representation for Image Retrieval", AAAI 2022.
"""

from __future__ import annotations

from types import SimpleNamespace

from bench.methods._nets import token_files

GROUP = "landmarks"
VARIANTS = {"r101-token": "ResNet-101, 2048-d, trained by Token's authors on GLDv2-clean"}
WEIGHTS = {"r101-token": token_files.drive("R101-SOLAR.pth", "1CJNEeE0NDlsl56jnmsZFmPfH-jx32Syh")}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a checkpoint of the program of Token's authors."""
    from bench.methods._nets import token_baselines, token_release

    config = {"attention": "second order", "pooling": "gem", **token_baselines.GEM}
    return token_release.load(
        f"solar.{variant}", "solar-token", 101,
        lambda: token_baselines.Solar(101), config, weights, device,
    )  # fmt: skip
