"""Mapillary Street-Level Sequences: validation in the four forms that papers use, and test."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import locate, metres, raw
from bench.datasets._readers import by_distance, msls, numpy_files, places, positions, utm
from bench.errors import BenchError, MissingDataError
from bench.facts import Expected, Facts

VARIANTS = {
    "val-official": "Mapillary's program: city by city, without queries that have no positive",
    "val-official-40deg": "the same, with view directions at most 40 degrees apart",
    "val-patch-netvlad": "the lists of Patch-NetVLAD: city by city, only queries with positives",
    "val-gsv-cities": "the lists of GSV-Cities, MixVPR, SALAD: both cities are one database",
    "val-gmberton": (
        "all queries except panoramas, both cities one database; a query without positives "
        "counts as a miss"
    ),
    "test": "city by city over the six test cities; needs the ground truth published in 2026",
}
VAL = ("cph", "sf")
TEST = ("miami", "athens", "buenosaires", "stockholm", "bengaluru", "kampala")
MOST_DEGREES = 40.0
OFFICIAL_METRICS = (
    *places.METRICS,
    *(f"map@{k}.finite-sum.over-min-k-positives.junk-removed" for k in (5, 10, 20)),
)
CITATION = (
    "F. Warburg, S. Hauberg, M. López-Antequera, P. Gargallo, Y. Kuang, J. Civera: Mapillary "
    "Street-Level Sequences: A Dataset for Lifelong Place Recognition, CVPR 2020"
)
_QUERIES_SHA256 = "6177fdfa86e27ac22649201f06df21c0fa70799e7fac29fb47f12283d6aec75f"
FACTS = Facts(
    tier=2,
    headline="Recall@1",
    size_bytes=150_000_000_000,
    licence="Mapillary's terms, for research, on request; no redistribution",
    licence_url="https://www.mapillary.com/dataset/places",
    ask=(
        "Get it with the form at https://www.mapillary.com/dataset/places: msls_metadata.zip, "
        "msls_images_vol_1..6.zip, and msls_patch_v1.1.zip unpacked on top"
    ),
    truth=("postprocessed.csv", "msls_val_*.npy", "mapillary*"),
    folders=(
        "msls/Mapillary_Street_Level_Sequences",
        "MSLS",
        "Mapillary_Street_Level_Sequences",
        "msls_val",
    ),
    expected={
        "val-official": Expected(
            database=18871, queries=747, queries_sha256=_QUERIES_SHA256, positives={"all": 7955}
        ),
        "val-patch-netvlad": Expected(database=18871, queries=740, positives={"all": 7955}),
        "val-gsv-cities": Expected(database=18871, queries=740, positives={"all": 7955}),
        "test": Expected(
            database=36565,
            queries=1135,
            database_sha256="deee7b10f2f6137352758287be27f60ce93762cefcbd57fb8c84ffe3ba417345",
            queries_sha256="ec3abe2a8df947a9e646a92c2be93d0a0830931aabd4f7f28842a50f58b12c2f",
        ),
    },
    notes=("msls_checksums.md5 of the download site has the checksum of every archive.",),
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return one form of the data set; positives are within 25 m, whichever it is."""
    if variant == "val-patch-netvlad":
        return _by_city([_listed(root, city) for city in VAL], VAL, root)
    if variant == "val-gsv-cities":
        return _together(_gsv_cities(root), root, "skip")
    if variant == "val-gmberton":
        if utm.found(locate.folders(root, "msls", FACTS.folders), ("images/val",)) is not None:
            return utm.load(root, "msls", FACTS, CITATION, splits=("images/val",))
        read = [_city(root, "train_val", city, subtask=False) for city in VAL]
        return _together(_one(read), root, "miss")
    cities, split = (TEST, "test") if variant == "test" else (VAL, "train_val")
    most = MOST_DEGREES if variant == "val-official-40deg" else None
    read = [_city(root, split, city, subtask=True, most_degrees=most) for city in cities]
    return _by_city(read, cities, root, most)


def _city(
    root: Path, split: str, city: str, *, subtask: bool, most_degrees: float | None = None
) -> dict[str, Any]:
    """Return the lists and positives of one city from its tables."""
    sides = []
    for kind in ("database", "query"):
        folder = f"{split}/{city}/{kind}"
        paths = places.find(root, "msls", FACTS, *(f"{folder}/{name}" for name in msls.TABLES))
        if paths is None:
            raise _absent(root, split, folder)
        contents = [raw.read(path) for path in paths]
        sides.append(msls.side(contents, paths, folder, subtask=subtask))
    database, query = sides
    metres.check(database.xy, query.xy, places.DISTANCE_M, f"{split}/{city}")
    positive = by_distance.positives(database.xy, query.xy, places.DISTANCE_M)
    if most_degrees is not None:
        positive = [
            by_distance.within_angle(rows, angle, database.angle, most_degrees)
            for rows, angle in zip(positive, query.angle, strict=True)
        ]
    return {
        "database": database.names,
        "queries": query.names,
        "positive": positive,
        "queries_xy": query.xy.tolist(),
    }


def _absent(root: Path, split: str, folder: str) -> MissingDataError:
    if split == "test":
        return MissingDataError(
            f"the tables of {folder} are missing below {root / 'msls'}: "
            f"{', '.join(msls.TABLES)}. The ground truth of the test cities is published with "
            "the images since April 2026; put it there in this form, or use val-official."
        )
    return places.missing(root, "msls", f"{folder}/{{{','.join(msls.TABLES)}}}", FACTS)


def _listed(root: Path, city: str) -> dict[str, Any]:
    """Return one city of Patch-NetVLAD's lists, with its positions or those of the tables."""
    read = positions.load(root, "msls", FACTS, f"mapillary{city}", f"mapillary{city}")
    if read is not None:
        return read
    files = [f"mapillary{city}_imageNames_{kind}.txt" for kind in ("index", "query")]
    paths = places.find(root, "msls", FACTS, *files)
    if paths is None:
        raise places.missing(root, "msls", " and ".join(files), FACTS)
    database, queries = (
        [places.without_first(line) for line in raw.lines(raw.read(path), path)] for path in paths
    )
    known = _city(root, "train_val", city, subtask=True)
    if database != known["database"]:
        raise BenchError(f"{paths[0]} and the tables of {city} do not list the same images.")
    rows = dict(zip(known["queries"], known["positive"], strict=True))
    xy = dict(zip(known["queries"], known["queries_xy"], strict=True))
    strange = [name for name in queries if name not in rows]
    if strange:
        raise BenchError(f"{paths[1]}: {strange[0]} is not a query in the tables of {city}.")
    return {
        "database": database,
        "queries": queries,
        "positive": [rows[q] for q in queries],
        "queries_xy": [xy[q] for q in queries],
    }


def _gsv_cities(root: Path) -> dict[str, Any]:
    """Return GSV-Cities' lists: of the queries those that its index names.

    OpenVPRLab packs the positives of every query of qImages in `msls_val_gt_25m.npy` instead; the
    queries that have none are then left out.
    """
    names = [f"msls_val_{kind}.npy" for kind in ("dbImages", "qImages", "gt_25m")]
    if places.find(root, "msls", FACTS, "msls_val_pIdx.npy") is None:
        packed = places.find(root, "msls", FACTS, *names)
        if packed is not None:
            return _packed(packed)
    files = [f"msls_val_{kind}.npy" for kind in ("dbImages", "qImages", "qIdx", "pIdx")]
    paths = places.find(root, "msls", FACTS, *files)
    if paths is None:
        raise places.missing(root, "msls", ", ".join(files), FACTS)
    contents = [raw.read(path) for path in paths]
    database, queries = (
        numpy_files.strings(content, path)
        for content, path in zip(contents[:2], paths[:2], strict=True)
    )
    chosen = [row for name in numpy_files.rows(contents[2], paths[2]) for row in name]
    positive = numpy_files.rows(contents[3], paths[3])
    if len(chosen) != len(positive) or max(chosen, default=0) >= len(queries):
        raise BenchError(f"{paths[2]} does not fit {files[1]} and {files[3]}.")
    return _asked(database, queries, chosen, dict(zip(chosen, positive, strict=True)))


def _packed(paths: list[Path]) -> dict[str, Any]:
    """Return the lists of OpenVPRLab: database, queries, and the positives of each query."""
    contents = [raw.read(path) for path in paths]
    database, queries = (
        numpy_files.strings(content, path)
        for content, path in zip(contents[:2], paths[:2], strict=True)
    )
    positive = numpy_files.rows(contents[2], paths[2])
    if len(positive) != len(queries):
        raise BenchError(
            f"{paths[2]} has {len(positive)} lists of positives, but {paths[1]} has "
            f"{len(queries)} queries; take both files from the same release."
        )
    if max((row for rows in positive for row in rows), default=0) >= len(database):
        raise BenchError(
            f"{paths[2]} has row numbers above the {len(database)} images of {paths[0]}; take "
            "both files from the same release."
        )
    return _asked(
        database, queries, [i for i, rows in enumerate(positive) if rows], dict(enumerate(positive))
    )


def _asked(
    database: list[str], queries: list[str], chosen: list[int], positive: Mapping[int, list[int]]
) -> dict[str, Any]:
    """Return the lists with the chosen rows of the queries; `positive` is by these rows."""
    asked = [queries[row] for row in chosen]
    cities: dict[str, int] = {}
    for name in asked:
        cities.setdefault(_city_of(name), len(cities))
    return {
        "database": database,
        "queries": asked,
        "positive": [positive[row] for row in chosen],
        # Mapillary's tables, whose order the lists keep, go from sequence to sequence.
        "order": [[cities[_city_of(name)], i] for i, name in enumerate(asked)],
    }


def _city_of(name: str) -> str:
    """Return the city of `train_val/cph/query/images/<key>.jpg`, or all that there is of a name."""
    return name.split("/")[1] if name.count("/") > 1 else ""


def _one(cities: list[dict[str, Any]]) -> dict[str, Any]:
    """Return several cities as one, rows counted through."""
    read: dict[str, Any] = {"database": [], "queries": [], "positive": [], "queries_xy": []}
    for city in cities:
        read["positive"] += [np.asarray(rows) + len(read["database"]) for rows in city["positive"]]
        read["database"] += city["database"]
        read["queries"] += city["queries"]
        read["queries_xy"] += city["queries_xy"]
    return read


def _together(read: dict[str, Any], root: Path, empty: str) -> dict[str, Any]:
    rules = {**by_distance.rules(places.DISTANCE_M), "search": "cities-together"}
    return places.dataset(root, "msls", FACTS, CITATION, read, rules=rules, empty=empty)


def _by_city(
    cities: list[dict[str, Any]],
    names: tuple[str, ...],
    root: Path,
    most_degrees: float | None = None,
) -> dict[str, Any]:
    """Return the form of a dataset.json in which every query is searched in its city."""
    read = _one(cities)
    areas = {
        kind: [i for i, city in enumerate(cities) for _ in city[kind]]
        for kind in ("database", "queries")
    }
    parts = {name: [area == i for area in areas["queries"]] for i, name in enumerate(names)}
    protocols = {"all": [True] * len(areas["queries"]), **parts}
    rules = {**by_distance.rules(places.DISTANCE_M), "search": "city-by-city"}
    if most_degrees is not None:
        rules |= {"angle_degrees": most_degrees, "angle_comparison": "<="}
    form = places.dataset(
        root,
        "msls",
        FACTS,
        CITATION,
        read,
        rules=rules,
        empty="skip",
        protocols={k: places.split(read["positive"], asked) for k, asked in protocols.items()},
        metrics=OFFICIAL_METRICS,
    )
    return {**form, "areas": areas}
