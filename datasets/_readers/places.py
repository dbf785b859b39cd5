"""What the data sets of place recognition share: how they are found, their form, their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.data import listing, locate
from bench.errors import BenchError, MissingDataError
from bench.facts import Facts

RECALLS = (1, 5, 10, 20, 100)
METRICS = tuple(f"recall@{k}.any-hit.junk-removed" for k in RECALLS)
DISTANCE_M = 25.0
GOOGLE = "Google Street View imagery, for research, on request; no redistribution"


def find(root: Path, name: str, facts: Facts, *files: str) -> list[Path] | None:
    """Return where these files are, or None if one of them is nowhere.

    Files that are given with folders are so in one folder, that of the data set or one below it;
    one that begins with `./` is in the folder of the data set itself; others at any depth.
    """
    places = locate.folders(root, name, facts.folders)
    inner = [file for file in files if "/" in file and not file.startswith("./")]
    base = listing.holding(places, inner) if inner else None
    if inner and base is None:
        return None
    found = []
    for file in files:
        if base is not None and file in inner:
            found.append(base[0] / file)
            continue
        direct = [place / file for place in places if (place / file).is_file()]
        path = direct[0] if direct else None if "/" in file else locate.find(places, file)
        if path is None:
            return None
        found.append(path)
    return found


def missing(root: Path, name: str, wanted: str, facts: Facts) -> MissingDataError:
    """Return the error for a data set whose lists are not there."""
    return MissingDataError(
        f"the lists of {name} are missing: looked in {root / name} and the folders beside it for "
        f"{wanted}. {facts.ask or f'`data get {name}` downloads them'}".rstrip(".")
        + ". Or set RETRIEVAL_BENCH_DATA to the folder that contains the data set."
    )


def dataset(  # noqa: PLR0913
    root: Path,
    name: str,
    facts: Facts,
    citation: str,
    read: Mapping[str, Any],
    *,
    rules: Mapping[str, Any],
    images: Path | None = None,
    empty: str = "miss",
    protocols: Mapping[str, Sequence[Any]] | None = None,
    metrics: Sequence[str] = METRICS,
) -> dict[str, Any]:
    """Return the form of a dataset.json.

    `read` has the lists `database` and `queries` of names, and `positive`, the rows of each query;
    `protocols` stands in its place where there are several. Its `notes` say what a list leaves out.
    Where it has `queries_xy`, metres, or `order`, pairs of a recording and a place in it, these say
    which queries are neighbours.
    """
    for kind in ("database", "queries"):
        if not read[kind]:
            raise BenchError(f"{name}: the list of {kind} is empty; check the folder.")
    known = {"positions": "queries_xy", "order": "order"}
    return {
        **{key: read[source] for key, source in known.items() if source in read},
        "name": name,
        "images": str(images or root / name),
        "database": read["database"],
        "queries": [{"file": file} for file in read["queries"]],
        "protocols": protocols or {"all": [{"positive": rows} for rows in read["positive"]]},
        "metrics": metrics,
        "empty": empty,
        "rules": rules,
        "licence": facts.licence,
        "citation": citation,
        "notes": read.get("notes", []),
    }


def split(positive: Sequence[Any], part: Sequence[bool]) -> list[Any]:
    """Return the entries of a protocol that asks only the queries marked in `part`."""
    pairs = zip(positive, part, strict=True)
    return [{"positive": rows} if asked else None for rows, asked in pairs]


def without_first(name: str) -> str:
    """Return a name of Patch-NetVLAD's lists without `./` and the folder of the data set."""
    return name.removeprefix("./").partition("/")[2]
