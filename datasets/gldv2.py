"""Google Landmarks v2, retrieval: 1,129 queries among 761,757 index images, mAP@100."""

import csv
import io
from pathlib import Path
from typing import Any

from bench.data import locate
from bench.datasets._readers import places, utm
from bench.errors import BenchError
from bench.facts import Download, Facts

HOST = "https://s3.amazonaws.com/google-landmark"
SOLUTION = "retrieval_solution_v2.1.csv"
USAGES = ("Private", "Public")  # of the solution; queries of another usage are not asked
METRICS = (
    "map@100.finite-sum.over-min-k-positives.junk-removed",
    "map@100.finite-sum.over-positives.junk-removed",
)
CITATION = (
    "T. Weyand, A. Araujo, B. Cao, J. Sim: Google Landmarks Dataset v2: A Large-Scale Benchmark "
    "for Instance-Level Recognition and Retrieval, CVPR 2020"
)


def _archives(split: str, count: int) -> list[Download]:
    names = [f"images_{i:03}.tar" for i in range(count)]
    return [
        Download(file=f"{split}_{name}", urls=(f"{HOST}/{split}/{name}",), into=split)
        for name in names
    ]


FACTS = Facts(
    tier=2,
    headline="mAP@100",
    size_bytes=95_000_000_000,
    licence="annotations CC BY 4.0; index and test images CC0 or public domain",
    licence_url="https://github.com/cvdfoundation/google-landmark",
    downloads=(
        Download(
            file=SOLUTION,
            urls=(f"{HOST}/ground_truth/{SOLUTION}",),
            kind="ground truth",
        ),
        *_archives("index", 100),
        *_archives("test", 20),
    ),
    truth=(SOLUTION, "index.csv"),
    folders=("google-landmark", "GLDv2"),
    notes=(f"The md5 of every archive is at {HOST}/md5sum/index/md5.images_000.txt and so on.",),
)


def load(root: Path) -> dict[str, Any]:
    """Return the queries of the solution file among the images of the folder `index`.

    The index is the column `id` of index.csv if that is there, else the folder. A query without
    positives counts as zero.
    """
    paths = places.find(root, "gldv2", FACTS, SOLUTION)
    if paths is None:
        raise places.missing(root, "gldv2", SOLUTION, FACTS)
    ids = _index(root)
    rows = {name: row for row, name in enumerate(ids)}
    queries, usages, positive = _solution(paths[0], rows)
    read = {
        "database": [f"index/{_path(name)}" for name in ids],
        "queries": [f"test/{_path(name)}" for name in queries],
    }
    protocols = {
        usage.lower(): places.split(positive, [one == usage for one in usages])
        for usage in USAGES
        if usage in usages
    }
    return places.dataset(
        root,
        "gldv2",
        FACTS,
        CITATION,
        read,
        rules={"positive": "listed-v2.1"},
        protocols=protocols,
        metrics=METRICS,
    )


def _path(name: str) -> str:
    """Return a/b/c/abc….jpg, the file of an id."""
    return f"{'/'.join(name[:3])}/{name}.jpg"


def _index(root: Path) -> list[str]:
    """Return the ids of the index images, sorted: those of index.csv, or of the folder."""
    listed = places.find(root, "gldv2", FACTS, "index.csv")
    if listed is not None:
        return sorted(row["id"] for row in _table(listed[0], ("id",)))
    for place in locate.folders(root, "gldv2", FACTS.folders):
        names = utm.names(place, "index")
        if names:
            return sorted(Path(name).stem for name in names)
    raise places.missing(root, "gldv2", "index.csv or the folder index", FACTS)


def _solution(path: Path, rows: dict[str, int]) -> tuple[list[str], list[str], list[list[int]]]:
    """Return id, usage and positive rows of every query that is not ignored."""
    queries, usages, positive = [], [], []
    for row in _table(path, ("id", "images", "Usage")):
        if row["Usage"] not in (*USAGES, "Ignored"):
            raise BenchError(f"{path}: Usage of {row['id']} is {row['Usage']!r}.")
        if row["Usage"] == "Ignored":
            continue
        wanted = dict.fromkeys(row["images"].split())
        lacking = [name for name in wanted if name not in rows]
        if lacking:
            raise BenchError(
                f"{path}: {lacking[0]}, a positive of {row['id']}, is not among the "
                f"{len(rows)} images of the index."
            )
        queries.append(row["id"])
        usages.append(row["Usage"])
        positive.append([rows[name] for name in wanted])
    return queries, usages, positive


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        table = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BenchError(f"{path} cannot be read as a table: {error}.") from error
    for i, row in enumerate(table):
        if any(not isinstance(row.get(column), str) for column in columns):
            raise BenchError(f"{path}: row {i} lacks one of the columns {', '.join(columns)}.")
    return table
