"""Reader of the revisited ground truth: `gnd_<name>.pkl`, read without trusting it.

Source: Radenović et al., Revisiting Oxford and Paris, CVPR 2018, section 3 and evaluate.py.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

from bench.errors import BenchError, MissingDataError

CITATION = (
    "F. Radenović, A. Iscen, G. Tolias, Y. Avrithis, O. Chum: Revisiting Oxford and Paris: "
    "Large-Scale Image Retrieval Benchmarking, CVPR 2018"
)
LICENCE = (
    "photographs from Flickr under the VGG terms of access, no redistribution; "
    "ground truth published without a licence"
)


class _DataOnly(pickle.Unpickler):
    """Unpickles dicts, lists, strings and numbers; anything that names code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and data needs no code")


def load(root: Path, name: str, sha256: str) -> dict[str, Any]:
    """Return the data set `name` below `root` in the form of a dataset.json.

    Easy: positive = easy, ignored = junk and hard. Medium: positive = easy and hard, ignored =
    junk. Hard: positive = hard, ignored = junk and easy. Boxes are on the original pixels.
    """
    folder = root / name
    path = folder / f"gnd_{name}.pkl"
    truth = _read(path)
    known = hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    try:
        database = [f"{image}.jpg" for image in truth["imlist"]]
        names = truth["qimlist"]
        queries = [
            {"file": f"{image}.jpg", "box": [float(x) for x in entry["bbx"]]}
            for image, entry in zip(names, truth["gnd"], strict=True)
        ]
        groups = {kind: [set(entry[kind]) for entry in truth["gnd"]] for kind in _KINDS}
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(
            f"{path} is not a revisited ground truth: {type(error).__name__}: {error}. It must "
            "hold imlist, qimlist and gnd with bbx, easy, hard and junk per query."
        ) from error
    return {
        "name": name,
        "variant": "revisited" if known else "revisited, ground truth with another sha256",
        "description": f"{len(database)} database images and {len(queries)} boxed queries",
        "images": str(folder / "jpg"),
        "licence": LICENCE,
        "citation": CITATION,
        "database": database,
        "queries": queries,
        "protocols": {
            protocol: [
                {
                    "positive": sorted(set().union(*(groups[kind][i] for kind in positive))),
                    "ignored": sorted(set().union(*(groups[kind][i] for kind in ignored))),
                }
                for i in range(len(queries))
            ]
            for protocol, positive, ignored in _PROTOCOLS
        },
    }


_KINDS = ("easy", "hard", "junk")
_PROTOCOLS = (
    ("easy", ("easy",), ("junk", "hard")),
    ("medium", ("easy", "hard"), ("junk",)),
    ("hard", ("hard",), ("junk", "easy")),
)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingDataError(
            f"the ground truth {path} is missing. Put {path.name} there (it is published at "
            f"http://cmp.felk.cvut.cz/revisitop/data/datasets/{path.parent.name}/{path.name}), or "
            "set RETRIEVAL_BENCH_DATA to the folder that holds it."
        )
    try:
        with path.open("rb") as file:
            truth = _DataOnly(file).load()
    except Exception as error:  # a hostile pickle can raise anything
        raise BenchError(f"{path} cannot be read as ground truth: {error}.") from error
    if not isinstance(truth, dict):
        raise BenchError(f"{path} holds a {type(truth).__name__}, not the ground truth's dict.")
    return truth
