"""A million distractors for roxford5k and rparis6k: a database without queries."""

from pathlib import Path
from typing import Any

from bench.data import locate, raw
from bench.datasets._readers import revisited
from bench.errors import MissingDataError
from bench.facts import Download, Facts

HOST = "http://ptak.felk.cvut.cz/revisitop/revisitop1m/"
LIST = "revisitop1m.txt"
FACTS = Facts(
    tier=1,
    headline="none of its own: mAP of roxford5k + R1M, rparis6k + R1M",
    size_bytes=450_000_000_000,
    licence="photographs from Flickr (YFCC100M), published without a statement of terms",
    licence_url="http://cmp.felk.cvut.cz/revisitop/",
    downloads=(
        Download(LIST, (f"{HOST}{LIST}",), kind="ground truth"),
        *(
            Download(f"revisitop1m.{n}.tar.gz", (f"{HOST}jpg/revisitop1m.{n}.tar.gz",), into="jpg")
            for n in range(1, 101)
        ),
    ),
    truth=(LIST,),
    folders=("datasets/revisitop1m", "R1M", "r1m"),
    notes=("some published photographs are truncated; no official list of them exists",),
)


def load(root: Path) -> dict[str, Any]:
    """Return the images of revisitop1m.txt, paths relative to jpg/, in the order of the list."""
    path = locate.find(locate.folders(root, "revisitop1m", FACTS.folders), LIST)
    if path is None:
        raise MissingDataError(
            f"the list {root / 'revisitop1m' / LIST} is missing; `data get revisitop1m` "
            f"downloads it from {HOST}{LIST}."
        )
    database = raw.text(raw.read(path), path).splitlines()
    return {
        "name": "revisitop1m",
        "variant": "distractors",
        "description": f"{len(database)} distractors",
        "images": str(root / "revisitop1m" / "jpg"),
        "licence": FACTS.licence,
        "citation": revisited.CITATION,
        "database": database,
        "queries": [],
        "protocols": {},
    }
