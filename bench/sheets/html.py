"""A sheet as one page of HTML: every thumbnail is in it once, nothing is asked for from outside."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import PurePosixPath

from bench.records.text import clean
from bench.sheets.content import Entry, Line, Tile
from bench.sheets.matches import Pair
from bench.sheets.thumbnails import Thumbnail
from bench.types import Image

Thumbnails = dict[str, Thumbnail]
LETTERS = {"positive": "P", "ignored": "I", "negative": "N"}
MOST_PLACES = 12

STYLE = """
:root { --paper: #fdfcfa; --ink: #1c1b19; --quiet: #66635c; --line: #dedad2; --grey: #d9d6d0; --p: #00805e; --i: #77736b; --n: #c24e00; --q: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --paper: #161614; --ink: #ebe8e1; --quiet: #a39f96; --line: #35332f; --grey: #3b3935; --p: #2cc79b; --i: #a39f96; --n: #ff8a3c; --q: #4ba3dc; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 82rem; padding: 1.4rem clamp(0.8rem, 2.5vw, 2.4rem) 3rem; background: var(--paper); color: var(--ink); font: 0.9375rem/1.4 system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.125rem; margin: 2.2rem 0 .2rem; } h3 { font-size: .9375rem; margin: 1.2rem 0 .3rem; }
p { margin: 0 0 .4rem; max-width: 80ch; } a { color: var(--q); } small, .quiet { color: var(--quiet); font-size: .8125rem; }
code { font: .86em ui-monospace, "DejaVu Sans Mono", monospace; }
ul.key { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; padding: 0; margin: .5rem 0; }
.query { border-top: 1px solid var(--line); padding: .6rem 0; break-inside: avoid; }
.head { margin: 0 0 .35rem; max-width: none; }
.list { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start; margin: 0 0 .4rem; }
figure { margin: 0; width: 7.2rem; }
.frame { position: relative; width: fit-content; max-width: 100%; }
.frame > svg { max-width: 100%; max-height: 6.9rem; width: auto; height: auto; display: block; }
.P svg { outline: 4px solid var(--p); outline-offset: -1px; } .I svg { outline: 3px dashed var(--i); outline-offset: -1px; }
.N svg { outline: 4px dotted var(--n); outline-offset: -1px; } .Q svg { outline: 1px solid var(--q); }
.badge { position: absolute; left: 0; top: 0; min-width: 1.15rem; padding: 0 .2rem; color: var(--paper); font: 700 .75rem/1.15rem ui-monospace, monospace; text-align: center; }
.P .badge { background: var(--p); } .I .badge { background: var(--i); } .N .badge { background: var(--n); } .Q .badge { background: var(--q); }
figcaption { font-size: .75rem; line-height: 1.25; color: var(--quiet); margin-top: .15rem; } figcaption b { color: var(--ink); }
figcaption span { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.key .badge { position: static; display: inline-block; margin-right: .4rem; }
.gone { fill: var(--grey); } .gone + text { fill: var(--ink); font-size: 11px; text-anchor: middle; }
.box { fill: none; vector-effect: non-scaling-stroke; } .box.under { stroke: #fff; stroke-width: 4; } .box.over { stroke: #0072b2; stroke-width: 2; stroke-dasharray: 6 3; }
.pair { max-width: 100%; height: auto; display: block; margin: .3rem 0; } .pair line { stroke: #e69f00; stroke-width: 1; } .pair circle { fill: #e69f00; }
.store { position: absolute; width: 0; height: 0; }
@media (max-width: 40rem) { figure { width: 6rem; } }
@media print { body { max-width: none; padding: 0; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""  # noqa: E501


@dataclass(frozen=True)
class About:
    """A record in words: method.variant, run id, first digits of its card, what the card says."""

    name: str
    run_id: str
    card8: str
    gist: str


@dataclass(frozen=True, eq=False)
class Section:
    """The part of a sheet that one record has, or two side by side.

    `groups` are entries under a heading; `cropped` says that the method saw the box of a query
    alone; `fault` says why matches that were asked for are not here.
    """

    about: tuple[About, ...]
    protocol: str
    metric: str
    groups: Sequence[tuple[str, Sequence[Entry]]]
    pairs: Sequence[Pair]
    fault: str
    cropped: bool


def key(*parts: object) -> str:
    """Return the name of a thumbnail: q3 for a query, d17 for a row of the database."""
    return "-".join(map(str, parts))


def words(section: Section) -> str:
    """Return what a section is of, on one line."""
    return " against ".join(f"{about.name} (card {about.card8})" for about in section.about)


def facts(section: Section, entry: Entry, line: Line) -> str:
    """Return what is said of a query above its list."""
    who = f"{line.run}: " if len(entry.lines) > 1 else ""
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
    title = f"Sheet of {dataset}"
    body = [f"<h1>{_text(title)}</h1>", _legend(sections)]
    if len(sections) > 1:
        links = [
            f'<li><a href="#run-{_text(s.about[0].run_id)}">{_text(words(s))}</a></li>'
            for s in sections
        ]
        body.append(f"<ul>{''.join(links)}</ul>")
    body += [_section(section, thumbs) for section in sections]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'\">\n"
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{_store(thumbs)}\n" + "\n".join(body) + "\n</body>\n</html>\n"
    ).encode()


def _legend(sections: Sequence[Section]) -> str:
    kinds = {
        "P": "positive: solid frame",
        "I": "ignored: dashed frame, taken out before places are counted",
        "N": "negative: dotted frame",
    }
    items = "".join(
        f'<li><span class="{letter}"><span class="badge">{letter}</span></span>{text}</li>'
        for letter, text in kinds.items()
    )
    box = "The dashed box of a query is what the method saw of it."
    if not all(section.cropped for section in sections):
        box = "A dashed box of a query is its label; some cards here show the whole image."
    return (
        f'<ul class="key quiet">{items}</ul><p class="quiet">Below an image: its place in the list '
        "and its score (inliers, where it was re-ranked). Places of positives are counted from 1 "
        f"without ignored images. {box}</p>"
    )


def _section(section: Section, thumbs: Mapping[str, Thumbnail]) -> str:
    first = section.about[0]
    out = [f'<section id="run-{_text(first.run_id)}">', f"<h2>{_text(words(section))}</h2>"]
    for about in section.about:
        out.append(
            f'<p class="quiet">Protocol {_text(section.protocol)}; {_text(about.gist)}; run '
            f"<code>{_text(about.run_id)}</code></p>"
        )
    if section.fault:
        out.append(f'<p class="quiet">{_text(section.fault)}</p>')
    for heading, entries in section.groups:
        out.append(f"<h3>{_text(heading)}</h3>" if heading else "")
        if not entries:
            out.append('<p class="quiet">no query</p>')
        for entry in entries:
            out.append(_entry(section, entry, thumbs))
    return "\n".join([*out, "</section>"])


def _entry(section: Section, entry: Entry, thumbs: Mapping[str, Thumbnail]) -> str:
    out = ['<div class="query">']
    for number, line in enumerate(entry.lines):
        lead = f"<b>query {entry.query}</b> · " if number == 0 else ""
        out.append(f'<p class="head">{lead}{_text(facts(section, entry, line))}</p>')
        tiles = [_query(entry, thumbs) if number == 0 else "<figure></figure>"]
        tiles += [_tile(tile, thumbs) for tile in line.tiles]
        out.append(f'<div class="list">{"".join(tiles)}</div>')
    out += [_pair(pair, thumbs) for pair in section.pairs if pair.query == entry.query]
    return "\n".join([*out, "</div>"])


def _query(entry: Entry, thumbs: Mapping[str, Thumbnail]) -> str:
    name = key("q", entry.query)
    thumb, box = thumbs[name], ""
    if entry.image.box is not None and thumb.jpeg is not None:
        left, top, right, bottom = (round(side * thumb.factor, 1) for side in entry.image.box)
        place = f'x="{left}" y="{top}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
        box = "".join(f'<rect class="box {kind}" {place}/>' for kind in ("under", "over"))
    return _figure("Q", "query", name, thumb, entry.image, f"query {entry.query}", box)


def _tile(tile: Tile, thumbs: Mapping[str, Thumbnail]) -> str:
    name = key("d", tile.row)
    inliers = "" if tile.inliers is None else f" ({tile.inliers})"
    under = f"{tile.place} · {tile.score:.4f}{inliers}"
    letter = LETTERS[tile.kind]
    if tile.image is None:
        nothing = Thumbnail(None, 104, 78, 0.0, "distractor")
        image = Image(str(tile.row), f"row {tile.row}")
        return _figure(letter, tile.kind, name, nothing, image, under, "")
    return _figure(letter, tile.kind, name, thumbs[name], tile.image, under, "")


def _figure(
    letter: str, kind: str, name: str, thumb: Thumbnail, image: Image, under: str, box: str
) -> str:
    file = _text(PurePosixPath(image.file).name)
    inside = f'<use href="#{name}"/>{box}'
    if thumb.jpeg is None:
        inside = (
            f'<rect class="gone" width="{thumb.width}" height="{thumb.height}"/>'
            f'<text x="{thumb.width / 2:g}" y="{thumb.height / 2 + 4:g}">'
            f"{_text(thumb.fault)}</text>"
        )
    bold, _, rest = under.partition(" · ")
    told = f"<b>{_text(bold)}</b>" + (f" · {_text(rest)}" if rest else "")
    label = _text(f"{kind}, {under}, {clean(image.file)}")
    return (
        f'<figure><div class="frame {letter}"><svg viewBox="0 0 {thumb.width} {thumb.height}" '
        f'width="{thumb.width}" height="{thumb.height}" role="img" aria-label="{label}">{inside}'
        f'</svg><span class="badge">{letter}</span></div><figcaption>{told}'
        f'<span title="{_text(image.file)}">{file}</span></figcaption></figure>'
    )


def _pair(pair: Pair, thumbs: Mapping[str, Thumbnail]) -> str:
    """Draw both images side by side and a line for every inlier."""
    names = [key("m", pair.query, pair.row, side) for side in (0, 1)]
    left, right = (thumbs[name] for name in names)
    shift = left.width + 8
    lines = []
    for (y0, x0), (y1, x1) in zip(*(each.tolist() for each in pair.points), strict=True):
        a, b = (x0 * left.factor, y0 * left.factor), (x1 * right.factor + shift, y1 * right.factor)
        lines.append(f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>' for x, y in (a, b)]
    width, height = shift + right.width, max(left.height, right.height)
    found = len(pair.points[0])
    differs = "" if found == pair.stored else f", {pair.stored} in the record"
    return (
        f'<p class="head quiet">matches with row {pair.row}: {found} inliers{differs}</p>'
        f'<svg class="pair" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{found} inliers between query {pair.query} and row {pair.row}">'
        f'<use href="#{names[0]}"/><use href="#{names[1]}" x="{shift}"/>{"".join(lines)}</svg>'
    )


def _store(thumbs: Mapping[str, Thumbnail]) -> str:
    """Return the images, each once; they are shown by reference."""
    kept = [
        f'<image id="{name}" width="{thumb.width}" height="{thumb.height}" href="data:image/jpeg;'
        f'base64,{base64.b64encode(thumb.jpeg).decode("ascii")}"/>'
        for name, thumb in sorted(thumbs.items())
        if thumb.jpeg is not None
    ]
    return '<svg class="store" aria-hidden="true"><defs>' + "\n".join(kept) + "</defs></svg>"


def _text(text: object) -> str:
    return escape(clean(text), quote=True)
