"""DINOv2: the class token of a vision transformer that learned without labels, as it comes.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; Darcet et
al., "Vision Transformers Need Registers", ICLR 2024.
"""

from __future__ import annotations

from types import SimpleNamespace

GROUP = "generic"
PROJECT = "facebookresearch/dinov2"
SIZES = {"s": "small", "b": "base", "l": "large", "g": "giant"}
DIMS = {"s": 384, "b": 768, "l": 1024, "g": 1536}
VARIANTS = {
    f"vit{size}14{registers}": f"ViT-{size.upper()}/14{' with registers' * bool(registers)}, "
    f"{DIMS[size]}-d, class token, images to the nearest multiple of 14"
    for size in SIZES
    for registers in ("", "-reg")
}


def _file(variant: str) -> dict[str, object]:
    name, _, registers = variant.partition("-")
    file = f"dinov2_{name}_{'reg4_' * bool(registers)}pretrain.pth"
    return {
        "file": file,
        "url": f"https://dl.fbaipublicfiles.com/dinov2/dinov2_{name}/{file}",
        "licence": "Apache-2.0",
        "licence_code": "Apache-2.0",
        "training_set": "LVD-142M, without labels",
        "dim": DIMS[name[3]],
    }


WEIGHTS = {variant: _file(variant) for variant in VARIANTS}


def load(variant: str, weights: str | None, device: str) -> SimpleNamespace:
    """Return the method; `weights` is the published file, or a state with its names."""
    from bench.methods._nets import dinov2, dinov2_files

    name, _, registers = variant.partition("-")
    size, count = SIZES[name[3]], 4 if registers else 0

    def build() -> dinov2.ClassToken:
        return dinov2.ClassToken(size, count, antialias=bool(count))

    return dinov2_files.load(
        f"dinov2.{variant}", "dinov2-reg" if count else "dinov2", PROJECT, WEIGHTS[variant], build,
        weights, device,
        depth=dinov2.DEPTHS[size],
        config={"size": size, "registers": count, "pooling": "class token"},
    )  # fmt: skip
