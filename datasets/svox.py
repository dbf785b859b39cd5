"""SVOX: Oxford, with queries in five kinds of weather and light."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import utm

VARIANTS = {
    "all": "all queries of the test split",
    **{kind: f"queries in {kind}" for kind in ("night", "overcast", "rain", "snow", "sun")},
}
CITATION = (
    "G. Berton, V. Paolicelli, C. Masone, B. Caputo: Adaptive-Attentive Geolocalization from few "
    "queries, WACV 2021"
)
FACTS = utm.facts(
    "svox",
    licence="not stated, or for academic use; no redistribution",
    licence_url="https://drive.google.com/uc?id=16iuk8voW65GaywNUQlWAbDt6HZzAJ_t9",
    ask="Get it from Google Drive, id 16iuk8voW65GaywNUQlWAbDt6HZzAJ_t9",
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return one kind of queries; the database is the folder `gallery`."""
    queries = "queries" if variant == "all" else f"queries_{variant}"
    lists = ("svox_dbImages.npy", f"svox_{queries}.npy")
    return utm.load(root, "svox", FACTS, CITATION, database="gallery", queries=queries, lists=lists)
