"""A sheet as one page of HTML: every thumbnail is in it once, nothing is asked for from outside."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.records.text import clean
from bench.sheets.content import Entry, Line, Tile
from bench.sheets.matches import Pair
from bench.sheets.thumbnails import Thumbnail
from bench.types import Image

Thumbnails = dict[str, Thumbnail]
LETTERS = {"positive": "P", "ignored": "I", "negative": "N", "unlabelled": ""}
MOST_PLACES = 12

LEGEND = {
    "P": "positive: solid frame",
    "I": "ignored: dashed frame, taken out before places are counted",
    "N": "negative: dotted frame",
}


@dataclass(frozen=True)
class About:
    """A record as text: method.variant, run id, first digits of its card, what the card says."""

    name: str
    run_id: str
    card8: str
    gist: str


@dataclass(frozen=True, eq=False)
class Section:
    """The part of a sheet that one record has, or two side by side.

    `groups` are entries under a heading; `cropped` says that the method saw the box of a query
    alone; `fault` says why matches that were asked for are not here; `labelled` that queries have
    positives.
    """

    about: tuple[About, ...]
    protocol: str
    metric: str
    groups: Sequence[tuple[str, Sequence[Entry]]]
    pairs: Sequence[Pair]
    fault: str
    cropped: bool
    labelled: bool = True


def key(*parts: object) -> str:
    """Return the name of a thumbnail: q3 for a query, d17 for a row of the database."""
    return "-".join(map(str, parts))


def words(section: Section) -> str:
    """Return what a section is of, on one line."""
    return " against ".join(f"{about.name} (card {about.card8})" for about in section.about)


def facts(section: Section, entry: Entry, line: Line) -> str:
    """Return the text above the list of a query."""
    who = f"{line.run}: " if len(entry.lines) > 1 else ""
    if not section.labelled:
        return f"{who}the nearest of {entry.image.file}"
    metric = section.metric.removeprefix("m")  # of one query: AP, not mAP
    value = "no score" if math.isnan(line.value) else f"{metric} {100 * line.value:.2f}"
    shown = ", ".join(map(str, line.places[:MOST_PLACES]))
    more = " …" if len(line.places) > MOST_PLACES else ""
    count = len(line.places) + line.missed
    at = f" at {shown}{more}" if line.places else ""
    missed = f", {line.missed} not in the list" if line.missed else ""
    return f"{who}{value}, {count} positive{'s' * (count != 1)}{at}{missed}"


def render(
    dataset: str, sections: Sequence[Section], thumbs: Mapping[str, Thumbnail], _suffix: str = ""
) -> bytes:
    """Return the page, UTF-8; equal sections and images give equal bytes."""
    box = "The dashed box of a query is the part that the method described."
    if not all(section.cropped for section in sections):
        box = "A dashed box of a query is its label; some cards here show the whole image."
    labelled = any(section.labelled for section in sections)
    page = _environment().get_template("sheet.html")
    return page.render(
        dataset=dataset,
        sections=sections,
        thumbs=sorted(thumbs.items()),
        legend=LEGEND if labelled else {},
        labelled=labelled,
        box=box,
        words=words,
        facts=facts,
        query=lambda entry: _query(entry, thumbs),
        tile=lambda tile: _tile(tile, thumbs),
        drawn=lambda pair: _pair(pair, thumbs),
    ).encode()


def _environment() -> Environment:
    """Return the templates of this folder; what they insert is cleaned and escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(_text(value)),
        keep_trailing_newline=True,
    )
    made.filters["base64"] = lambda content: Markup(base64.b64encode(content).decode("ascii"))
    return made


def _query(entry: Entry, thumbs: Mapping[str, Thumbnail]) -> dict[str, Any]:
    """Return what the template draws of a query: its box in pixels of the thumbnail."""
    name = key("q", entry.query)
    thumb, box = thumbs[name], None
    if thumb.box is not None:
        box = [round(side * thumb.factor, 1) for side in thumb.box]
    out = _figure("Q", "query", thumb, entry.image, f"query {entry.query}")
    return {**out, "name": name, "box": box}


def _tile(tile: Tile, thumbs: Mapping[str, Thumbnail]) -> dict[str, Any]:
    """Return what the template draws of one image of a list."""
    name = key("d", tile.row)
    inliers = "" if tile.inliers is None else f" ({tile.inliers})"
    image = tile.image or Image(str(tile.row), f"row {tile.row}")
    thumb = Thumbnail(None, 104, 78, 0.0, "distractor") if tile.image is None else thumbs[name]
    score = f"{tile.score:.4f}{inliers}"
    out = _figure(LETTERS[tile.kind], tile.kind, thumb, image, str(tile.place), score)
    return {**out, "name": name, "box": None}


def _figure(
    letter: str, kind: str, thumb: Thumbnail, image: Image, place: str, score: str = ""
) -> dict[str, Any]:
    under = f"{place} · {score}" if score else place
    return {
        "letter": letter,
        "thumb": thumb,
        "label": f"{kind}, {under}, {clean(image.file)}",
        "place": place,
        "score": score,
        "file": image.file,
        "base": PurePosixPath(image.file).name,
    }


def _pair(pair: Pair, thumbs: Mapping[str, Thumbnail]) -> dict[str, Any]:
    """Return what the template draws of a pair: both images, and a line for every inlier."""
    names = [key("m", pair.query, pair.row, side) for side in (0, 1)]
    left, right = (thumbs[name] for name in names)
    shift = left.width + 8
    lines = [
        ((x0 * left.factor, y0 * left.factor), (x1 * right.factor + shift, y1 * right.factor))
        for (y0, x0), (y1, x1) in zip(*(each.tolist() for each in pair.points), strict=True)
    ]
    return {
        "query": pair.query, "row": pair.row, "stored": pair.stored, "found": len(lines),
        "names": names, "shift": shift, "lines": lines,
        "width": shift + right.width, "height": max(left.height, right.height),
    }  # fmt: skip


def _text(text: object) -> str:
    return escape(clean(text), quote=True)
