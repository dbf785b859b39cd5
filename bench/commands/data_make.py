"""`data make`: a dataset.json from photographs of one's own; `data names`: the order of lists."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import datasets
from bench.data import copies, dataset_json, listing, make
from bench.errors import BenchError, first_few
from bench.option import option, positive, required
from bench.system.notes import one_line
from bench.system.paths import write_bytes
from bench.types import Dataset

SHOWN = 8  # queries on the contact sheet, and positives of each
SIDE = 128


@dataclass(frozen=True, kw_only=True)
class Make:
    """The options of `data make`."""

    photographs: Path = required("the folder of photographs", metavar="PHOTOS", positional=True)
    output: Path = required("the dataset.json to write", metavar="FILE.json")
    name: str | None = option(
        None, "name of the data set (default: the name of the file)", metavar="NAME"
    )
    queries_per_class: int = option(
        1, "number of queries per class or group", metavar="N", parse=positive
    )
    pairs: Path | None = option(
        None, "a CSV with the columns query and positive: file names", metavar="FILE.csv"
    )
    groups: Path | None = option(None, "a CSV with the columns file and group", metavar="FILE.csv")
    positions: Path | None = option(
        None, "a CSV with the columns file, x and y, in metres", metavar="FILE.csv"
    )
    gps: bool = option(False, "take the positions from GPS in the EXIF of the photographs")
    within: float = option(
        make.WITHIN_M, "distance in metres within which an image is positive", metavar="METRES",
        parse=float,
    )  # fmt: skip
    boxes: Path | None = option(
        None, "a CSV of query boxes with the columns file, left, top, right, bottom, in pixels",
        metavar="FILE.csv",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Names:
    """The options of `data names`."""

    name: str = required("a data set, or the path of a dataset.json", metavar="NAME",
                         positional=True)  # fmt: skip
    which: Literal["database", "queries"] = option("database", "which list")
    csv: bool = option(False, "print CSV with boxes and sizes")


def make_one(args: Make) -> int:
    """Write a dataset.json, print its content, draw a contact sheet; return the status."""
    folder = args.photographs
    if not folder.is_dir():
        raise BenchError(f"the folder {folder} does not exist; name the folder of the photographs.")
    if args.output.suffix != ".json":
        raise BenchError(f"--output {args.output}: give the path of a .json file.")
    made = _made(args)
    name = args.name or re.sub(r"[^a-z0-9._+-]+", "-", args.output.stem.lower()).strip("-.")
    images = os.path.relpath(folder.absolute(), args.output.absolute().parent)
    content = {"name": name, "images": images, **made.content}
    if args.boxes is not None:
        boxed = make.boxes(args.boxes, folder)
        known = {query["file"] for query in content["queries"]}
        if other := sorted(boxed.keys() - known):
            raise BenchError(
                f"{args.boxes} has boxes of files that are not queries: {first_few(other)}; "
                "remove these rows."
            )
        content["queries"] = [
            query | ({"box": boxed[query["file"]]} if query["file"] in boxed else {})
            for query in content["queries"]
        ]
    dataset = dataset_json.parse(content, str(args.output), args.output.absolute().parent)
    write_bytes(args.output, f"{json.dumps(content, indent=1)}\n".encode("ascii"))
    print("\n".join(map(one_line, _summary(dataset, made))))
    sheet = args.output.with_suffix(".png")
    _sheet(dataset, sheet)
    print(f"{args.output}; check {sheet}, then: run --dataset {args.output}")
    return 0


def names(args: Names) -> int:
    """Print the images of a list, in the order in which descriptors are brought."""
    dataset, _ = datasets.placed(datasets.load(args.name))
    images = dataset.database if args.which == "database" else datasets.shown_queries(dataset)
    if not args.csv:
        print("\n".join(one_line(image.file) for image in images))
        return 0
    from bench.images.decode import header_size

    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("id", "file", "left", "top", "right", "bottom", "width", "height"))
    for image in images:
        try:
            width, height = header_size(dataset.folder / image.path)
        except BenchError:
            width = height = ""  # type: ignore[assignment]
        table.writerow((image.id, image.file, *(image.box or ("",) * 4), width, height))
    sys.stdout.write(out.getvalue())
    return 0


def _made(args: Make) -> make.Made:
    """Return what the options ask for; two ways at once are refused."""
    ways = [w for w in ("pairs", "groups", "positions", "gps") if getattr(args, w)]
    if len(ways) > 1:
        raise BenchError(
            f"--{ways[0]} and --{ways[1]} both define what belongs together; give only one of them."
        )
    folder = args.photographs
    if args.pairs is not None:
        return make.from_pairs(args.pairs, folder)
    if args.groups is not None:
        return make.from_groups(args.groups, folder, args.queries_per_class)
    named = {} if ways else _named_positions(folder)
    if not ways and not named:
        return make.from_classes(folder, args.queries_per_class)
    if not args.within > 0:
        raise BenchError(f"--within is {args.within:g}; give a distance above 0 metres.")
    if named:
        return make.from_positions(named, args.within, "names, metres")
    if args.positions is not None:
        positions = make.table_positions(args.positions, folder, args.within)
        return make.from_positions(positions, args.within, "table, metres")
    return make.from_positions(make.gps_positions(folder), args.within, "EXIF GPS")


def _named_positions(folder: Path) -> make.Positions:
    """Return the positions that names @east@north@zone@… carry; nothing where not every name does.

    Raises BenchError where names state more than one zone, whose metres cannot be compared.
    """
    from bench.datasets._readers import utm

    files = listing.images(folder).files
    if not all(file.rpartition("/")[2].startswith("@") for file in files):
        return {}
    if utm.planes({"database": files, "queries": ()}, str(folder))[0] is not None:
        raise BenchError(
            f"the names in {folder} state several zones of UTM; write a table of positions in "
            "metres of one plane, and give it with --positions."
        )
    return {file: utm.position(file) for file in files}


def _summary(dataset: Dataset, made: make.Made) -> list[str]:
    """Return a summary of the data set, and warnings of copies."""
    (protocol,) = dataset.protocols
    counts = [len(truth.positive) for truth in protocol.truth]
    out = [
        f"{dataset.name}: {len(dataset.database)} database images, {len(dataset.queries)} queries "
        f"with {min(counts)} to {max(counts)} positives",
        *(f"note: {line}" for line in made.notes),
    ]
    prints = copies.prints_of(dataset)
    twice = copies.repeated(dataset.database, prints)
    if twice:
        pairs = first_few(f"{copy} is {other}" for copy, other in twice)
        out.append(f"warning: {len(twice)} database images are copies of others: {pairs}")
    wrong, right = copies.lines(copies.queries_in_database(dataset, prints))
    return out + [f"warning: {line}" for line in (*wrong, *right)]


def _sheet(dataset: Dataset, path: Path) -> None:
    """Draw the first queries, each with its first positives, as a PNG."""
    from PIL import Image

    (protocol,) = dataset.protocols
    chosen = list(zip(dataset.queries, protocol.truth, strict=True))[:SHOWN]
    columns = 1 + min(SHOWN, max(len(truth.positive) for _, truth in chosen))
    sheet = Image.new("RGB", (columns * SIDE, len(chosen) * SIDE), "white")
    for y, (query, truth) in enumerate(chosen):
        shown = [query, *(dataset.database[row] for row in truth.positive[:SHOWN].tolist())]
        for x, image in enumerate(shown):
            small = _thumbnail(dataset.folder / image.path)
            if small is not None:
                sheet.paste(small, (x * SIDE, y * SIDE))
    packed = io.BytesIO()
    sheet.save(packed, "PNG")
    write_bytes(path, packed.getvalue())


def _thumbnail(path: Path) -> Any:
    from PIL import Image

    from bench.images import decode
    from bench.types import Preprocess

    try:
        small = Image.fromarray(decode.load(path, None, Preprocess(max_side_px=SIDE - 6)))
    except BenchError:
        return None
    return small
