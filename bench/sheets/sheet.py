"""The command `sheet`: what a record found, as pictures; a page of HTML, a PNG or a PDF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import datasets
from bench.errors import BenchError
from bench.records import record
from bench.records.rows import load as load_runs
from bench.records.rows import newest
from bench.records.words import gist, metric_label
from bench.scoring import card as cards
from bench.sheets import content, figure, html, thumbnails
from bench.sheets import matches as matching
from bench.sheets.content import Entry, OpenRecord
from bench.sheets.html import Section
from bench.sheets.options import Options
from bench.system.paths import write_bytes
from bench.types import Dataset

SIDE = {".html": 104, ".png": 220, ".pdf": 260}
MATCH_SIDE = 380
MOST = {".html": 1000, ".png": 40, ".pdf": 400}
WORST, UNLABELLED = 5, 24
REPORT_WORST, REPORT_TOP = 3, 8


def make(paths: Sequence[Path], output: Path, options: Options) -> list[str]:
    """Write the sheet of records to `output`; return what could not be shown, in sentences.

    Raises BenchError where a record, its data set or its images are absent.
    """
    if options.against is not None and len(paths) != 1:
        raise BenchError("--against compares two records; give one record before it.")
    _check_suffix(output)
    opened = [content.open_record(path, options.protocol) for path in paths]
    datasets_of = [content.dataset_of(each, options.dataset) for each in opened]
    if len({cards.revision(dataset) for dataset in datasets_of}) > 1:
        raise BenchError("a sheet shows one data set; give records of the same data set.")
    return _write(opened, datasets_of[0], output, options)


def _write(
    opened: Sequence[OpenRecord], dataset: Dataset, output: Path, options: Options
) -> list[str]:
    """Write the sheet of opened records of one data set; return what could not be shown."""
    suffix, notes, sections = _check_suffix(output), [], []
    for each in opened:
        section, fault = _section(each, dataset, options)
        sections.append(section)
        notes += [fault] if fault else []
    shown = sum(len(entries) for section in sections for _, entries in section.groups)
    if shown > MOST[suffix]:
        raise BenchError(
            f"{shown} queries are too many for a {suffix[1:].upper()}, which has room for "
            f"{MOST[suffix]}; select fewer with --queries or --worst."
        )
    thumbs = _thumbnails(sections, dataset, SIDE[suffix], opened[0])
    render = html.render if suffix == ".html" else figure.render
    write_bytes(output, render(dataset.name, sections, thumbs, suffix))
    return notes


def _check_suffix(output: Path) -> str:
    suffix = output.suffix.lower()
    if suffix not in SIDE:
        raise BenchError(f"--output {output}: give a file name that ends in {', '.join(SIDE)}.")
    return suffix


def for_report(results: Path, name: str) -> tuple[Path, list[str]]:
    """Write the sheet of all rows that the report shows of a data set, below `results`.

    It is one file, so that its images are in it once: the worst queries of every row.
    """
    dataset = datasets.load(name)
    shown, _ = newest(load_runs(results)[0])
    chosen = [run for run in shown if run.card["dataset"]["name"] == dataset.name]
    if not chosen:
        raise BenchError(
            f"{results} contains no records of {dataset.name}; run a method on it first."
        )
    order = sorted(chosen, key=lambda run: (run.name, run.card_id, run.file))
    output = results / "sheets" / f"{dataset.name}.html"
    options = Options(dataset=name, worst=REPORT_WORST, top=REPORT_TOP)
    return output, make([results / run.file for run in order], output, options)


def of_run(path: Path, dataset: Dataset, output: Path, options: Options) -> list[str]:
    """Write the sheet of a record to `output`; `dataset` is what was run, with its images."""
    _check_suffix(output)
    opened = content.open_record(path, options.protocol)
    return _write([opened], content.with_images(dataset), output, options)


def of_unlabelled(path: Path, dataset: Dataset, results: Path) -> Path:
    """Write the sheet of a record of photographs without labels; return its path in `results`."""
    document = record.read(path)
    method = document["method"]
    name = f"{method['name']}.{method['variant']}-{cards.short(document['card'])}.html"
    output = results / "sheets" / dataset.name / name
    of_run(path, dataset, output, Options())
    return output


def _section(opened: OpenRecord, dataset: Dataset, options: Options) -> tuple[Section, str]:
    """Return the section of one record, and why its matches are not shown, or nothing."""
    other = None
    if options.against is not None:
        other = content.open_record(options.against, options.protocol)
        content.comparable(opened, other)
    records = [opened] if other is None else [opened, other]
    groups = [
        (heading, [content.entry(dataset, query, records, options.top) for query in queries])
        for heading, queries in _groups(opened, other, options)
    ]
    pairs, fault = [], ""
    if options.matches:
        queries = [entry.query for _, entries in groups for entry in entries]
        try:
            pairs = matching.pairs(
                opened, dataset, queries, options.matches, options.weights, options.device
            )
        except BenchError as error:
            fault = f"matches of {opened.name} are not shown: {str(error).rstrip('.')}."
    section = Section(
        tuple(_about(each) for each in records),
        opened.protocol.name,
        metric_label(opened.document["card"]["metrics"][0]),
        groups,
        pairs,
        fault,
        opened.document["card"]["crop_rule"] == cards.CROPPED,
        opened.labelled,
    )
    return section, fault


def _about(opened: OpenRecord) -> html.About:
    card = opened.document["card"]
    return html.About(opened.name, opened.run_id, cards.short(card), gist(card))


def _groups(
    opened: OpenRecord, other: OpenRecord | None, options: Options
) -> list[tuple[str, Sequence[int]]]:
    """Return which queries are shown, under headings."""
    total = len(opened.values)
    if options.queries is not None:
        wrong = [query for query in options.queries if query >= total]
        if wrong:
            raise BenchError(
                f"--queries {wrong[0]}: {opened.path.name} has {total} queries, numbered 0 to "
                f"{total - 1}."
            )
        return [("", options.queries)]
    if not opened.labelled:
        return [("", content.spread(total, options.worst or UNLABELLED))]
    count = options.worst or WORST
    if other is None:
        return [("worst queries, the worst first", content.worst(opened, count))]
    wins, losses = content.extremes(opened, other, count)
    return [
        (f"where {opened.name} gains most over {other.name}", wins),
        (f"where {opened.name} loses most to {other.name}", losses),
    ]


def _thumbnails(
    sections: Sequence[Section], dataset: Dataset, longest: int, opened: OpenRecord
) -> html.Thumbnails:
    """Return a small copy of every image that a sheet shows, each once."""
    preprocess = opened.document["card"]["preprocess"] or {}
    orientation = preprocess.get("orientation", "ignore")
    made: html.Thumbnails = {}
    for section in sections:
        for _, entries in section.groups:
            for entry in entries:
                _add(made, entry, dataset, longest, orientation)
    for section in sections:
        for pair in section.pairs:
            for side, pixels in enumerate(pair.images):
                key = html.key("m", pair.query, pair.row, side)
                made[key] = thumbnails.of_pixels(pixels, MATCH_SIDE)
    return made


def _add(
    made: html.Thumbnails, entry: Entry, dataset: Dataset, side: int, orientation: str
) -> None:
    wanted = {html.key("q", entry.query): entry.image}
    for line in entry.lines:
        wanted |= {
            html.key("d", tile.row): replace(tile.image, box=None)
            for tile in line.tiles
            if tile.image is not None
        }
    for key, image in wanted.items():
        if key not in made:
            made[key] = thumbnails.make(dataset.folder, image, orientation, side)
