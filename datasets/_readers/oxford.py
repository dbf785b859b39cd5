"""Reader of the original ground truth of Oxford5k and Paris6k, as text files or as a pickle.

Positive are good and ok, ignored is junk, all else is negative. The query is a photograph of the
database, and there a positive of itself: it counts, in the official program, as any other.
Source: Philbin et al., Object retrieval with large vocabularies and fast spatial matching, CVPR
2007, section 2, and compute_ap.cpp.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.data import ground_truth, listing, locate, raw
from bench.datasets._readers import vgg
from bench.errors import BenchError, MissingDataError, first_few
from bench.facts import Expected, Facts
from bench.system import reading
from bench.system.hashing import sha256_lines

VARIANTS = {
    "official": "the query is also in the database, as a positive, as in the official program",
    "query-ignored": "the query is also in the database, and is ignored",
}
METRICS = ["map.trapezoid.junk-removed"]
KINDS = ("good", "ok", "junk")


def expected(
    images: int, positives: int, ignored: int, list_sha256: str, sorted_sha256: str
) -> dict[str, Expected]:
    """Return what the variants must hold; the list may also be the sorted one of the text files."""
    official = Expected(
        database=images,
        queries=55,
        database_sha256=(list_sha256, sorted_sha256),
        names="stem",
        positives={"original": positives},
        ignored={"original": ignored},
    )
    without = {"original": positives - 55}, {"original": ignored + 55}
    ignored_too = replace(official, positives=without[0], ignored=without[1])
    return {"official": official, "query-ignored": ignored_too}


def load(
    root: Path, name: str, variant: str, facts: Facts, sorted_sha256: str, citation: str
) -> dict[str, Any]:
    """Return the data set `name` below `root` in the form of a dataset.json.

    The pickle is preferred, for it has the list of images; with text files alone the list is that
    of the photographs that are there, in the order of their names. `sorted_sha256` is the hash of
    the complete list in that order.
    """
    folders = locate.folders(root, name, facts.folders)
    pickled = locate.find(folders, f"gnd_{name}.pkl")
    query_files = [] if pickled else _query_files(folders)
    if pickled is not None:
        where: Path = pickled
        truth = ground_truth.once([where], "oxford-pickle-1", lambda c: _pickle(c[0], where))
    elif query_files:
        paths = [_beside(path, kind) for path in query_files for kind in ("query", *KINDS)]
        truth = ground_truth.once(paths, "oxford-text-1", lambda contents: _texts(paths, contents))
        truth["names"] = _names_there(folders, truth, tuple(facts.prefixes))
    else:
        raise MissingDataError(
            f"the ground truth {root / name / f'gnd_{name}.pkl'} is missing. Put the pickle "
            "there, or the text files *_query.txt, *_good.txt, *_ok.txt and *_junk.txt into "
            f"{root / name}; `data get {name}` downloads them."
        )
    row = {image: i for i, image in enumerate(truth["names"])}
    complete = sha256_lines(sorted(truth["names"])) == sorted_sha256
    return {
        "name": name,
        "variant": VARIANTS[variant] + ("" if complete else "; not the published list of images"),
        "description": f"{len(truth['names'])} images, "
        f"{len(truth['queries'])} of them boxed queries",
        "images": str(root / name / "jpg"),
        "licence": vgg.LICENCE,
        "citation": citation,
        "database": [f"{image}.jpg" for image in truth["names"]],
        "queries": [{"file": f"{q['name']}.jpg", "box": q["box"]} for q in truth["queries"]],
        "protocols": {"original": [_entry(row, q, variant) for q in truth["queries"]]},
        "metrics": METRICS,
    }


def _entry(row: dict[str, int], query: dict[str, Any], variant: str) -> dict[str, list[int]]:
    """Return the rows of one query."""
    labels = {kind: {row[name] for name in query[kind]} for kind in ("positive", "ignored")}
    if variant == "query-ignored":
        own = {row[query["name"]]}
        labels = {"positive": labels["positive"] - own, "ignored": labels["ignored"] | own}
    return {kind: sorted(rows) for kind, rows in labels.items()}


def _pickle(content: bytes, path: Path) -> dict[str, Any]:
    """Return names and labelled queries of the pickle that cirtorch's authors made."""
    truth = ground_truth.plain_pickle(content, path)
    try:
        names = ground_truth.names(truth["imlist"])
        queries: list[dict[str, Any]] = [
            {
                "name": name,
                "box": [float(x) for x in entry["bbx"]],
                "positive": sorted({names[i] for i in ground_truth.whole_numbers(entry["ok"])}),
                "ignored": sorted({names[i] for i in ground_truth.whole_numbers(entry["junk"])}),
            }
            for name, entry in zip(ground_truth.names(truth["qimlist"]), truth["gnd"], strict=True)
        ]
        strangers = {query["name"] for query in queries} - set(names)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise BenchError(
            f"{path} is not an original ground truth: {type(error).__name__}: "
            f"{reading.line(error)}. It must contain imlist, qimlist and gnd with bbx, ok and "
            "junk per query."
        ) from error
    if strangers:
        raise BenchError(f"{path}: the queries {first_few(sorted(strangers))} are not in imlist.")
    return {"names": names, "queries": queries}


def _query_files(folders: tuple[Path, ...]) -> list[Path]:
    """Return the *_query.txt of the first folder that has any, in sorted order."""
    for folder, files in listing.walk(folders):
        found = [folder / file for file in files if file.endswith("_query.txt")]
        if found:
            return found
    return []


def _beside(query_file: Path, kind: str) -> Path:
    path = query_file.with_name(query_file.name.replace("_query.txt", f"_{kind}.txt"))
    if not path.is_file():
        raise MissingDataError(
            f"{path} is missing: {query_file.name} needs a {kind} list beside it; add the file."
        )
    return path


def _texts(paths: list[Path], contents: list[bytes]) -> dict[str, Any]:
    """Return labelled queries of text files, four per query: query, good, ok, junk."""
    queries = []
    for first in range(0, len(paths), 4):
        lines = [
            _lines(path, content)
            for path, content in zip(
                paths[first : first + 4], contents[first : first + 4], strict=True
            )
        ]
        positive = set(lines[1]) | set(lines[2])
        queries.append(
            _query_line(paths[first], lines[0])
            | {"positive": sorted(positive), "ignored": sorted(set(lines[3]))}
        )
    return {"queries": queries}


def _query_line(path: Path, lines: list[str]) -> dict[str, Any]:
    """Return name and box; files of Oxford write oxc1_ before the name, those of Paris do not."""
    words = lines[0].split() if len(lines) == 1 else []
    try:
        name, *corners = words
        box = [float(corner) for corner in corners]
        if len(box) != 4:
            raise ValueError
    except ValueError:
        raise BenchError(
            f"{path} must contain one line, a name and the four corners of a box; it contains "
            f"{' / '.join(lines)[:80]!r}."
        ) from None
    return {"name": name.removeprefix("oxc1_"), "box": box}


def _lines(path: Path, content: bytes) -> list[str]:
    return raw.lines(content, path)


def _names_there(
    folders: tuple[Path, ...], truth: dict[str, Any], prefixes: tuple[str, ...]
) -> list[str]:
    """Return the names of the photographs that are there and of those that are labelled, sorted."""
    names = {name for q in truth["queries"] for name in (q["name"], *q["positive"], *q["ignored"])}
    form = re.compile(rf"({'|'.join(map(re.escape, prefixes))})_\d{{6}}")
    for _, files in listing.walk(folders):
        names |= {name for name in map(locate.stem, files) if form.fullmatch(name)}
    return sorted(names - set(vgg.PARIS_NOT_IMAGES))
