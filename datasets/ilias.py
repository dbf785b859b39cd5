"""ILIAS core: instance retrieval, 1,232 pictures of 1,000 objects ask, mAP@1000, no distractors."""

from pathlib import Path
from typing import Any

from bench.data import listing, locate, raw
from bench.datasets._readers import places
from bench.errors import BenchError
from bench.facts import Download, Facts

HOST = "https://vrg.fel.cvut.cz/ilias_data"
METRICS = (
    "map@1000.finite-sum.over-min-k-positives.junk-removed",
    "recall@1.any-hit.junk-removed",
)
CITATION = "G. Kordopatis-Zilos et al.: ILIAS: Instance-Level Image retrieval At Scale, CVPR 2025"
FACTS = Facts(
    tier=2,
    headline="mAP@1000",
    size_bytes=None,
    licence="captured images CC BY 4.0, the others under their own licences",
    licence_url=HOST,
    downloads=(Download(file="ilias_core.tar", urls=(f"{HOST}/ilias_core.tar",)),),
    truth=("P*_*.jpg",),
    folders=("ilias_core",),
    notes=("The 100 million distractors of YFCC100M are not part of this data set.",),
)


def load(root: Path) -> dict[str, Any]:
    """Return the core: folders `<object>/query` and `<object>/pos`; those of one object are right.

    A text file beside a query, `x y w h` in pixels, is its box.
    """
    for place in locate.folders(root, "ilias", FACTS.folders):
        for images in (place, place / "ilias_core"):
            read = _objects(images)
            if read is not None:
                return _form(root, images, read)
    deep = listing.holding(locate.folders(root, "ilias", FACTS.folders), ["query", "pos"])
    read = None if deep is None else _objects(deep[0].parent)
    if deep is not None and read is not None:
        return _form(root, deep[0].parent, read)
    raise places.missing(root, "ilias", "folders <object>/query and <object>/pos", FACTS)


def _objects(images: Path) -> dict[str, list[str]] | None:
    if not images.is_dir():
        return None
    found = listing.images(images)
    read = {
        kind: [name for name in found.files if name.split("/")[1:2] == [folder]]
        for kind, folder in (("database", "pos"), ("queries", "query"))
    }
    return {**read, "notes": list(found.notes)} if all(read.values()) else None


def _form(root: Path, images: Path, read: dict[str, list[str]]) -> dict[str, Any]:
    by_object: dict[str, list[int]] = {}
    for row, name in enumerate(read["database"]):
        by_object.setdefault(name.split("/")[0], []).append(row)
    positive = [by_object.get(name.split("/")[0], []) for name in read["queries"]]
    form = places.dataset(
        root,
        "ilias",
        FACTS,
        CITATION,
        {**read, "positive": positive},
        rules={"positive": "same-object"},
        images=images,
        metrics=METRICS,
    )
    form["queries"] = [{"file": name, "box": _box(images / name)} for name in read["queries"]]
    return form


def _box(image: Path) -> list[float] | None:
    """Return left, top, right, bottom of the box in the text file beside an image, or None."""
    path = image.with_suffix(".txt")
    try:
        x, y, width, height = map(float, raw.text(raw.read(path), path).split()[:4])
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BenchError(f"{path} must have the form x y w h, in pixels: {error}.") from error
    return [x, y, x + width, y + height]
