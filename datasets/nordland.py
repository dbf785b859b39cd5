"""Nordland: a railway line in two seasons, frame by frame; three ground truths are in use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.data import raw
from bench.datasets._readers import places, positions, utm
from bench.datasets._readers.lists import vpr_bench
from bench.errors import BenchError
from bench.facts import Expected, Facts

VARIANTS = {
    "gmberton": "queries: winter, database: summer; ±10 frames: VPR-methods-evaluation",
    "patch-netvlad": "queries: winter, database: summer; ±7 frames (10 in its file): Patch-NetVLAD",
    "vpr-bench": "queries: summer, database: winter, every tenth; ±1 frame: VPR-Bench, SALAD",
}
FRAMES = 10  # of the first variant, whose names put 25 m at 10.5 frames
POSITION_DISTANCE = 10.0  # of the second: √2 for each frame, so 7 frames
CITATION = (
    "N. Sünderhauf, P. Neubert, P. Protzel: Are we there yet? Challenging SeqSLAM on a 3000 km "
    "journey across all four seasons, ICRA 2013 workshop"
)
FACTS = Facts(
    tier=2,
    headline="Recall@1",
    size_bytes=None,
    licence="CC BY 3.0 as VPR-Bench states; frames of films of NRK",
    licence_url="https://github.com/MubarizZaffar/VPR-Bench",
    ask=(
        "Get summer.tar.gz, winter.tar.gz and the lists from "
        "https://universityofadelaide.app.box.com/s/zkfk1akpbo5318fzqmtvlpp7030ex4up, or "
        "rsync://vandaldata.polito.it/sf_xl/VPR-datasets-downloader/nordland"
    ),
    truth=("nordland_imageNames_*.txt", "nordland.npz", "Nordland_*.npy", "@*@.jpg"),
    folders=("Nordland",),
    expected={
        "gmberton": Expected(database=27592, queries=27592),
        "patch-netvlad": Expected(database=27592, queries=27592, positives={"all": 413824}),
        "vpr-bench": Expected(
            database=27592,
            queries=2760,
            database_sha256="aa617eace775278946c5a6a0e07e14f57414c91cd554c7a342a0275e71a4c9c5",
            queries_sha256="79408573a24e290dad9aa28a416bad6ab1f6616470d21b15ac30c8b57be22f97",
            positives={"all": 8279},
        ),
    },
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return one of the three: lists of frames, positions, or VPR-Bench's lists."""
    if variant == "vpr-bench":
        read = vpr_bench(root, "nordland", "Nordland", FACTS)
        rules = _rules(1, "listed-frames")
    elif variant == "patch-netvlad":
        found = positions.load(root, "nordland", FACTS, "nordland", "nordland", POSITION_DISTANCE)
        if found is None:
            wanted = "nordland.npz with nordland_imageNames_index.txt and _query.txt"
            raise places.missing(root, "nordland", wanted, FACTS)
        read = {key: found[key] for key in ("database", "queries", "positive")}
        rules = _rules(7, "frame-positions")
    else:
        lists = _names(root)
        if lists is None:
            form = utm.load(root, "nordland", FACTS, CITATION)
            form["order"] = _frames(form.pop("positions"))  # its names have frames as metres
            return form
        read = {**lists, "positive": _windows(len(lists["database"]), len(lists["queries"]))}
        rules = _rules(FRAMES, "frame-order")
    read["order"] = _frames(read["queries"])
    return places.dataset(root, "nordland", FACTS, CITATION, read, rules=rules)


def _rules(frames: int, how: str) -> dict[str, Any]:
    return {"positive": how, "tolerance_frames": frames, "comparison": "<="}


def _frames(queries: Sequence[Any]) -> list[list[int]]:
    """Return the order of the queries, which are listed along the line."""
    return [[0, frame] for frame in range(len(queries))]


def _names(root: Path) -> dict[str, list[str]] | None:
    files = [f"nordland_imageNames_{kind}.txt" for kind in ("index", "query")]
    paths = places.find(root, "nordland", FACTS, *files)
    if paths is None:
        return None
    lists = [raw.lines(raw.read(path), path) for path in paths]
    database, queries = ([places.without_first(name) for name in lines] for lines in lists)
    return {"database": database, "queries": queries}


def _windows(summer: int, winter: int) -> list[list[int]]:
    """Return the frames at most ten away from each of the others."""
    if summer != winter:
        raise BenchError(
            f"nordland: {summer} frames of summer, but {winter} of winter; use the published "
            "archives, which have equally many."
        )
    return [list(range(max(0, i - FRAMES), min(summer, i + FRAMES + 1))) for i in range(summer)]
