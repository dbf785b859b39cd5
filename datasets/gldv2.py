"""Google Landmarks v2, retrieval: queries of the solution file, 761,757 index images, mAP@100."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import listing, locate, raw
from bench.datasets._readers import places
from bench.errors import BenchError
from bench.facts import Download, Expected, Facts

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
    expected={"": Expected(database=761757)},
    notes=(f"The md5 of every archive is at {HOST}/md5sum/index/md5.images_000.txt and so on.",),
)


def load(root: Path) -> dict[str, Any]:
    """Return the queries of the solution file among the images of the folder `index`.

    The index is the column `id` of index.csv if that is there, else the folder with the positives
    that it lacks. A query without positives counts as zero.
    """
    paths = places.find(root, "gldv2", FACTS, SOLUTION)
    if paths is None:
        raise places.missing(root, "gldv2", SOLUTION, FACTS)
    asked = _solution(paths[0])
    ids, notes = _index(root, asked, paths[0])
    rows = {name: row for row, name in enumerate(ids)}
    usages = [row.usage for row in asked]
    positive = [[rows[name] for name in row.positive] for row in asked]
    read = {
        "database": [f"index/{_path(name)}" for name in ids],
        "queries": [f"test/{_path(row.name)}" for row in asked],
        "notes": notes,
    }
    protocols = {
        usage.lower(): places.split(positive, [row == usage for row in usages])
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


@dataclass(frozen=True)
class _Query:
    """A query of the solution that is not ignored: id, usage, and the ids of its positives."""

    name: str
    usage: str
    positive: tuple[str, ...]


def _index(root: Path, asked: list[_Query], solution: Path) -> tuple[list[str], list[str]]:
    """Return the ids of the index images, sorted, and notes.

    They are those of index.csv, which must have every positive; or those of the folder, and the
    positives that are absent from it, which are then images that are missing.
    """
    wanted = {name: row.name for row in asked for name in row.positive}
    listed = places.find(root, "gldv2", FACTS, "index.csv")
    if listed is not None:
        ids = {row["id"] for _, row in raw.table(raw.read(listed[0]), listed[0], ("id",))}
        lacking = sorted(wanted.keys() - ids)
        if lacking:
            raise BenchError(
                f"{solution}: {lacking[0]}, a positive of {wanted[lacking[0]]}, is not among the "
                f"{len(ids)} images of {listed[0]}."
            )
        return sorted(ids), []
    for place in locate.folders(root, "gldv2", FACTS.folders):
        base = listing.holding([place], ["index"])
        found = None if base is None else listing.images(base[0], "index")
        if found is not None and found.files:
            return sorted({Path(name).stem for name in found.files} | wanted.keys()), [*found.notes]
    raise places.missing(root, "gldv2", "index.csv or the folder index", FACTS)


def _solution(path: Path) -> list[_Query]:
    """Return the queries that are not ignored."""
    asked = []
    for _, row in raw.table(raw.read(path), path, ("id", "images", "Usage")):
        if row["Usage"] not in (*USAGES, "Ignored"):
            raise BenchError(f"{path}: Usage of {row['id']} is {row['Usage']!r}.")
        if row["Usage"] != "Ignored":
            positive = tuple(dict.fromkeys(row["images"].split()))
            asked.append(_Query(row["id"], row["Usage"], positive))
    return asked
