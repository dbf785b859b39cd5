"""Too few photographs for a method's layers are refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.mark.parametrize(("count", "message"), [(3, "26 photographs or more"), (25, "it needs 26")])
def test_photographs_that_are_too_few_for_the_layers(
    cli, refused, workspace, tmp_path: Path, count: int, message: str
) -> None:
    draw = np.random.default_rng(1)
    for number in range(count):
        folder = tmp_path / "photographs" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (70, 70, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    arguments = ("--method", "dolg.lite0", "--data", tmp_path / "photographs", "--side", 64,
             "--batch", 2, "--steps", 1, "--out", tmp_path / "out")  # fmt: skip
    assert message in refused(cli("train", *arguments))
    assert not (workspace.cache / "training").exists()
    assert not (tmp_path / "out").exists()
