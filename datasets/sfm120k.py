"""retrieval-SfM-120k: photographs of 3-D models, with pairs that whitenings are learned from."""

from pathlib import Path
from typing import Any

from bench.data import ground_truth, locate
from bench.datasets._readers import numpy_files
from bench.errors import BenchError, MissingDataError
from bench.facts import Download, Facts

HOST = "http://cmp.felk.cvut.cz/cnnimageretrieval/data/train"
VARIANTS = {
    "whiten": "the pairs of the whitening list; for `--stage lw-whiten:D,on=sfm120k`",
    "val": "the validation list: its pairs are positives, other images of their model ignored",
}
FILES = {"whiten": "retrieval-SfM-120k-whiten.pkl", "val": "retrieval-SfM-120k.pkl"}
CITATION = (
    "F. Radenović, G. Tolias, O. Chum: Fine-tuning CNN Image Retrieval with No Human Annotation, "
    "TPAMI 2019"
)
FACTS = Facts(
    tier=2,
    headline="none of its own: whitenings are learned on it",
    size_bytes=None,
    licence="not stated",
    licence_url="https://github.com/filipradenovic/cnnimageretrieval-pytorch",
    downloads=(
        *(Download(name, (f"{HOST}/dbs/{name}",), kind="ground truth") for name in FILES.values()),
        Download("ims.tar.gz", (f"{HOST}/ims/ims.tar.gz",), into="ims"),
    ),
    truth=tuple(FILES.values()),
    folders=("retrieval-SfM-120k", "train/retrieval-SfM-120k", "SfM120k"),
    notes=("its images have names without a suffix, in folders of the last letters of the name",),
)


def load(root: Path, variant: str) -> dict[str, Any]:
    """Return the pairs of a list: each is a query, with one positive.

    Queries and positives are whole images of the database. In `val` a query that has several pairs
    stands once, with all of them; images of its own model that it has no pair with, itself among
    them, are ignored: they may show the same.
    """
    folders = locate.folders(root, "sfm120k", FACTS.folders)
    path = locate.find(folders, FILES[variant])
    if path is None:
        raise MissingDataError(
            f"the list {root / 'sfm120k' / FILES[variant]} is missing; `data get sfm120k` "
            "downloads it, or set RETRIEVAL_BENCH_DATA to the folder that contains the data set."
        )
    read: dict[str, Any] = ground_truth.once(
        [path], f"sfm120k-{variant}-1", lambda contents: _read(contents[0], variant, path)
    )
    if not read["database"] or not read["queries"]:
        raise BenchError(f"{path} lists no pairs of images.")
    return {
        "name": "sfm120k",
        "images": str(root / "sfm120k" / "ims"),
        "licence": FACTS.licence,
        "citation": CITATION,
        **read,
    }


def _read(content: bytes, variant: str, path: Path) -> dict[str, Any]:
    """Return lists and protocols as a dataset.json has them."""
    lists = numpy_files.plain_pickle(content, path)
    try:
        lists = lists if variant == "whiten" else lists["val"]
        names = [_file(cid) for cid in lists["cids"]]
        pairs = [(int(q), int(p)) for q, p in zip(lists["qidxs"], lists["pidxs"], strict=True)]
        models = [int(model) for model in lists["cluster"]] if variant == "val" else []
        if any(not 0 <= row < len(names) for pair in pairs for row in pair):
            raise ValueError("a pair is outside the list of images")
        if models and len(models) != len(names):
            raise ValueError("cids and cluster differ in length")
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(
            f"{path} is not a list of retrieval-SfM-120k: {type(error).__name__}: {error}. It "
            "must contain cids, qidxs and pidxs, and for validation `val` with these and cluster."
        ) from error
    if variant == "whiten":
        queries, truth = [q for q, _ in pairs], [{"positive": [p]} for _, p in pairs]
    else:
        queries, truth = _grouped(pairs, models)
    return {
        "database": names,
        "queries": [{"file": names[q]} for q in queries],
        "protocols": {"pairs": truth},
    }


def _grouped(
    pairs: list[tuple[int, int]], models: list[int]
) -> tuple[list[int], list[dict[str, list[int]]]]:
    """Return each query once, with the positives of its pairs and the ignored images."""
    positive: dict[int, set[int]] = {}
    for query, other in pairs:
        positive.setdefault(query, set()).add(other)
    members: dict[int, list[int]] = {}
    for row, model in enumerate(models):
        members.setdefault(model, []).append(row)
    truth = [
        {
            "positive": sorted(rows),
            "ignored": sorted({query, *members[models[query]]} - rows),
        }
        for query, rows in positive.items()
    ]
    return list(positive), truth


def _file(cid: Any) -> str:
    """Return where the image called `cid` is below `ims`.

    >>> _file("0123456789abcdef")
    'ef/cd/ab/0123456789abcdef'
    """
    if type(cid) is not str or len(cid) < 6:
        raise ValueError(f"{cid!r} is not the name of an image")
    return f"{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}"
