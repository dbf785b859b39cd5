"""St Lucia: a drive through a suburb of Brisbane, on two days."""

from pathlib import Path
from typing import Any

from bench.datasets import _utm
from bench.facts import Expected, Facts

FACTS = Facts(
    tier=2,
    headline="Recall@1",
    size_bytes=None,
    licence="not stated; no redistribution",
    licence_url="https://github.com/gmberton/VPR-datasets-downloader",
    ask="Get it with rsync://vandaldata.polito.it/sf_xl/VPR-datasets-downloader/st_lucia",
    truth=("st_lucia_dbImages.npy", "@*@.jpg"),
    folders=("st_lucia",),
    expected={"": Expected(database=1549, queries=1464)},
)


def load(root: Path) -> dict[str, Any]:
    """Return the data set from its folders or its lists of names."""
    return _utm.load(root, "st-lucia", FACTS, _utm.CITATION)
