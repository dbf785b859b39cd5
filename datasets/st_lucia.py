"""St Lucia: a drive through a suburb of Brisbane, on two days."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import utm
from bench.facts import Expected

FACTS = utm.facts(
    "st-lucia",
    ask="Get it with rsync://vandaldata.polito.it/sf_xl/VPR-datasets-downloader/st_lucia",
    expected={"": Expected(database=1549, queries=1464)},
)


def load(root: Path) -> dict[str, Any]:
    """Return the data set from its folders or its lists of names."""
    return utm.load(root, "st-lucia", FACTS)
