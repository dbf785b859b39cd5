"""Pittsburgh 30k: views out of Street View panoramas, asked by panoramas of another year."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import by_distance, lists, places, positions, utm
from bench.facts import Expected, Facts

VARIANTS = {"test": "the test split", "val": "the validation split"}
CITATION = (
    "R. Arandjelović, P. Gronat, A. Torii, T. Pajdla, J. Sivic: NetVLAD: CNN architecture for "
    "weakly supervised place recognition, CVPR 2016"
)
FACTS = Facts(
    tier=2,
    headline="Recall@1",
    size_bytes=None,
    licence=places.GOOGLE,
    licence_url="https://www.di.ens.fr/willow/research/netvlad/",
    ask=(
        "Ask for the images by mail (relja@relja.info); pitts30k_test.mat and pitts30k_val.mat are "
        "in https://www.di.ens.fr/willow/research/netvlad/data/netvlad_v100_datasets.tar.gz"
    ),
    truth=("pitts30k_*.mat", "pitts30k_*.npz", "pitts30k_*.npy", "pitts30k_imageNames_*.txt"),
    folders=("Pittsburgh250k", "pitts250k", "Pittsburgh"),
    expected={
        "test": Expected(
            database=10000,
            queries=6816,
            database_sha256="960912c39f2d7c50cfe1b6edafd1c287321d9addf755879e613cd2d73b49e6aa",
            queries_sha256="fc435c08dd855e74921669d24735101971b0a8337ea0d9d2225dbd13aa9912cf",
            positives={"all": 968448},
        ),
        "val": Expected(
            database=10000,
            queries=7608,
            database_sha256="385819e848624c65fe944776079c8d25bf07838d3682e12bad621e8d15e21421",
            queries_sha256="bf045e9af970e36c998fbdbcc5245b65b54ed6601f26015fa0f5d3fdc257ffc9",
        ),
    },
    notes=("VPR-Bench's Pittsburgh is another list, of 1,000 queries.",),
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return a split from NetVLAD's .mat, Patch-NetVLAD's .npz with lists, or GSV-Cities' .npy.

    Without any of them it is read from the layout of the VPR-datasets-downloader.

    Positives are within 25 m, and a query without one is a miss.
    """
    stem = f"pitts30k_{variant}"
    names = "pitts30k" if variant == "test" else None  # Patch-NetVLAD lists the test split alone
    read = positions.load(root, "pitts30k", FACTS, stem, names)
    read = read or lists.load(root, "pitts30k", FACTS, stem)
    if read is None:
        form = utm.other_names(root, "pitts30k", FACTS, CITATION, VARIANTS[variant], variant)
        if form is not None:
            return form
        wanted = f"{stem}.mat, or {stem}_dbImages.npy, {stem}_qImages.npy and {stem}_gt.npy"
        raise places.missing(root, "pitts30k", wanted, FACTS)
    if "queries_xy" not in read:
        read = {**read, "order": _panoramas(read["queries"])}
    rules = by_distance.rules(places.DISTANCE_M)
    return places.dataset(root, "pitts30k", FACTS, CITATION, read, rules=rules)


def _panoramas(queries: list[str]) -> list[list[int]]:
    """Return the order of panoramas, which are listed along the streets; views share a place.

    A name is `queries_real/003/003489_pitch2_yaw5.jpg`; without a pitch every query is a place.
    """
    numbers: dict[str, int] = {}
    return [[0, numbers.setdefault(name.split("_pitch")[0], len(numbers))] for name in queries]
