"""Small multiples over data sets: the scores of an overview, and published scores by year."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.records.text import clean
from bench.report.figures.labels import ABOVE, beside
from bench.report.figures.plot import (
    COLOURS,
    SIZE,
    WIDTH,
    encoded,
    settle,
    shortened,
    style,
)
from bench.report.tables.main import SHORT
from bench.report.tables.overview import Overview, mean_of

ACROSS = 5  # panels beside each other
MOST_METHODS = 30
YEARS_ACROSS = 2
# Year, score in percent, name of the method, whether lists were re-ranked.
Dated = tuple[int, float, str, bool]


def overview(first: Overview) -> dict[str, bytes]:
    """Return a panel per data set: the score of every method with its interval, best rank first."""
    lines = first.lines[:MOST_METHODS]
    rows = -(-len(first.columns) // ACROSS)
    across = min(ACROSS, len(first.columns))
    with style():
        height = rows * (0.42 + 0.13 * len(lines))
        width = min(WIDTH, 1.6 + 1.15 * across)
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(rows, across, sharey=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(first.columns):
                axes.set_visible(False)
                continue
            _column(axes, first, place)
        names = [shortened(line.name, 28) for line in lines]
        for row in grid:
            row[0].set_yticks(range(len(lines)), names)
            row[0].set_ylim(len(lines) - 0.5, -0.5)
        figure.supxlabel(clean(f"{first.metric}, %"), fontsize=SIZE)
        return encoded(figure)


def _column(axes: Axes, first: Overview, place: int) -> None:
    column = first.columns[place]
    best = max((mean_of(line.runs[place], column) for line in first.lines
                if line.runs[place] is not None), default=0.0)  # fmt: skip
    means: dict[str, list[tuple[float, int]]] = {COLOURS[0]: [], COLOURS[1]: []}
    ends: dict[str, list[tuple[int, float, float]]] = {COLOURS[0]: [], COLOURS[1]: []}
    for at, line in enumerate(first.lines[:MOST_METHODS]):
        run = line.runs[place]
        if run is None:
            continue
        score = run.score(column.protocol, column.metric)
        colour = COLOURS[1] if score.mean == best else COLOURS[0]
        means[colour].append((100 * float(score.mean or 0), at))
        if score.interval is not None:
            ends[colour].append((at, 100 * score.interval[0], 100 * score.interval[1]))
    for colour, points in means.items():  # all of a colour at once: a call for each is slow
        if ends[colour]:
            y, low, high = np.array(ends[colour]).T
            axes.hlines(y, low, high, colors=colour, linewidth=0.9, alpha=0.75)
        if points:
            axes.plot(*np.array(points).T, "o", color=colour, markersize=2.8, clip_on=False)
    short = SHORT.get(column.protocol, "")
    axes.set_title(clean(f"{shortened(column.dataset, 20)} {short}".strip()))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlim(right=min(100.0, axes.get_xlim()[1]))
    axes.grid()


def years(panels: Mapping[str, Sequence[Dated]], unit: str) -> dict[str, bytes]:
    """Return a panel per title: published scores by year, the best so far as a line, named.

    Scores are percentages; hollow points are of lists that were re-ranked, apart from the line.
    """
    rows = -(-len(panels) // YEARS_ACROSS)
    with style():
        figure = Figure(figsize=(WIDTH, 2.1 * rows), layout="constrained")
        grid = figure.subplots(rows, YEARS_ACROSS, squeeze=False)
        named = []
        for axes, (title, points) in zip(grid.flat, panels.items(), strict=False):
            named.append((axes, _years(axes, points)))
            axes.set_title(clean(title))
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        figure.supylabel(clean(unit), fontsize=SIZE)
        settle(figure)
        for axes, names in named:
            beside(axes, names, SIZE, ABOVE)
        return encoded(figure)


def _years(axes: Axes, points: Sequence[Dated]) -> list[tuple[float, float, str, str]]:
    """Draw the points of a panel; return those that were best when published, to be named."""
    named = []
    for again, face in ((False, COLOURS[0]), (True, "white")):
        colour = COLOURS[1] if again else COLOURS[0]
        best = {year: max(p for p in points if p[0] == year and p[3] == again)
                for year in sorted({p[0] for p in points if p[3] == again})}  # fmt: skip
        of = [p for p in points if p[3] == again]
        axes.plot([p[0] for p in of], [p[1] for p in of], "o" if not again else "s", color=colour,
                  markerfacecolor=face, markersize=2.8, markeredgewidth=0.7,
                  alpha=0.8)  # fmt: skip
        top = list(accumulate((p[1] for p in best.values()), max))
        axes.step(list(best), top, where="post", color=colour, linewidth=0.8,
                  linestyle="--" if again else "-")  # fmt: skip
        named += [
            (year, p[1], shortened(p[2], 24), colour)
            for (year, p), high in zip(best.items(), top, strict=True)
            if p[1] == high
        ]
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.12, y=0.1)
    axes.grid()
    return sorted(named, key=lambda p: -p[1])
