"""Pictures of the whole report: the overviews, and published scores over the years."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from bench.records.text import escape
from bench.report.figures import kept, small_multiples
from bench.report.figures.kept import Job, Picture
from bench.report.figures.small_multiples import Dated
from bench.report.tables.literature import metric_name
from bench.report.tables.main import SHORT
from bench.report.tables.overview import Overview
from bench.report.tables.published import NOT_STATED, PublishedRow

LEAST_POINTS, LEAST_YEARS, MOST_PANELS = 8, 3, 6
BY_YEAR = ("map", "recall@1")  # a picture for each: landmarks, places


def overviews(made: Sequence[Overview]) -> list[Picture]:
    """Return a picture for every overview of several methods on several data sets."""
    return [picture for job in jobs(made) for picture in kept.pictures(job)]


def jobs(made: Sequence[Overview]) -> list[Job]:
    """Return what is to be drawn for `overviews`."""
    out = []
    for number, board in enumerate(made, start=1):
        if len(board.lines) < 2 or len(board.columns) < 2:
            continue
        runs = [run for line in board.lines for run in line.runs if run is not None]
        about = [number, board.metric, board.system, [line.name for line in board.lines],
                 [[column.dataset, column.protocol] for column in board.columns]]  # fmt: skip
        out.append(Job(runs, about, partial(_overview, number, board)))
    return out


def _overview(number: int, first: Overview) -> list[Picture]:
    stem = "overview" if number == 1 else f"overview-{number}"
    most = small_multiples.MOST_METHODS
    caption = (
        f"{escape(first.metric)}, %, of the headline protocol with its 95 % interval, sorted by "
        "mean rank; orange: best of a data set."
        + (f" The first {most} of {len(first.lines)} methods." if len(first.lines) > most else "")
    )
    words = f"{first.metric} of every method on every data set"
    return [Picture(stem, small_multiples.overview(first), words, caption)]


def years(rows: Sequence[PublishedRow]) -> list[Picture]:
    """Return published scores by year, a picture for mAP and for Recall@1 where there are enough.

    Rows that list others' numbers, ablations and sources without a year are left out.
    """
    out = []
    for metric in BY_YEAR:
        panels = _dated(rows, metric)
        if not panels:
            continue
        about = ["years", metric, [[title, points] for title, points in panels.items()]]
        out += kept.pictures(Job([], about, partial(_years, metric, panels)))
    return out


def _years(metric: str, panels: Mapping[str, Sequence[Dated]]) -> list[Picture]:
    name = metric_name(metric)
    stem = f"years-{metric.replace('@', '')}"
    caption = (
        f"{escape(name)}, %, as published, by the year of the source; a line is the best so far. "
        "Filled: one search by global descriptors; hollow: re-ranked lists. Rows of a panel may "
        "differ in crop, size and training set; the pages of the data sets describe each row."
    )
    files = small_multiples.years(panels, f"{name}, %")
    return [Picture(stem, files, f"{name} over the years, as published", caption)]


def _dated(rows: Sequence[PublishedRow], metric: str) -> dict[str, list[Dated]]:
    found: dict[tuple[str, str], list[Dated]] = {}
    for row in rows:
        if not row.printable or row.part != "main" or row.copied or row.source.year is None:
            continue
        again = row.reranking not in ("none", NOT_STATED)
        for (dataset, protocol, of), digits in row.values.items():
            if of == metric:
                point = (row.source.year, float(digits), row.method, again)
                found.setdefault((dataset, protocol), []).append(point)
    enough = {
        key: points
        for key, points in found.items()
        if len(points) >= LEAST_POINTS and len({point[0] for point in points}) >= LEAST_YEARS
    }
    most = sorted(enough, key=lambda key: (-len(enough[key]), key))[:MOST_PANELS]
    return {
        f"{dataset} {SHORT.get(protocol, protocol if protocol != 'all' else '')}".strip():
        sorted(enough[dataset, protocol])
        for dataset, protocol in sorted(most)
    }  # fmt: skip
