"""Oxford Buildings, the original protocol: 55 boxed queries, photographs of the database."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import oxford, vgg
from bench.facts import Facts

VARIANTS = oxford.VARIANTS
LIST_SHA256 = "a03234b4efcedee0d4e5ab6f67fb466b1017557a2be257aed01e955a39e409bc"
SORTED_SHA256 = "c80b7faf64e36e51a6c92864cc811d8d68adb97213837706d54138e477e1e0bd"
CITATION = (
    "J. Philbin, O. Chum, M. Isard, J. Sivic, A. Zisserman: Object retrieval with large "
    "vocabularies and fast spatial matching, CVPR 2007"
)
FACTS = Facts(
    tier=1,
    headline="mAP",
    size_bytes=vgg.OXFORD_BYTES,
    licence=vgg.LICENCE,
    licence_url=vgg.OXFORD_URL,
    downloads=(
        vgg.pickled(
            "oxford5k",
            reported="c84e5eb68524fd46aab5c0e80b90f970d7bf677507aeb8cddd6b12990d4bc19e",
        ),
        vgg.oxford_texts(),
        vgg.oxford_images(),
    ),
    truth=("gnd_oxford5k.pkl", "*_query.txt"),
    folders=vgg.folders("oxford5k", "roxford5k", "oxbuildings", "oxbuild_images", "oxford"),
    expected=oxford.expected(5063, 2840, 1495, LIST_SHA256, SORTED_SHA256),
    prefixes=vgg.OXFORD_PREFIXES,
    texts=(220, "9be5422cc7897463f886234c8db57d3c60119c35560b3216a7717a5308786adc"),
    notes=vgg.NOTES,
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return the data set; its ground truth is gnd_oxford5k.pkl or the original text files."""
    return oxford.load(root, "oxford5k", variant, FACTS, SORTED_SHA256, CITATION)
