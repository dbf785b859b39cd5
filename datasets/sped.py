"""SPED test: 607 pairs of pictures of one place, as VPR-Bench has them."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import lists, places
from bench.facts import Expected, Facts

CITATION = (
    "M. Zaffar, S. Garg, M. Milford, J. Kooij, D. Flynn, K. McDonald-Maier, S. Ehsan: VPR-Bench, "
    "IJCV 2021"
)
FACTS = Facts(
    tier=2,
    headline="Recall@1",
    size_bytes=None,
    licence="not stated; no redistribution",
    licence_url="https://github.com/MubarizZaffar/VPR-Bench",
    ask="Get it from https://surfdrive.surf.nl/files/index.php/s/sbZRXzYe3l0v67W (VPR-Bench)",
    truth=("SPED_*.npy", "ground_truth_new.npy"),
    folders=("SPED", "SPEDTEST"),
    expected={
        "": Expected(
            database=607,
            queries=607,
            database_sha256="16e6391957f12a2f20612a78d5eb3639491cced7a9c79218322f9bef7bf9f30d",
            queries_sha256="84b2efc2db998902b9a48dc318455a97ed04f1bb1a25e6a3b7016a4be534cdf1",
            positives={"all": 607},
        )
    },
)


def load(root: Path) -> dict[str, Any]:
    """Return the data set from SPED's lists, or from VPR-Bench's ground truth."""
    read = lists.vpr_bench(root, "sped", "SPED", FACTS)
    rules = {"positive": "listed-place"}
    return places.dataset(root, "sped", FACTS, CITATION, read, rules=rules)
