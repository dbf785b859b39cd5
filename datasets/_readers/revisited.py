"""Reader of the revisited ground truth: `gnd_<name>.pkl`, read without trusting it.

Source: Radenović et al., Revisiting Oxford and Paris, CVPR 2018, section 3 and evaluate.py.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from bench.data import ground_truth, locate, raw
from bench.datasets._readers import vgg
from bench.errors import BenchError, MissingDataError
from bench.system import reading

CITATION = (
    "F. Radenović, A. Iscen, G. Tolias, Y. Avrithis, O. Chum: Revisiting Oxford and Paris: "
    "Large-Scale Image Retrieval Benchmarking, CVPR 2018"
)
_KINDS = ("easy", "hard", "junk")
_PROTOCOLS = (
    ("easy", ("easy",), ("junk", "hard")),
    ("medium", ("easy", "hard"), ("junk",)),
    ("hard", ("hard",), ("junk", "easy")),
)


def load(root: Path, name: str, sha256: str, others: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the data set `name` below `root` in the form of a dataset.json.

    Easy: positive = easy, ignored = junk and hard. Medium: positive = easy and hard, ignored =
    junk. Hard: positive = hard, ignored = junk and easy. Boxes are on the original pixels.
    """
    path = _find(root, name, others)
    read: dict[str, Any] = ground_truth.once(
        [path], "revisited-1", lambda contents: _read(contents[0], path)
    )
    known = hashlib.sha256(raw.read(path)).hexdigest() == sha256
    about = f"{len(read['database'])} database images and {len(read['queries'])} boxed queries"
    return {
        "name": name,
        "variant": "revisited" if known else "revisited, ground truth with another sha256",
        "description": about,
        "images": str(root / name / "jpg"),
        "licence": vgg.LICENCE,
        "citation": CITATION,
        **read,
    }


def _find(root: Path, name: str, others: tuple[str, ...]) -> Path:
    file = f"gnd_{name}.pkl"
    path = locate.find(locate.folders(root, name, others), file)
    if path is None:
        raise MissingDataError(
            f"the ground truth {root / name / file} is missing. Put {file} there (it is "
            f"published at http://cmp.felk.cvut.cz/revisitop/data/datasets/{name}/{file}; `data "
            f"get {name}` downloads it), or set RETRIEVAL_BENCH_DATA to the folder that contains "
            "it."
        )
    return path


def _read(content: bytes, path: Path) -> dict[str, Any]:
    """Return lists and protocols as a dataset.json has them."""
    truth = ground_truth.plain_pickle(content, path)
    if not isinstance(truth, dict):
        raise BenchError(
            f"{path} contains a {type(truth).__name__} instead of the ground truth's dict."
        )
    try:
        database = [f"{image}.jpg" for image in ground_truth.names(truth["imlist"])]
        groups = {
            kind: [set(ground_truth.whole_numbers(entry[kind])) for entry in truth["gnd"]]
            for kind in _KINDS
        }
        return {
            "database": database,
            "queries": [
                {"file": f"{image}.jpg", "box": [float(x) for x in entry["bbx"]]}
                for image, entry in zip(
                    ground_truth.names(truth["qimlist"]), truth["gnd"], strict=True
                )
            ],
            "protocols": {
                protocol: [
                    {
                        "positive": sorted(set().union(*(groups[kind][i] for kind in positive))),
                        "ignored": sorted(set().union(*(groups[kind][i] for kind in ignored))),
                    }
                    for i in range(len(truth["gnd"]))
                ]
                for protocol, positive, ignored in _PROTOCOLS
            },
        }
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise BenchError(
            f"{path} is not a revisited ground truth: {type(error).__name__}: "
            f"{reading.line(error)}. It must contain imlist, qimlist and gnd with bbx, easy, "
            "hard and junk per query."
        ) from error
