"""Tokyo 24/7: phone pictures by day, at sunset and by night among cut-outs of panoramas."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets._readers import by_distance, places, positions, utm
from bench.errors import BenchError
from bench.facts import Expected, Facts

VARIANTS = {
    "full": "every cut-out counts: CosPlace, MixVPR, SALAD and later programs",
    "suppressed": "one cut-out of each panorama counts: NetVLAD, Patch-NetVLAD, OpenIBL",
}
CUTOUTS = 12  # of each panorama, in a row in the list
TIMES = ("day", "sunset", "night")  # queries come in threes, one of each
CITATION = (
    "A. Torii, R. Arandjelović, J. Sivic, M. Okutomi, T. Pajdla: 24/7 place recognition by view "
    "synthesis, CVPR 2015"
)
_EXPECTED = Expected(
    database=75984,
    queries=315,
    positives={"all": 37260},
)
FACTS = Facts(
    tier=1,
    headline="Recall@1",
    size_bytes=None,
    licence=places.GOOGLE,
    licence_url="http://www.ok.ctrl.titech.ac.jp/~torii/project/247/",
    ask=(
        "Ask its authors for it (http://www.ok.ctrl.titech.ac.jp/~torii/project/247/): the "
        "database as database_gsv_vga (03814 to 03829), the queries as 247query_subset_v2, and "
        "tokyo247.mat of netvlad_v100_datasets.tar.gz"
    ),
    truth=("tokyo247.mat", "tokyo247.npz", "tokyo247_imageNames_*.txt"),
    folders=("Tokyo247", "247_Tokyo_GSV_Perspective"),
    expected={"full": _EXPECTED, "suppressed": _EXPECTED},
    notes=(
        "Lists name .jpg files where database files are .png; both are found.",
        "Queries v3 have more images and other positives; the papers use the 315 of v2.",
    ),
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return the data set from NetVLAD's tokyo247.mat, or Patch-NetVLAD's tokyo247.npz and lists.

    Positives are within 25 m. The protocols are all queries, and those of each time of the day.
    Without these files `full` is read from the layout of the VPR-datasets-downloader, where the
    time of the day and the panorama are not known.
    """
    read = positions.load(root, "tokyo247", FACTS, "tokyo247", "tokyo247")
    if read is None:
        words = VARIANTS[variant]
        form = utm.other_names(root, "tokyo247", FACTS, CITATION, words, "test")
        if form is not None and variant == "full":
            return form
        raise places.missing(root, "tokyo247", "tokyo247.mat", FACTS)
    # Names as in tokyo247.mat, whichever file they come from.
    read["database"] = [f"{name.rpartition('.')[0]}.jpg" for name in read["database"]]
    read["queries"] = [name.rpartition("/")[2] for name in read["queries"]]
    form = places.dataset(
        root,
        "tokyo247",
        FACTS,
        CITATION,
        read,
        rules=by_distance.rules(places.DISTANCE_M),
        protocols=_protocols(read),
    )
    if variant == "suppressed":
        form["groups"] = _panoramas(read)
    return form


def _protocols(read: dict[str, Any]) -> dict[str, list[Any]]:
    points = np.array(read["queries_xy"])
    if len(points) % 3 or np.any(points.reshape(-1, 3, 2) != points.reshape(-1, 3, 2)[:, :1]):
        raise BenchError(
            f"tokyo247: its {len(points)} queries are not triples of day, sunset and night at "
            "one position; use the queries v2."
        )
    out = {"all": places.split(read["positive"], [True] * len(points))}
    for i, time in enumerate(TIMES):
        out[time] = places.split(read["positive"], [query % 3 == i for query in range(len(points))])
    return out


def _panoramas(read: dict[str, Any]) -> list[int]:
    """Return the panorama of each cut-out; those of one panorama have one position."""
    points = np.array(read["database_xy"])
    by_panorama = points.reshape(-1, CUTOUTS, 2) if len(points) % CUTOUTS == 0 else None
    if by_panorama is None or np.any(by_panorama != by_panorama[:, :1]):
        raise BenchError(
            f"tokyo247: its {len(points)} database images are not panoramas of {CUTOUTS} "
            "cut-outs at one position each, so panoramas cannot be suppressed; use the published "
            "database."
        )
    return (np.arange(len(points)) // CUTOUTS).tolist()
