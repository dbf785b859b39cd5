"""Pictures of several rows at once: Recall@k, differences per query, mAP against distractors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from bench.records.rows import Run
from bench.records.text import clean
from bench.records.words import metric_label
from bench.report.figures.plot import COLOURS, DASHES, MARKERS, WIDTH, encoded, style, titled

Values = NDArray[np.float64]
K = np.unique([*range(1, 21), 50, *np.geomspace(20, 100, 17).round()]).astype(int)
MARKED = (1, 5, 10, 20, 50, 100)
BETTER, WORSE, EQUAL = COLOURS[0], COLOURS[1], "0.6"


def recall(
    curves: Sequence[tuple[str, Mapping[str, Values]]], names: Sequence[str], dataset: str
) -> dict[str, bytes]:
    """Return Recall@k: per row its label and, by protocol, one value for each K."""
    with style():
        figure, panels = _panels(names, 2.7)
        for axes, name in zip(panels, names, strict=True):
            for index, (label, by_protocol) in enumerate(curves):
                if name in by_protocol:
                    _line(axes, K, by_protocol[name], index, label, "steps-post")
            axes.set_xscale("log")
            shown = [k for k in MARKED if k <= K[-1]]
            axes.set_xticks(shown, [str(k) for k in shown])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("k")
        panels[0].set_ylabel("Recall@k, %: any hit in the first k")
        figure.suptitle(
            clean(f"{dataset}: Recall@k"), x=0.01, ha="left", fontweight="bold", fontsize=9.5
        )
        _legend(figure, panels)
        return encoded(figure)


def differences(
    one: Run, other: Run, values: Mapping[str, tuple[Values, Values]]
) -> dict[str, bytes]:
    """Return the headline metric of `one` minus that of `other`, query by query, sorted.

    `values` gives per protocol the fractions of both, NaN where a query has no score.
    """
    names = list(values)
    with style():
        figure, panels = _panels(names, 2.5)
        heights = [
            _differences(axes, *pair) for axes, pair in zip(panels, values.values(), strict=True)
        ]
        panels[0].set_ylim(
            min(low for low, _ in heights) - 5, max(high for _, high in heights) + 24
        )
        label = metric_label(one.headline)
        panels[0].set_ylabel(clean(f"difference in {label}, points"))
        for axes, name in zip(panels, names, strict=True):
            axes.set_title(clean(name))
        figure.suptitle(
            f"{titled(one)}\nminus {titled(other)}, query by query",
            x=0.01, ha="left", fontweight="bold", fontsize=9.5,
        )  # fmt: skip
        return encoded(figure)


def distractors(
    lines: Sequence[Sequence[Run]], names: Sequence[str], dataset: str
) -> dict[str, bytes]:
    """Return the headline metric against the images searched; a line's runs differ in this only."""
    with style():
        figure, panels = _panels(names, 2.7)
        sizes = sorted({searched(run) for line in lines for run in line})
        for axes, name in zip(panels, names, strict=True):
            for index, line in enumerate(lines):
                have = [run for run in line if run.score(name, run.headline).mean is not None]
                x = [searched(run) for run in have]
                y = np.array([run.score(name, run.headline).mean for run in have], dtype=float)
                _line(axes, x, y, index, titled(line[0]))
                for at, run in zip(x, have, strict=True):
                    if ends := run.score(name, run.headline).interval:
                        colour = COLOURS[index % len(COLOURS)]
                        axes.plot([at, at], [100 * e for e in ends], color=colour, alpha=0.5)
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30, ha="right")
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("images searched")
            axes.set_title(clean(name))
        panels[0].set_ylabel(clean(f"{metric_label(lines[0][0].headline)}, %"))
        figure.suptitle(
            clean(f"{dataset}: with distractors"),
            x=0.01, ha="left", fontweight="bold", fontsize=9.5,
        )  # fmt: skip
        _legend(figure, panels)
        return encoded(figure)


def searched(run: Run) -> int:
    """Return the number of images that are searched: the database and its distractors."""
    return int(run.card["dataset"]["database"]) + int(run.card["distractors"]["count"])


def _panels(names: Sequence[str], height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel per protocol, at most three side by side, on one scale."""
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(WIDTH, 0.9 + height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    flat: list[Axes] = list(grid.flat)
    for spare in flat[len(names) :]:
        spare.remove()
    for axes, name in zip(flat, names, strict=False):
        axes.set_title(clean(name))
        axes.grid(axis="y")
    return figure, flat[: len(names)]


def _line(
    axes: Axes, x: Any, fractions: Values, index: int, label: str, drawstyle: str = "default"
) -> None:
    marked = [i for i, place in enumerate(x) if place in MARKED or len(x) <= 12]
    axes.plot(
        x,
        100 * fractions,
        color=COLOURS[index % len(COLOURS)],
        linestyle=DASHES[index % len(DASHES)],
        marker=MARKERS[index % len(MARKERS)],
        markevery=marked,
        markersize=4.5,
        drawstyle=drawstyle,
        linewidth=1.3,
        label=label.lstrip("_"),
        gid=f"line-{index}",
    )


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Name every line once below all panels, also one that is in some panels only."""
    found: dict[str, Any] = {}
    for axes in panels:
        for handle in axes.get_legend_handles_labels()[0]:
            found.setdefault(str(handle.get_gid()), handle)
    handles = [found[name] for name in sorted(found)]
    longest = max((len(handle.get_label()) for handle in handles), default=0)
    figure.legend(
        handles,
        [handle.get_label() for handle in handles],
        loc="outside lower center",
        ncols=1 if longest > 50 else 2 if longest > 24 else 3,
        frameon=False,
        fontsize=7.5,
        handlelength=3.2,
    )


def _differences(axes: Axes, mine: Values, theirs: Values) -> tuple[float, float]:
    """Draw one panel; return its least and its largest difference, 0 at least between them."""
    difference = 100 * (mine - theirs)
    query = np.flatnonzero(~np.isnan(difference))
    order = query[np.argsort(-difference[query], kind="stable")]
    height = difference[order]
    colours = np.where(height > 0, BETTER, np.where(height < 0, WORSE, EQUAL)).tolist()
    places = np.arange(len(order))
    axes.vlines(places, 0, height, colors=colours, linewidth=max(0.8, min(3.0, 60 / len(order))))
    axes.scatter(places, height, s=9, c=colours, zorder=3)
    axes.axhline(0, color="0.2", linewidth=0.8)
    counts = [int(np.count_nonzero(sign(height, 0))) for sign in (np.greater, np.equal, np.less)]
    axes.text(
        0.98, 0.98,
        f"better {counts[0]}, equal {counts[1]}, worse {counts[2]}\nmean {height.mean():+.2f}",
        transform=axes.transAxes, ha="right", va="top", fontsize=7.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip
    if len(order) <= 20:
        turned = 90 if len(order) > 10 else 0
        names = [str(number) for number in order]
        axes.set_xticks(places, names, fontsize=6.5, rotation=turned)
    else:
        axes.set_xticks([])
    axes.set_xlabel("query (row in the list)" if len(order) <= 20 else "queries, sorted")
    return min(float(height.min()), 0.0), max(float(height.max()), 0.0)
