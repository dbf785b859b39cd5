"""Revisited Oxford: easy, medium and hard protocols, 70 boxed queries outside the database."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import revisited, vgg
from bench.facts import Expected, Facts

GROUND_TRUTH_SHA256 = "ba7967754bd2d7d2210a5799f9c45ad5835e269a80ef9d3eba44caa35816c471"
FACTS = Facts(
    tier=1,
    headline="mAP medium and hard",
    size_bytes=vgg.OXFORD_BYTES,
    licence=vgg.LICENCE,
    licence_url=vgg.OXFORD_URL,
    downloads=(vgg.pickled("roxford5k", GROUND_TRUTH_SHA256), vgg.oxford_images()),
    truth=("gnd_roxford5k.pkl",),
    folders=vgg.folders("roxford5k", "oxford5k", "oxbuildings", "oxbuild_images", "oxford"),
    expected={
        "": Expected(
            database=4993,
            queries=70,
            database_sha256="c277baf4f03919c7ff91b37cf9cac8d11ca9e6240aa75b5acef9c31b3788c115",
            queries_sha256="55bcdffb88a3fd9cdfda482c452503234ec61a89ece0b0e49819e8dfc2e353b3",
            names="stem",
            positives={"easy": 3029, "medium": 3029 + 2497, "hard": 2497},
            ignored={"easy": 1356 + 2497, "medium": 1356, "hard": 1356 + 3029},
        )
    },
    prefixes=vgg.OXFORD_PREFIXES,
    sizes={
        "longest": 1024, "1024x768": 2222, "768x1024": 1336,
        "landscape": 3111, "portrait": 1876, "square": 6, "pixels": 3_823_940_608,
    },
    notes=vgg.NOTES,
)  # fmt: skip


def load(root: Path) -> dict[str, Any]:
    """Return the data set; its ground truth is gnd_roxford5k.pkl."""
    return revisited.load(root, "roxford5k", GROUND_TRUTH_SHA256, FACTS.folders)
