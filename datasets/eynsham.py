"""Eynsham: panoramas along a drive, each cut into five."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import utm

FACTS = utm.facts(
    "eynsham",
    licence_url="https://zenodo.org/records/1243106",
    ask="Get it with rsync://vandaldata.polito.it/sf_xl/VPR-datasets-downloader/eynsham",
)


def load(root: Path) -> dict[str, Any]:
    """Return the data set from its folders or its lists of names."""
    return utm.load(root, "eynsham", FACTS)
