"""Paris, the original protocol: 55 boxed queries, photographs of the database."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import oxford, vgg
from bench.facts import Facts

VARIANTS = oxford.VARIANTS
LIST_SHA256 = "f5d5d678483a740dbe21c446b47f0eef95a63f4e69b54f785998bf0dfb565742"
SORTED_SHA256 = "e2b37212a8dc5f6271028a8200ed2cd060ee87d3f8792182d1f7e6825a151b15"
CITATION = (
    "J. Philbin, O. Chum, M. Isard, J. Sivic, A. Zisserman: Lost in quantization: Improving "
    "particular object retrieval in large scale image databases, CVPR 2008"
)
FACTS = Facts(
    tier=1,
    headline="mAP",
    size_bytes=vgg.PARIS_BYTES,
    licence=vgg.LICENCE,
    licence_url=vgg.PARIS_URL,
    downloads=(
        vgg.pickled(
            "paris6k", reported="def916cf4f197a182d9a7840cdb6294489fa57c2121f9742a1bcc6f2209bb345"
        ),
        vgg.paris_texts(),
        *vgg.paris_images(),
    ),
    truth=("gnd_paris6k.pkl", "*_query.txt"),
    folders=vgg.folders("paris6k", "rparis6k", "parisbuildings", "paris", "Paris"),
    expected=oxford.expected(6392, 8955, 8245, LIST_SHA256, SORTED_SHA256),
    prefixes=vgg.PARIS_PREFIXES,
    not_images=vgg.PARIS_NOT_IMAGES,
    unblurred=vgg.PARIS_UNBLURRED,
    notes=vgg.NOTES,
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return the data set; its ground truth is gnd_paris6k.pkl or the original text files."""
    return oxford.load(root, "paris6k", variant, FACTS, SORTED_SHA256, CITATION)
