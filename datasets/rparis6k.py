"""Revisited Paris: easy, medium and hard protocols, 70 boxed queries outside the database."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import revisited, vgg
from bench.facts import Expected, Facts

GROUND_TRUTH_SHA256 = "d2e729a5293dda7dda8a15c8383424a42e4964a2c4cfea2f32fa85d11d2df499"
FACTS = Facts(
    tier=1,
    headline="mAP medium and hard",
    size_bytes=vgg.PARIS_BYTES,
    licence=vgg.LICENCE,
    licence_url=vgg.PARIS_URL,
    downloads=(vgg.pickled("rparis6k", GROUND_TRUTH_SHA256), *vgg.paris_images()),
    truth=("gnd_rparis6k.pkl",),
    folders=vgg.folders("rparis6k", "paris6k", "parisbuildings", "paris", "Paris"),
    expected={
        "": Expected(
            database=6322,
            queries=70,
            database_sha256="4b8503e1c57a6a8397981621f940d6f5f62c421a71da999f21d329b187f85448",
            queries_sha256="9445fc68e0ba0d10e604ec358b510618b05a8e15dadce0b02d060849aa9c291e",
            names="stem",
            positives={"easy": 6874, "medium": 6874 + 10350, "hard": 10350},
            ignored={"easy": 7153 + 10350, "medium": 7153, "hard": 7153 + 6874},
        )
    },
    prefixes=vgg.PARIS_PREFIXES,
    not_images=vgg.PARIS_NOT_IMAGES,
    sizes={
        "longest": 1024, "1024x768": 2168, "768x1024": 1265,
        "landscape": 3909, "portrait": 2391, "square": 22, "pixels": 4_743_867_392,
    },
    unblurred=vgg.PARIS_UNBLURRED,
    notes=vgg.NOTES,
)  # fmt: skip


def load(root: Path) -> dict[str, Any]:
    """Return the data set; its ground truth is gnd_rparis6k.pkl."""
    return revisited.load(root, "rparis6k", GROUND_TRUTH_SHA256, FACTS.folders)
