"""What SALAD and CliqueMining share: one network, two trainings."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

LOCAL, DIM = 128, 8448
VARIANT = f"dinov2-{DIM}"
VARIANTS = {VARIANT: f"ViT-B/14, {DIM}-d, images as 322 x 322 by Pillow"}
FILE = {
    "licence": "not stated",
    "licence_code": "GPL-3.0 (of the program, none of which is here)",
    "dim": DIM,
}


def load(
    name: str, project: str, known: Mapping[str, Any], weights: str | None, device: str
) -> SimpleNamespace:
    """Return the method `name`; `weights` is the published file, or a state with its names."""
    from bench.methods._nets import dinov2, dinov2_files, transport

    def build() -> dinov2.WithHead:
        return dinov2.WithHead(dinov2.DinoV2("base"), transport.Transport(768, LOCAL))

    return dinov2_files.load(
        f"{name}.{VARIANT}", "salad", project, known, build, weights, device,
        prefix="backbone.model.",
        config={"local_width": LOCAL, **transport.CONFIG},
        preprocess={"resize": "pillow-bilinear:322x322"},
    )  # fmt: skip
