"""SF-XL test: crops of panoramas from all of San Francisco, and four lists of queries."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import utm
from bench.facts import Expected

VARIANTS = {
    "v1": "queries v1",
    "v2": "queries v2, with labels from San Francisco Landmark",
    "night": "queries by night",
    "occlusion": "queries with occlusions",
}
CITATION = "G. Berton, C. Masone, B. Caputo: Rethinking Visual Geo-localization, CVPR 2022"
FACTS = utm.facts(
    "sf-xl",
    licence="on request, for research; no redistribution",
    licence_url="https://github.com/gmberton/CosPlace",
    ask="Ask for it with the form https://forms.gle/wpyDzhDyoWLQygAT9",
    expected={"v1": Expected(queries=1000)},
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return one list of queries; `sf_xl/processed/test` holds the folders."""
    queries = f"queries_{variant}"
    lists = ("sf_xl_dbImages.npy", f"sf_xl_{queries}.npy")
    splits = ("processed/test", "test", "sf_xl/processed/test", "")
    return utm.load(root, "sf-xl", FACTS, CITATION, splits=splits, queries=queries, lists=lists)
