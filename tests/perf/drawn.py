"""Networks with drawn weights, photographs and rows, made here: nothing is needed but the checkout.

`weights` writes a checkpoint in the layout of the published files, `method_file` a plug-in with a
vision transformer, `photographs` JPEG files of the sizes that photographs of landmarks have.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow

from bench.methods._delg import port
from bench.methods._nets import backbones, dolg, resnet, token

# The commonest sizes of Revisited Oxford's database, used where its list of sizes is not at hand:
# 71 % of its images have one of the first two.
USUAL = [(1024, 768)] * 5 + [(768, 1024)] * 2 + [(1024, 683), (1024, 680), (683, 1024)]
BRANCH = 0.25  # of a residual block, so that sixteen of them add up to no large numbers
NETWORKS = {
    "dolg.r50": (lambda: dolg.Dolg(50, False), dolg.name_in_file, "stored_p"),
    "token.r50": (lambda: token.Token(50), None, None),
    "delg.r101-port": (lambda: port.DelgPort(101), port.name_in_file, "p"),
}
TRANSFORMER = '''\
"""A ViT-B/14 with drawn weights, at SIDE x SIDE."""

from types import SimpleNamespace

VARIANTS = {"b14": "ViT-B/14, drawn weights"}


def load(variant, weights, device):
    """Return the method."""
    from bench.methods._nets import backbones, dinov2, resnet

    network = resnet.blank(lambda: dinov2.ClassToken("base"))
    backbones.randomise(network, 0)
    network = network.to(device)
    return SimpleNamespace(
        version="1", dim=768, config={}, network=network, describe=network,
        preprocess={"resize": "pillow-bilinear:SIDExSIDE", "max_side_px": None},
        weights={"source": "untrained", "licence": "none", "sha256": None,
                 "training_set": "none", "trained": False},
    )
'''


def weights(name: str, folder: Path) -> Path:
    """Write a checkpoint of drawn weights in the layout of the published files.

    Residual branches are small, as in trained networks: else every block doubles the variance, a
    softmax behind it is saturated, and one rounding of the pixels turns into 1e-6 and more.
    """
    from bench.methods._nets import token_release

    build, renamed, exponent = NETWORKS[name]
    network = resnet.blank(build)
    backbones.randomise(network, 0)
    for key, value in network.state_dict().items():
        if key.endswith("bn3.weight"):
            value.fill_(BRANCH)
    if exponent:
        getattr(network, exponent).fill_(3.0)
    rename = renamed or token_release.name_in_file
    state = {rename(key): value.clone() for key, value in network.state_dict().items()}
    path = folder / f"{name}.pth"
    torch.save(state if renamed is None else {"model_state": state}, path)
    return path


def method_file(folder: Path, side_px: int = 322) -> str:
    """Write the plug-in of the transformer; return the name by which it is loaded."""
    path = folder / "vit.py"
    path.write_text(TRANSFORMER.replace("SIDE", str(side_px)), encoding="utf-8")
    return f"{path}:b14"


def photographs(place: Path, sizes: Sequence[tuple[int, int]]) -> None:
    """Write 0.jpg, 1.jpg, … of these sizes (width, height): smooth, with grain, as JPEG."""
    draw = np.random.default_rng(0)
    for number, (width, height) in enumerate(sizes):
        coarse = draw.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        smooth = Pillow.fromarray(coarse).resize((width, height), Pillow.Resampling.BICUBIC)
        grain = draw.normal(0, 8, (height, width, 3))
        pixels = np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8)
        Pillow.fromarray(pixels).save(place / f"{number}.jpg", quality=90)
