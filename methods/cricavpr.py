"""CricaVPR is not offered: its descriptor depends on which images share a batch.

Lu et al., "CricaVPR: Cross-image Correlation-aware Representation Learning for Visual Place
Recognition", CVPR 2024: a transformer runs over the images of a batch.
"""

from __future__ import annotations

from typing import NoReturn

GROUP = "place recognition"
VARIANTS = {"dinov2-10752": "refused: an image has another descriptor in every batch"}


def load(variant: str, _weights: str | None, _device: str) -> NoReturn:
    """Refuse the method, with the reason."""
    from bench.errors import BenchError

    raise BenchError(
        f"cricavpr.{variant} is not offered: its encoder runs over the images of a batch, so that "
        "an image has another descriptor in every batch, and no score could be made again; "
        "`list` shows methods for places whose descriptors depend on the image alone."
    )
