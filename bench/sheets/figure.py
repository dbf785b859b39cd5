"""A sheet as PNG or PDF: the same content as the page, drawn by matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image as Pillow

from bench.records.text import clean
from bench.sheets.content import Entry, Line
from bench.sheets.html import LETTERS, Section, facts, key, words
from bench.sheets.matches import Pair
from bench.sheets.thumbnails import Thumbnail

FRAMES: dict[str, dict[str, Any]] = {
    "P": {"edgecolor": "#009E73", "linestyle": "-", "linewidth": 3},
    "I": {"edgecolor": "#777777", "linestyle": (0, (4, 2)), "linewidth": 2},
    "N": {"edgecolor": "#D55E00", "linestyle": (0, (1, 1.2)), "linewidth": 3},
    "Q": {"edgecolor": "#0072B2", "linestyle": "-", "linewidth": 1},
    "": {"edgecolor": "none"},
}
CELL, GAP = 100.0, 10.0  # one unit is 1/100 inch
ROW, TITLE = 140.0, 42.0
PAIR = 230.0
PAGE = 1050.0
KEY = (
    "P positive (solid)   I ignored (dashed)   N negative (dotted)   "
    "below: place, score (inliers where re-ranked)"
)
UNLABELLED = "no labels; below: place, score (inliers where re-ranked)"


def render(
    dataset: str, sections: Sequence[Section], thumbs: Mapping[str, Thumbnail], suffix: str
) -> bytes:
    """Return the sheet as one tall PNG, or as a PDF with page breaks between queries."""
    blocks = list(_blocks(sections))
    columns = max((len(b[2].tiles) + 1 for b in blocks if isinstance(b[2], Line)), default=1)
    width = max(columns * (CELL + GAP) + GAP, 600.0)
    pages = [blocks] if suffix == ".png" else _pages(blocks)
    buffer = io.BytesIO()
    settings = {"font.family": "DejaVu Sans", "font.size": 7.0, "text.parse_math": False}
    with matplotlib.style.context(["default", settings]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it is drawn as a box
        drawn = [
            _page(f"Sheet of {dataset}, page {number}" if len(pages) > 1 else f"Sheet of {dataset}",
                  page, thumbs, width)
            for number, page in enumerate(pages, start=1)
        ]  # fmt: skip
        if suffix == ".png":
            drawn[0].savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        else:
            nothing = {"CreationDate": None, "Producer": None, "Creator": None}
            with PdfPages(buffer, metadata=nothing) as pdf:
                for figure in drawn:
                    pdf.savefig(figure)
    return buffer.getvalue()


Block = tuple[Section, Entry | None, Line | Pair | str]


def _blocks(sections: Sequence[Section]) -> Iterator[Block]:
    """Yield what stands below each other: headings, lists, pairs."""
    for section in sections:
        for about in section.about:
            yield section, None, f"{about.name}, card {about.card8}, run {about.run_id}"
        yield section, None, f"{words(section)}: protocol {section.protocol}"
        if section.fault:
            yield section, None, section.fault
        for heading, entries in section.groups:
            if heading:
                yield section, None, heading if entries else f"{heading}: no query"
            for entry in entries:
                for line in entry.lines:
                    yield section, entry, line
                for pair in section.pairs:
                    if pair.query == entry.query:
                        yield section, entry, pair


def _height(block: Block) -> float:
    return {Line: ROW, Pair: PAIR, str: 18.0}[type(block[2])]


def _pages(blocks: Sequence[Block]) -> list[list[Block]]:
    """Split where the next block does not fit; a query's two lists stay together."""
    pages: list[list[Block]] = [[]]
    used = 0.0
    for at, block in enumerate(blocks):
        together = [b for b in blocks[at:] if b[1] is not None and b[1] is block[1]]
        begins = at == 0 or blocks[at - 1][1] is not block[1]
        needed = sum(map(_height, together)) if together and begins else _height(block)
        if pages[-1] and used + needed > PAGE - TITLE and begins:
            pages.append([])
            used = 0.0
        pages[-1].append(block)
        used += _height(block)
    return pages


def _page(
    title: str, blocks: Sequence[Block], thumbs: Mapping[str, Thumbnail], width: float
) -> Figure:
    height = TITLE + sum(map(_height, blocks)) + GAP
    figure = Figure(figsize=(width / 100, height / 100), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    axes.text(GAP, 16, clean(title), fontsize=10, fontweight="bold", va="center")
    legend = KEY if any(block[0].labelled for block in blocks) else UNLABELLED
    axes.text(GAP, 32, legend, fontsize=6.5, color="0.35", va="center")
    top, before = TITLE, None
    for block in blocks:
        section, entry, what = block
        if isinstance(what, str):
            axes.text(GAP, top + 10, clean(what, 160), fontsize=7.5, va="center", color="0.2")
        elif isinstance(what, Line):
            assert entry is not None
            _list(axes, section, entry, what, thumbs, top, first=entry is not before)
        else:
            _pair(axes, what, thumbs, top)
        before = entry
        top += _height(block)
    return figure


def _list(
    axes: Axes,
    section: Section,
    entry: Entry,
    line: Line,
    thumbs: Mapping[str, Thumbnail],
    top: float,
    *,
    first: bool,
) -> None:
    lead = f"query {entry.query} · " if first else ""
    axes.text(GAP, top + 8, clean(lead + facts(section, entry, line), 200), va="center")
    if first:
        thumb = thumbs[key("q", entry.query)]
        left, upper, scale = _image(axes, thumb, GAP, top + 16, "Q", clean(entry.image.file, 24))
        if thumb.box is not None and thumb.jpeg is not None:
            a, b, c, d = (side * thumb.factor * scale for side in thumb.box)
            box = (left + a, upper + b), c - a, d - b
            axes.add_patch(Rectangle(*box, fill=False, edgecolor="w", linewidth=2.4))
            axes.add_patch(Rectangle(*box, fill=False, edgecolor="#0072B2", linestyle="--"))
    for column, tile in enumerate(line.tiles, start=1):
        inliers = "" if tile.inliers is None else f" ({tile.inliers})"
        under = f"{tile.place} · {tile.score:.4f}{inliers}"
        thumb = Thumbnail(None, 100, 75, 0.0, f"distractor\nrow {tile.row}")
        if tile.image is not None:
            thumb = thumbs[key("d", tile.row)]
            if thumb.jpeg is None:
                fault = f"{thumb.fault}\n{clean(tile.image.file, 18)}"
                thumb = Thumbnail(None, 100, 75, 0.0, fault)
        _image(axes, thumb, GAP + column * (CELL + GAP), top + 16, LETTERS[tile.kind], under)


def _image(
    axes: Axes, thumb: Thumbnail, x: float, y: float, letter: str, under: str
) -> tuple[float, float, float]:
    """Draw one framed image in its cell; return left, top and the scale of its thumbnail."""
    scale = CELL / max(thumb.width, thumb.height)
    width, height = thumb.width * scale, thumb.height * scale
    left, top = x + (CELL - width) / 2, y + (CELL - height) / 2
    if thumb.jpeg is None:
        axes.add_patch(Rectangle((left, top), width, height, facecolor="0.85", edgecolor="none"))
        axes.text(x + CELL / 2, y + CELL / 2, thumb.fault, ha="center", va="center", fontsize=6)
    else:
        axes.imshow(_pixels(thumb), extent=(left, left + width, top + height, top), aspect="auto")
    axes.add_patch(Rectangle((left, top), width, height, fill=False, **FRAMES[letter]))
    axes.text(x + CELL / 2, y + CELL + 8, under, ha="center", va="center", fontsize=6.5)
    if not letter:
        return left, top, scale
    badge = {"boxstyle": "square,pad=0.2", "facecolor": FRAMES[letter]["edgecolor"],
             "edgecolor": "none"}  # fmt: skip
    axes.text(left + 6, top + 7, letter, color="w", fontweight="bold", ha="center", va="center",
              fontsize=6.5, bbox=badge)  # fmt: skip
    return left, top, scale


def _pair(axes: Axes, pair: Pair, thumbs: Mapping[str, Thumbnail], top: float) -> None:
    found = len(pair.points[0])
    differs = "" if found == pair.stored else f", {pair.stored} in the record"
    axes.text(GAP, top + 8, f"matches with row {pair.row}: {found} inliers{differs}", va="center")
    x, ends = GAP, []
    for side in (0, 1):
        thumb = thumbs[key("m", pair.query, pair.row, side)]
        scale = (PAIR - 26) / max(thumb.width, thumb.height)
        width, height = thumb.width * scale, thumb.height * scale
        extent = (x, x + width, top + 18 + height, top + 18)
        axes.imshow(_pixels(thumb), extent=extent, aspect="auto")
        factor = thumb.factor * scale
        ends.append(pair.points[side][:, ::-1] * factor + (x, top + 18))
        x += width + 8
    for a, b in zip(*ends, strict=True):
        axes.plot([a[0], b[0]], [a[1], b[1]], color="#E69F00", linewidth=0.5, marker="o",
                  markersize=1.2)  # fmt: skip


def _pixels(thumb: Thumbnail) -> Any:
    assert thumb.jpeg is not None
    return np.asarray(Pillow.open(io.BytesIO(thumb.jpeg)))
