"""The settings of an extraction: how descriptors are computed on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.option import megapixels, natural, option, positive


@dataclass(frozen=True)
class Settings:
    """How descriptors are computed; each is declared here, with its default and its line of help.

    `batch_pixels` None is as many as the device gains from (`bench.describe.engine`); one image may
    have more. `workers` 0 is threads of this process.
    """

    batch_size: int = option(
        32, "maximum number of images of one shape per batch", metavar="N", parse=positive
    )
    batch_pixels: int | None = option(
        None,
        "maximum megapixels per batch, at scale 1 (default: 4 on a GPU, 1 elsewhere)",
        flag="batch-megapixels",
        metavar="MP",
        parse=megapixels,
        show=lambda pixels: f"{pixels / 1e6:g}",
    )
    workers: int = option(
        0, "processes that decode images (default: %(default)s, threads of this process)",
        metavar="N", parse=natural,
    )  # fmt: skip
    precision: Literal["float32", "bf16", "bf16-attention", "fp16"] = option(
        "float32",
        "precision of convolutions and token-wise linear layers (bf16-attention: also of "
        "attention); everything else stays float32",
    )
    tf32: bool = option(False, "allow a GPU to round the factors of float32 products to TF32")
    compiled: bool = option(
        False, "compile parts of the network with torch, once per run", flag="compile"
    )
