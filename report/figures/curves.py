"""Pictures of several rows at once: Recall@k, differences per query, mAP against distractors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from bench.records.rows import Run
from bench.records.text import clean
from bench.records.words import metric_label
from bench.report.figures.labels import spread
from bench.report.figures.plot import (
    COLOURS,
    COLUMN,
    DASHES,
    MARKERS,
    SIZE,
    encoded,
    named,
    settle,
    style,
    titled,
    width_for,
)

Values = NDArray[np.float64]
# The names of a line, its places and fractions, and the intervals of some.
Line = tuple[Sequence[str], Any, Values, Sequence[tuple[float, float] | None]]
K = np.unique([*range(1, 21), 50, *np.geomspace(20, 100, 17).round()]).astype(int)
MARKED = (1, 5, 10, 20, 50, 100)
FULL = 0.995  # Recall@k from which nothing more is to be seen
BETTER, WORSE, EQUAL = COLOURS[0], COLOURS[1], "0.6"


def recall(curves: Sequence[tuple[str, Values]], protocol: str) -> dict[str, bytes]:
    """Return Recall@k of one protocol: per row its label, and one fraction for each K.

    Rows with the same values are one line. The axis ends where every line is at its top.
    """
    last = next((k for k in MARKED[2:] if all(of[k >= K][-1] >= FULL for _, of in curves)), K[-1])
    merged: dict[bytes, list[str]] = {}
    for label, of in curves:
        merged.setdefault(of[last >= K].tobytes(), []).append(label)
    lines: list[Line] = [
        (names, K[last >= K], np.frombuffer(of), ()) for of, names in merged.items()
    ]
    with style():
        figure = Figure(figsize=(width_for([n for n, _ in curves]), 2.3), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        shown = [k for k in MARKED if k <= last]
        axes.set_xticks(shown, [str(k) for k in shown])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("k")
        axes.set_ylabel(clean(f"{_of(protocol)}Recall@k, %"))
        _lines(figure, axes, lines, "steps-post")
        return encoded(figure)


def differences(
    best: Run, other: Run, protocol: str, mine: Values, theirs: Values
) -> dict[str, bytes]:
    """Return the headline metric of `best` minus that of `other`, query by query, sorted.

    `mine` and `theirs` are the fractions of both, NaN where a query has no score.
    """
    with style():
        figure = Figure(figsize=(COLUMN, 1.9), layout="constrained")
        axes = figure.add_subplot()
        low, high = _differences(axes, mine, theirs)
        axes.set_ylim(low - 5, high + 5)
        axes.grid(axis="y")
        label = metric_label(best.headline)
        axes.set_ylabel(clean(f"{_of(protocol)}{label}, difference, points"))
        first, second = named([best, other])
        axes.set_title(f"{first}\nminus {second}")
        return encoded(figure)


def distractors(lines: Sequence[Sequence[Run]], protocol: str) -> dict[str, bytes]:
    """Return the headline metric against the images searched; a line's runs differ in this only."""
    drawn: list[Line] = []
    for line in lines:
        have = [run for run in line if run.score(protocol, run.headline).mean is not None]
        scores = [run.score(protocol, run.headline) for run in have]
        means = np.array([score.mean for score in scores], dtype=np.float64)
        ends = [score.interval for score in scores]
        drawn.append(([titled(line[0], 22)], [searched(run) for run in have], means, ends))
    with style():
        names = [name for names, _, _, _ in drawn for name in names]
        figure = Figure(figsize=(width_for(names), 2.3), layout="constrained")
        axes = figure.add_subplot()
        sizes = sorted({searched(run) for line in lines for run in line})
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("images searched")
        label = metric_label(lines[0][0].headline)
        axes.set_ylabel(clean(f"{_of(protocol)}{label}, %"))
        _lines(figure, axes, drawn)
        return encoded(figure)


def searched(run: Run) -> int:
    """Return the number of images that are searched: the database and its distractors."""
    return int(run.card["dataset"]["database"]) + int(run.card["distractors"]["count"])


def _of(protocol: str) -> str:
    return "" if protocol == "all" else f"{protocol}: "


def _lines(figure: Figure, axes: Axes, lines: Sequence[Line], drawstyle: str = "default") -> None:
    """Draw lines with markers, intervals where there are any, and their names at the left.

    A line that several rows share has the names of all.
    """
    for index, (_, x, fractions, ends) in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        marked = [i for i, place in enumerate(x) if place in MARKED or len(x) <= 12]
        axes.plot(
            x, 100 * fractions, color=colour, linestyle=DASHES[index % len(DASHES)],
            marker=MARKERS[index % len(MARKERS)], markevery=marked, markersize=3,
            drawstyle=drawstyle, linewidth=1.0, clip_on=False, gid=f"line-{index}",
        )  # fmt: skip
        for at, interval in zip(x, ends, strict=False):
            if interval is not None:
                axes.vlines(at, 100 * interval[0], 100 * interval[1], colors=colour, alpha=0.4,
                            linewidth=0.9)  # fmt: skip
    axes.margins(x=0.02, y=0.05)
    axes.grid(axis="y")
    low, high = axes.get_ylim()
    axes.set_ylim(low, min(high, 100.5))
    axes.autoscale(False)
    height = figure.get_figheight() - 0.45  # inches of the axis, about
    gap = 1.25 * SIZE / 72 / height * (axes.get_ylim()[1] - low)
    labels = [
        (float(100 * fractions[~np.isnan(fractions)][0]), name, COLOURS[index % len(COLOURS)])
        for index, (names, _, fractions, _) in enumerate(lines)
        for name in names
    ]
    where = spread([start for start, _, _ in labels], gap)
    over = max(0.0, max(where, default=0.0) - axes.get_ylim()[1])
    before = axes.get_yaxis_transform()
    for (start, name, colour), at in zip(labels, where, strict=True):
        axes.plot((0, -0.07), (start, at - over), color="0.75", linewidth=0.5, transform=before,
                  clip_on=False)  # fmt: skip
        axes.text(-0.09, at - over, name, color=colour, ha="right", va="center_baseline",
                  transform=before)  # fmt: skip
    axes.yaxis.set_ticks_position("right")
    axes.yaxis.set_label_position("right")
    axes.spines["left"].set_visible(False)
    axes.spines["right"].set_visible(True)
    settle(figure)


def _differences(axes: Axes, mine: Values, theirs: Values) -> tuple[float, float]:
    """Draw the differences; return the least and the largest, 0 at least between them."""
    difference = 100 * (mine - theirs)
    query = np.flatnonzero(~np.isnan(difference))
    order = query[np.argsort(-difference[query], kind="stable")]
    height = difference[order]
    colours = np.where(height > 0, BETTER, np.where(height < 0, WORSE, EQUAL)).tolist()
    places = np.arange(len(order))
    axes.vlines(places, 0, height, colors=colours, linewidth=max(0.6, min(2.5, 60 / len(order))))
    axes.scatter(places, height, s=5, c=colours, zorder=3)
    axes.axhline(0, color="0.2", linewidth=0.6)
    counts = [int(np.count_nonzero(sign(height, 0))) for sign in (np.greater, np.equal, np.less)]
    axes.text(
        0.99, 0.98,
        f"better {counts[0]}, equal {counts[1]}, worse {counts[2]}\nmean {height.mean():+.2f}",
        transform=axes.transAxes, ha="right", va="top",
    )  # fmt: skip
    if len(order) <= 20:
        axes.set_xticks(places, [str(number) for number in order])
    else:
        axes.set_xticks([])
    axes.set_xlabel("query (row in the list)" if len(order) <= 20 else "queries, sorted")
    return min(float(height.min()), 0.0), max(float(height.max()), 0.0)
