"""NCLT: a campus in 27 sessions of a year; several protocols exist, so each has its name."""

from pathlib import Path
from typing import Any

from bench.datasets._readers import places, poses
from bench.facts import Facts

VARIANTS = {
    "bevplace": "BEVPlace++: queries of six sessions, database of 2012-01-15, nearer than 5 m",
    "adafusion": "AdaFusion: every pair of sessions, in four regions of 100 m",
    "open-place-recognition": "OpenPlaceRecognition: every pair of sessions, within 25 m",
}
ASKING = ("2012-02-04", "2012-03-17", "2012-06-15", "2012-09-28", "2012-11-16", "2013-02-23")
REGIONS = ((-260.0, -680.0), (-280.0, -420.0), (20.0, -550.0), (-100.0, -300.0))
PROTOCOLS = {
    "bevplace": poses.Protocol(
        database=("2012-01-15",), queries=ASKING, threshold_m=5.0, strict=True
    ),
    "adafusion": poses.Protocol(regions=REGIONS, region_m=100.0),
    "open-place-recognition": poses.Protocol(threshold_m=25.0),
}
CITATION = (
    "N. Carlevaris-Bianco, A. K. Ushani, R. M. Eustice: University of Michigan North Campus "
    "long-term vision and lidar dataset, IJRR 2016"
)
FACTS = Facts(
    tier=2,
    headline="Recall@1",
    size_bytes=None,
    licence="read it at robots.engin.umich.edu/nclt",
    licence_url="https://robots.engin.umich.edu/nclt/",
    ask=(
        "Get the sessions from https://robots.engin.umich.edu/nclt/ and write the poses of their "
        "images to poses.csv, with the columns session,timestamp,x,y"
    ),
    truth=("poses.csv", "protocol.json"),
    folders=("NCLT",),
    notes=("AdaFusion's positives are pickles: its threshold must be stated in protocol.json.",),
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return one protocol over the poses in poses.csv.

    Its columns are session, timestamp, x (north) and y (east) in metres, and if need be file;
    without `file` an image is `<session>/<timestamp>.jpg`. AdaFusion leaves its threshold open;
    it stands in protocol.json beside the poses: `{"adafusion": {"threshold_m": 25}}`.
    """
    paths = places.find(root, "nclt", FACTS, "poses.csv")
    if paths is None:
        raise places.missing(root, "nclt", "poses.csv", FACTS)
    protocol = poses.completed(PROTOCOLS[variant], variant, paths[0].with_name("protocol.json"))
    read, areas, sessions = poses.load(paths[0], protocol)
    parts = {name: [session == name for session in sessions] for name in dict.fromkeys(sessions)}
    protocols = {"all": [True] * len(sessions), **parts}
    form = places.dataset(
        root,
        "nclt",
        FACTS,
        CITATION,
        read,
        rules=protocol.rules(),
        empty=protocol.empty,
        protocols={k: places.split(read["positive"], asked) for k, asked in protocols.items()},
    )
    return form if areas is None else {**form, "areas": areas}
