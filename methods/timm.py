"""Any model of timm, as it comes: class token, mean or generalised mean of its map, or its head."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

GROUP = "generic"
VARIANTS = {
    "vit_small_patch14_dinov2.lvd142m-cls": "ViT-S/14 of DINOv2, 384-d, with timm's position table",
    "*": "MODEL-cls, MODEL-avg, MODEL-gem or MODEL-head, for any model of timm by its name",
}


def check(variant: str, _weights: str | None) -> None:
    """Refuse a pooling or a model that there is not, without importing timm."""
    from bench.errors import BenchError
    from bench.methods._nets import timm_names

    name, _, pool = variant.rpartition("-")
    if pool not in timm_names.POOLS or not name:
        ways = ", ".join(f"-{way}" for way in timm_names.POOLS)
        raise BenchError(f"timm.{variant} does not say its pooling: MODEL with one of {ways}.")
    timm_names.check(name)


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is a state of timm's model, with or without its classifier."""
    from bench.methods._nets import timm_models

    check(variant, weights)
    name, _, pool = variant.rpartition("-")
    network, facts, pixels = timm_models.load(name, pool, weights, device)
    config: dict[str, Any] = {"backbone": name, "pooling": pool}
    if pool == "gem":
        config |= {"p": timm_models.P, "eps": timm_models.EPS}
    return SimpleNamespace(
        version="1", config=config, weights=facts, dim=network.dim, preprocess=pixels,
        describe=network, network=network, refusal=network.refusal,
        timm_resize=pixels["resize"],
    )  # fmt: skip
