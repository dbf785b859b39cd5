"""Chance: a random unit vector per image, drawn from the pixels and a seed.

The score of a method that knows nothing; equal images get equal vectors.
"""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import numpy as np

GROUP = "generic"
VARIANTS = {"seed0": "seed 0", "seed1": "seed 1", "seed2": "seed 2"}
DIM = 128


def load(variant: str, weights: str | None, _device: str) -> SimpleNamespace:
    """Return the method; it has no weights, so a path of weights is refused."""
    import torch

    if weights is not None:
        raise ValueError("random-unit has no weights; leave --weights out")
    seed = int(variant.removeprefix("seed"))

    def describe(batch: Any) -> Any:
        pixels = batch.cpu().numpy().astype(np.uint8)  # mean 0, std 1: exactly 0..255
        rows = [_vector(image, seed) for image in pixels]
        return torch.from_numpy(np.stack(rows)).to(batch.device)

    facts = {"source": f"chance: random unit vectors, seed {seed}", "licence": "none needed",
             "sha256": None, "training_set": "none", "trained": False}  # fmt: skip
    rule = {"max_side_px": 32, "mean": (0, 0, 0), "std": (1, 1, 1)}
    return SimpleNamespace(version="1", config={"seed": seed}, weights=facts, dim=DIM,
                           preprocess=rule, describe=describe)  # fmt: skip


def _vector(image: Any, seed: int) -> Any:
    """Return DIM normal draws (float32) keyed by the sha256 of seed, shape and pixels."""
    content = f"{seed} {image.shape}".encode() + np.ascontiguousarray(image).tobytes()
    key = int.from_bytes(hashlib.sha256(content).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(DIM, dtype=np.float32)
