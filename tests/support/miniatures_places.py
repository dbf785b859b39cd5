"""Miniatures of the data sets of place recognition, each in its genuine form on disk.

`WRITERS` maps a data set to the function that writes it below a folder; `VARIANTS` names what can
then be loaded, with the number of database images and queries.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat


def photograph(path: Path, seed: int) -> None:
    """Write a small picture: coarse noise, so that no two are alike."""
    draw = np.random.default_rng(seed)
    tiles = draw.integers(0, 255, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.kron(tiles, np.ones((12, 12, 1), dtype=np.uint8))).save(path)


def photographs(folder: Path, names: Sequence[str], seed: int = 0) -> None:
    """Write a picture for every name."""
    for i, name in enumerate(names):
        photograph(folder / name, seed + i)


def cells(names: Sequence[str]) -> np.ndarray:
    """Return a column of cells, as MATLAB keeps a list of names."""
    column = np.empty((len(names), 1), dtype=object)
    for i, name in enumerate(names):
        column[i, 0] = name
    return column


def db_struct(
    path: Path,
    database: Sequence[str],
    utm_db: np.ndarray,
    queries: Sequence[str],
    utm_q: np.ndarray,
    **other: object,
) -> None:
    """Write NetVLAD's .mat: positions are 2 x N."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "whichSet": "test",
        "dbImageFns": cells(database),
        "utmDb": np.asarray(utm_db, dtype=np.float64).T,
        "qImageFns": cells(queries),
        "utmQ": np.asarray(utm_q, dtype=np.float64).T,
        "numImages": float(len(database)),
        "numQueries": float(len(queries)),
        "posDistThr": 25.0,
        "posDistSqThr": 625.0,
        "nonTrivPosDistSqThr": 100.0,
    }
    savemat(path, {"dbStruct": {**fields, **other}}, do_compression=True)


def objects(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Return an array of objects, one array of whole numbers for each query."""
    content = np.empty(len(rows), dtype=object)
    for i, row in enumerate(rows):
        content[i] = np.array(row, dtype=np.int64)
    return content


def save_lists(
    folder: Path, stem: str, database: Sequence[str], queries: Sequence[str], gt: np.ndarray
) -> None:
    """Write the three .npy files of GSV-Cities."""
    np.save(folder / f"{stem}_dbImages.npy", np.array(database))
    np.save(folder / f"{stem}_qImages.npy", np.array(queries))
    # GSV-Cities publishes arrays of objects: pickled inside, which is what the reader must survive.
    np.save(folder / f"{stem}_gt.npy", gt, allow_pickle=True)


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a .csv file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def tokyo247(root: Path) -> None:
    """Write two panoramas of twelve cut-outs (.png, listed as .jpg) and two triples of queries."""
    folder = root / "tokyo247"
    names = [
        f"03814/38140{p}/38140{p}_394670{p}_35.65{p}_139.69{p}_012_{30 * i}.jpg"
        for p in range(2)
        for i in range(12)
    ]
    db = np.repeat([[381400.0, 3946700.0], [381500.0, 3946700.0]], 12, axis=0)
    queries = [f"{i:05}.jpg" for i in range(10, 16)]
    asked = np.repeat([[381410.0, 3946700.0], [381500.0, 3946725.0]], 3, axis=0)
    db_struct(folder / "tokyo247.mat", names, db, queries, asked)
    files = [name.replace(".jpg", ".png") for name in names]
    photographs(folder / "database_gsv_vga", files)
    photographs(folder / "247query_subset_v2", queries, 100)


def pitts30k(root: Path) -> None:
    """Write both splits; the second query of each has no positive."""
    folder = root / "pitts30k"
    for split, first in (("test", 829), ("val", 0)):
        names = [f"000/{first:06}_pitch1_yaw{i}.jpg" for i in range(1, 7)]
        queries = [f"queries_real/000/{first + 500:06}_pitch1_yaw{i}.jpg" for i in (1, 2)]
        db = np.array([[585000.0 + 20 * i, 4477000.0] for i in range(6)])
        asked = np.array([[585000.0, 4477015.0], [585000.0, 4478000.0]])
        db_struct(folder / f"pitts30k_{split}.mat", names, db, queries, asked)
        photographs(folder, [*names, *queries], first)


def msls(root: Path) -> None:
    """Write the tables of the cities, a panorama and a query without positives among them."""
    folder = root / "msls"
    counts = {"cph": (6, 3), "sf": (5, 2), "miami": (4, 2)}
    counts |= dict.fromkeys(("athens", "buenosaires", "stockholm", "bengaluru", "kampala"), (3, 1))
    seed = 0
    for city, (n_database, n_queries) in counts.items():
        split = "train_val" if city in ("cph", "sf") else "test"
        for kind, count in (("database", n_database), ("query", n_queries)):
            place = folder / split / city / kind
            keys = [f"{city}{kind[0]}{i}-_KEY" for i in range(count)]
            shift = 5 if kind == "query" else 0
            rows = [
                (i, key, 1000.0 * (i // 2) + shift, 500.0, False, "Forward", "Forward", i)
                for i, key in enumerate(keys)
            ]
            head = "key easting northing night control_panel view_direction unique_cluster"
            table(place / "postprocessed.csv", ["", *head.split()], rows)
            pano = [city == "cph" and kind == "database" and i == 5 for i in range(count)]
            angles = [10.0 if kind == "query" else 30.0 + 40 * (i % 2) for i in range(count)]
            rows = [
                (i, key, 12.5, 55.6, angle, "2018-01-01", item)
                for i, (key, angle, item) in enumerate(zip(keys, angles, pano, strict=True))
            ]
            table(
                place / "raw.csv", ["", *["key", "lon", "lat", "ca", "captured_at", "pano"]], rows
            )
            every = [not (kind == "query" and city == "cph" and i == 1) for i in range(count)]
            rows = [(i, item, *[False] * 6) for i, item in enumerate(every)]
            subtasks = "all s2w w2s o2n n2o d2n n2d"
            table(place / "subtask_index.csv", ["", *subtasks.split()], rows)
            photographs(place / "images", [f"{key}.jpg" for key in keys], seed)
            seed += count
    lists = {}
    for city, n_database, asked in (("cph", 5, (0, 2)), ("sf", 5, (0, 1))):
        database = [
            f"train_val/{city}/database/images/{city}d{i}-_KEY.jpg" for i in range(n_database)
        ]
        queries = [f"train_val/{city}/query/images/{city}q{i}-_KEY.jpg" for i in asked]
        lists[city] = database, queries
        for kind, names in (("index", database), ("query", queries)):
            text = "".join(f"./Mapillary_Street_Level_Sequences/{name}\n" for name in names)
            (folder / f"mapillary{city}_imageNames_{kind}.txt").write_text(text, encoding="utf-8")
    both = [a + b for a, b in zip(lists["cph"], lists["sf"], strict=True)]
    # Its authors saved this list as objects, and the next one as text.
    np.save(folder / "msls_val_dbImages.npy", np.array(both[0], dtype=object), allow_pickle=True)
    np.save(folder / "msls_val_qImages.npy", np.array(both[1]))
    np.save(folder / "msls_val_qIdx.npy", np.array([0, 2, 3]))
    gt = objects([[0, 1], [5, 6], [7]])
    np.save(folder / "msls_val_pIdx.npy", gt, allow_pickle=True)


def nordland(root: Path) -> None:
    """Write twenty-four frames in both seasons, and VPR-Bench's lists of every tenth."""
    folder = root / "nordland"
    frames = [f"images-{202 + i:05}.png" for i in range(24)]
    for kind, season in (("index", "summer"), ("query", "winter")):
        names = [f"{season}/{frame}" for frame in frames]
        photographs(folder, names, len(season) * 100 + len(kind))
        text = "".join(f"./nordland/{name}\n" for name in names)
        (folder / f"nordland_imageNames_{kind}.txt").write_text(text, encoding="utf-8")
    place = np.stack([np.arange(24)] * 2, axis=1)
    np.savez(folder / "nordland.npz", utmDb=place, utmQ=place, posDistThr=np.array(10))
    database = [f"ref/{i:07}.jpg" for i in range(24)]
    queries = [f"query/{i:07}.jpg" for i in range(3)]
    photographs(folder, [*database, *queries], 900)
    gt = objects([[0, 1], [9, 10, 11], [19, 20, 21]])
    save_lists(folder, "Nordland", database, queries, gt)


def gldv2(root: Path) -> None:
    """Write eight index images and three queries, one of another usage."""
    folder = root / "gldv2"
    index = [f"{i:x}{i:x}{i:x}{i:013x}" for i in range(8)]
    test = [f"f{i:x}e{i:013x}" for i in range(3)]
    rows = [
        (test[0], f"{index[0]} {index[3]}", "Private"),
        (test[1], index[5], "Public"),
        (test[2], "None", "Ignored"),
    ]
    table(folder / "retrieval_solution_v2.1.csv", ("id", "images", "Usage"), rows)
    for split, ids, seed in (("index", index, 0), ("test", test[:2], 50)):
        names = [f"{split}/{'/'.join(name[:3])}/{name}.jpg" for name in ids]
        photographs(folder, names, seed)


def at_names(positions: Sequence[tuple[float, float]], zone: str = "56@J") -> list[str]:
    """Return file names that carry positions."""
    return [
        f"@{east:010.2f}@{north:010.2f}@{zone}@-27.50151@0152.99634@{i:05}@@@@@@@@.jpg"
        for i, (east, north) in enumerate(positions)
    ]


def at_folders(images: Path, database: str, queries: Sequence[str]) -> None:
    """Write folders of images with positions; the last query has no positive."""
    places = [(499638.0 + 20 * i, 6958015.0) for i in range(5)]
    photographs(images / database, at_names(places))
    for i, folder in enumerate(queries):
        asked = [(499640.0 + i, 6958015.0), (499640.0, 6968015.0)]
        photographs(images / folder, at_names(asked), 30 + 10 * i)


def amstertime(root: Path) -> None:
    """Write three places, as the authors and as place recognition keep them."""
    folder = root / "amstertime"
    ids = ("0000", "0001", "0003")
    photographs(folder, [f"new/{i}.png" for i in ids] + [f"old/{i}.jpg" for i in ids])
    rows = [(f"new/{i}.png", "old") for i in ids] + [(f"old/{i}.jpg", "new") for i in ids]
    table(folder / "retrieval.csv", ("query", "target"), rows)
    names = [f"@0@{1000 * k}@@@@@{i}@@@@@@@@.jpg" for k, i in enumerate(ids)]
    for seed, kind in ((20, "database"), (40, "queries")):
        photographs(folder / "images" / "test" / kind, names, seed)


def sped(root: Path) -> None:
    """Write three pairs with VPR-Bench's ground truth."""
    folder = root / "sped"
    photographs(folder, [f"{kind}/{i:07}.jpg" for kind in ("ref", "query") for i in range(3)])
    gt = np.empty((3, 2), dtype=object)
    for i in range(3):
        gt[i, 0], gt[i, 1] = i, [i]
    np.save(folder / "ground_truth_new.npy", gt, allow_pickle=True)


def nclt(root: Path) -> None:
    """Write three drives along a line, two of the sessions of BEVPlace++ among seven."""
    folder = root / "nclt"
    asking = ("2012-02-04", "2012-03-17", "2012-06-15", "2012-09-28", "2012-11-16", "2013-02-23")
    rows = []
    for i, session in enumerate(("2012-01-15", *asking)):
        for k in range(3):
            x = -250.0 + 4 * k + (900 if i == 6 else 0)
            y = -650.0 + 3 * (i == 1)  # so that neighbours are 5 m away, to the millimetre
            rows.append((session, 1326652800000 + 10 * k, x, y))
    table(folder / "poses.csv", ("session", "timestamp", "x", "y"), rows)
    photographs(folder, [f"{session}/{time}.jpg" for session, time, _, _ in rows])
    (folder / "protocol.json").write_text(json.dumps({"adafusion": {"threshold_m": 3}}))


def ilias(root: Path) -> None:
    """Write two objects; one query has a box."""
    folder = root / "ilias" / "ilias_core"
    names = [
        f"{name}/{kind}_00.jpg"
        for name in ("bold_bimp_000", "wavy_zibby_944")
        for kind in ("pos/P0", "pos/P1", "query/Q0")
    ]
    photographs(folder, names)
    (folder / "bold_bimp_000" / "query" / "Q0_00.txt").write_text("5 6 30 20\n")


def st_lucia(root: Path) -> None:
    """Write the folders of the VPR-datasets-downloader."""
    at_folders(root / "st_lucia" / "images" / "test", "database", ["queries"])


def eynsham(root: Path) -> None:
    """Write the folders of the VPR-datasets-downloader."""
    at_folders(root / "eynsham" / "images" / "test", "database", ["queries"])


def svox(root: Path) -> None:
    """Write gallery, queries and the queries in five conditions."""
    kinds = ("night", "overcast", "rain", "snow", "sun")
    folders = ["queries", *(f"queries_{kind}" for kind in kinds)]
    at_folders(root / "svox" / "images" / "test", "gallery", folders)


def sf_xl(root: Path) -> None:
    """Write the processed test split."""
    folders = [f"queries_{kind}" for kind in ("v1", "v2", "night", "occlusion")]
    at_folders(root / "sf_xl" / "processed" / "test", "database", folders)


WRITERS: dict[str, Callable[[Path], None]] = {
    "tokyo247": tokyo247,
    "pitts30k": pitts30k,
    "msls": msls,
    "nordland": nordland,
    "gldv2": gldv2,
    "amstertime": amstertime,
    "sped": sped,
    "nclt": nclt,
    "ilias": ilias,
    "st-lucia": st_lucia,
    "eynsham": eynsham,
    "svox": svox,
    "sf-xl": sf_xl,
}
VARIANTS: dict[str, tuple[int, int]] = {
    "tokyo247.full": (24, 6),
    "tokyo247.suppressed": (24, 6),
    "pitts30k.test": (6, 2),
    "pitts30k.val": (6, 2),
    "msls.val-official": (10, 4),
    "msls.val-official-40deg": (10, 4),
    "msls.val-patch-netvlad": (10, 4),
    "msls.val-gsv-cities": (10, 3),
    "msls.val-gmberton": (10, 5),
    "msls.test": (19, 7),
    "nordland.gmberton": (24, 24),
    "nordland.patch-netvlad": (24, 24),
    "nordland.vpr-bench": (24, 3),
    "gldv2": (8, 2),
    "amstertime.vpr": (3, 3),
    "amstertime.new-to-old": (3, 3),
    "amstertime.old-to-new": (3, 3),
    "sped": (3, 3),
    "nclt.bevplace": (3, 18),
    "nclt.adafusion": (21, 108),
    "nclt.open-place-recognition": (21, 126),
    "ilias": (4, 2),
    "st-lucia": (5, 2),
    "eynsham": (5, 2),
    "svox.all": (5, 2),
    "svox.night": (5, 2),
    "sf-xl.v1": (5, 2),
    "sf-xl.occlusion": (5, 2),
}
