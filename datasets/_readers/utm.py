"""Data sets whose file names carry positions: `@east@north@zone@...@.jpg`, in metres of UTM.

The form of the VPR-datasets-downloader (Berton et al., Deep Visual Geo-localization Benchmark,
CVPR 2022): folders `images/test/database` and `images/test/queries`, sorted by name; positives are
within 25 m; Recall@k is over all queries, and one without positives is a miss. A file with the
list of names serves as well as the folder: `<name>_dbImages.npy` and `<name>_qImages.npy`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import listing, locate, metres, plain, raw
from bench.datasets._readers import by_distance, numpy_files, places, zones
from bench.errors import BenchError
from bench.facts import Expected, Facts

TEST = ("images/test", "test", "processed/test", "")
VALIDATION = ("images/val", "val")
APART_M = 1e7  # more than a zone is wide or high
CITATION = (
    "G. Berton, R. Mereu, G. Trivigno, C. Masone, G. Csurka, T. Sattler, B. Caputo: Deep Visual "
    "Geo-localization Benchmark, CVPR 2022"
)


def facts(
    name: str,
    *,
    ask: str,
    licence: str = "not stated; no redistribution",
    licence_url: str = "https://github.com/gmberton/VPR-datasets-downloader",
    expected: Mapping[str, Expected] | None = None,
) -> Facts:
    """Return the facts of a data set of this form; folders may have `_` for `-`."""
    stem = name.replace("-", "_")
    return Facts(
        tier=2,
        headline="Recall@1",
        size_bytes=None,
        licence=licence,
        licence_url=licence_url,
        ask=ask,
        truth=("@*@.jpg", f"{stem}_*.npy"),
        folders=(stem,) if stem != name else (),
        expected=expected or {},
    )


def load(  # noqa: PLR0913
    root: Path,
    name: str,
    facts: Facts,
    citation: str = CITATION,
    *,
    splits: Sequence[str] = ("images/test", "test", ""),
    database: str = "database",
    queries: str = "queries",
    lists: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return a data set in the form of a dataset.json.

    `splits` are the folders, relative to that of the data set, which may hold the folders called
    `database` and `queries`; `lists` are the files that serve instead, if there are such.
    """
    stem = name.replace("-", "_")
    lists = lists or (f"{stem}_dbImages.npy", f"{stem}_qImages.npy")
    read: dict[str, Any] | None = listed(root, name, facts, lists)
    images = None
    if read is None:
        images = found(locate.folders(root, name, facts.folders), splits, database, queries)
        if images is None:
            wanted = f"{splits[0]}/{database} with {splits[0]}/{queries}, or {' with '.join(lists)}"
            raise places.missing(root, name, wanted.replace("//", "/"), facts)
        read = in_folders(images, database, queries)
    return places.dataset(
        root,
        name,
        facts,
        citation,
        {
            **read,
            "positive": near(read, name),
            "queries_xy": _metres(read, name),
        },
        rules=by_distance.rules(places.DISTANCE_M),
        images=images,
    )


def found(
    there: Sequence[Path],
    splits: Sequence[str],
    database: str = "database",
    queries: str = "queries",
) -> Path | None:
    """Return the folder that holds both folders of images: one of `splits`, at any depth.

    A folder of another split, train or val, is ignored unless `splits` names it.
    """
    choices = [[f"{split}/{kind}".lstrip("/") for kind in (database, queries)] for split in splits]
    base = listing.holding(there, *choices)
    if base is None:
        return None
    images = base[0] / splits[base[1]]
    other = {"train", "val"} - set("/".join(splits).split("/"))
    return None if other & set(images.parts[-1:]) else images


def other_names(
    root: Path, name: str, facts: Facts, citation: str, variant: str, split: str
) -> dict[str, Any] | None:
    """Return a published set in the layout of the downloader, whose names are its own; or None.

    This is a variant, as the order of the lists, and the names in them, are other ones.
    """
    images = found(locate.folders(root, name), (f"images/{split}", split))
    if images is None:
        return None
    read = in_folders(images, "database", "queries")
    form = places.dataset(
        root,
        name,
        facts,
        citation,
        {**read, "positive": near(read, name)},
        rules=by_distance.rules(places.DISTANCE_M),
        images=images,
    )
    where = images.relative_to(images.parents[1]).as_posix()
    return {
        **form,
        "variant": f"{variant}; lists are the names with positions in {where}",
        "renamed": True,
    }


def of_folder(folder: Path, known: Sequence[str] = ()) -> dict[str, Any] | None:
    """Return anybody's folder of images whose names carry positions; None where no name does.

    It holds `database` (or `gallery`, as svox) and `queries` (or `queries_v1`, as sf-xl), itself or
    in the folder of a split: `images/test`, `test`, or `processed/test`, as sf-xl, and of
    validation where there is no test, as msls. A note names other folders of queries beside them.
    It is called by its own name, in small letters; one that is `known` for another data set gets
    `-own` behind it.
    """
    for splits, database, queries in itertools.product(
        (TEST, VALIDATION), ("database", "gallery"), ("queries", "queries_v1")
    ):
        images = found([folder], splits, database, queries)
        if images is not None:
            break
    else:
        return None
    read = in_folders(images, database, queries)
    if not any("@" in file for kind in ("database", "queries") for file in read[kind]):
        return None
    name = plain.own_name(folder, known, "places")
    for kind, inner in (("database", database), ("queries", queries)):
        if not read[kind]:
            raise BenchError(f"{images / inner} contains no images ({', '.join(listing.IMAGES)}).")
    others = sorted(
        path.name for path in images.glob("queries*") if path.is_dir() and path.name != queries
    )
    notes = [f"the queries are those of {queries}, not of {', '.join(others)}"] if others else []
    return {
        "name": name,
        "variant": "a folder of images whose names carry positions",
        "images": str(images.absolute()),
        "database": read["database"],
        "queries": [{"file": file} for file in read["queries"]],
        "protocols": {"all": [{"positive": rows} for rows in near(read, name)]},
        "metrics": places.METRICS,
        "empty": "miss",
        "rules": by_distance.rules(places.DISTANCE_M),
        "notes": [*read["notes"], *notes],
    }


def listed(root: Path, name: str, facts: Facts, lists: tuple[str, str]) -> dict[str, Any] | None:
    """Return the names in the two files, or None where they are not beside the folders."""
    paths = places.find(root, name, facts, *(f"./{file}" for file in lists))
    if paths is None:
        return None
    return {
        kind: numpy_files.strings(raw.read(path), path)
        for kind, path in zip(("database", "queries"), paths, strict=True)
    }


def in_folders(images: Path, database: str, queries: str) -> dict[str, Any]:
    """Return the images of two folders in the order of their names, and notes on the others."""
    rows, asked = listing.images(images, database), listing.images(images, queries)
    return {
        "database": list(rows.files),
        "queries": list(asked.files),
        "notes": [*rows.notes, *asked.notes],
    }


def near(read: Mapping[str, Any], name: str) -> list[NDArray[np.int64]]:
    """Return the positives of every query, by the positions in the names."""
    if not read["database"] or not read["queries"]:
        return []
    database, queries = (
        by_distance.checked([position(f) for f in read[kind]], len(read[kind]), f"{name}: {kind}")
        for kind in ("database", "queries")
    )
    metres.check(database, queries, places.DISTANCE_M, name)
    rows_in, asked_in = planes(read, name)
    if rows_in is None or asked_in is None:
        return by_distance.positives(database, queries, places.DISTANCE_M)
    return zones.positives(database, rows_in, queries, asked_in, places.DISTANCE_M)


def planes(read: Mapping[str, Any], name: str) -> tuple[zones.Planes | None, zones.Planes | None]:
    """Return the plane of UTM of every database image and query; None where all are in one.

    Names without a zone are taken to be in the only one that the others state.
    """
    files = [*read["database"], *read["queries"]]
    codes = [zones.plane_of(file.rsplit("/", 1)[-1].split("@")[3:5]) for file in files]
    if None in codes:
        raise BenchError(
            f"{name}: {files[codes.index(None)]!r} has a UTM zone that does not exist; zones are "
            f"1 to {zones.ZONES}, letters {zones.BANDS[0]} to {zones.BANDS[-1]}."
        )
    stated = sorted({code for code in codes if code})
    if len(stated) < 2:
        return None, None
    if zones.NOT_STATED in codes:
        bare = files[codes.index(zones.NOT_STATED)]
        examples = [files[codes.index(code)] for code in stated[:2]]
        raise BenchError(
            f"{name}: {bare!r} lacks a UTM zone, but other files have several: {examples[0]!r}, "
            f"{examples[1]!r}; write the zone and its letter in every file name."
        )
    of_all = np.array(codes, dtype=np.int64)
    return of_all[: len(read["database"])], of_all[len(read["database"]) :]


def _metres(read: Mapping[str, Any], name: str) -> list[tuple[float, float]]:
    """Return where queries were taken; those of different zones of UTM are far from each other."""
    points = [position(file) for file in read["queries"]]
    _, plane = planes(read, name)
    if plane is None:
        return points
    apart = np.unique(plane, return_inverse=True)[1]
    return [(x + APART_M * int(i), y) for (x, y), i in zip(points, apart, strict=True)]


def position(file: str) -> tuple[float, float]:
    """Return (east, north) in metres from a file name."""
    fields = file.rsplit("/", 1)[-1].split("@")
    try:
        return float(fields[1]), float(fields[2])
    except (IndexError, ValueError):
        raise BenchError(
            f"{file!r} has no position in its name; a name must begin with @east@north@, in metres."
        ) from None
