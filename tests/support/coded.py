"""A method with a second output: mean colours of halves, and eleven bits of single pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

BITS = 11
CODED = '''"""Mean colour of the halves of an image, and whether some pixels are bright."""
from types import SimpleNamespace
import torch

VARIANTS = {"plain": "as it is"}


def load(variant, weights, device):
    def describe(batch):
        halves = torch.cat([batch[..., :4].mean((2, 3)), batch[..., 4:].mean((2, 3))], 1)
        return halves + 0.5

    def codes(batch):
        return batch.flatten(1)[:, 0:77:7] > 0.5

    facts = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": False}
    return SimpleNamespace(version="1", config={}, weights=facts, dim=6, describe=describe,
                           codes=codes, code_bits=11,
                           preprocess={"mean": (0, 0, 0), "std": (255, 255, 255)})
'''


def written(folder: Path) -> Path:
    """Write the method; return its path."""
    path = folder / "coded.py"
    path.write_text(CODED, encoding="utf-8")
    return path


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Offer the method as an installed package does; return its name."""
    written(folder)
    info = folder / "coded-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: coded\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[retrieval_bench.methods]\ncoded = coded\n")
    monkeypatch.syspath_prepend(folder)
    return "coded"


def bits_of(path: Path) -> NDArray[np.bool_]:
    """Return the bits (11) of an image file of eight pixels a side."""
    pixels = np.asarray(Image.open(path)).transpose(2, 0, 1).ravel()
    return np.asarray(pixels[0:77:7] > 127)


def halves_of(path: Path) -> NDArray[np.float64]:
    """Return its vector (6), of unit norm."""
    pixels = np.asarray(Image.open(path), dtype=np.float64) / 255
    row = np.concatenate([pixels[:, :4].mean((0, 1)), pixels[:, 4:].mean((0, 1))]) + 0.5
    return np.asarray(row / np.linalg.norm(row))
