"""One figure per dataset: the headline metric per protocol and method, with its 95 % interval.

Colours are those of Okabe and Ito, told apart by colour-blind readers; the protocols also have
markers of their own, so that a print in grey can be read. Nothing published is drawn.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager

import matplotlib as mpl
import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .cards import metric_label
from .markdown import clean
from .runs import Run, protocols

COLOURS = ("#009E73", "#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
SPREAD = 0.5
LONGEST_NAME = 60


def draw(runs: Sequence[Run], dataset: str) -> dict[str, bytes]:
    """Return the figure of one dataset as {"png": …, "svg": …}; equal runs give equal bytes.

    All runs have the same headline metric; the caller sees to that. Each card has a band of its
    own, with the complete runs of all cards above the partial ones.
    """
    names = protocols(runs)
    order = sorted(runs, key=lambda run: (run.partial, run.card_sha256, run.name, run.file))
    with mpl.style.context("default"), _settings():
        figure = Figure(figsize=(8.0, 1.5 + 0.55 * len(order)), layout="constrained")
        axes = figure.add_subplot()
        for index, name in enumerate(names):
            _protocol(axes, order, name, index, len(names))
        _rows(axes, order)
        label = metric_label(order[0].headline)
        axes.set_xlabel(clean(f"{label}, %, with the 95 % interval over landmarks"))
        axes.set_title(clean(f"{dataset}: measured, by protocol card"))
        figure.legend(loc="outside lower center", ncols=max(1, min(len(names), 6)), frameon=False)
        return {kind: _bytes(figure, kind) for kind in ("png", "svg")}


def _settings() -> AbstractContextManager[None]:
    """Fix what would differ from run to run or from reader to reader; "$" in a name is a "$"."""
    return mpl.rc_context(
        {
            "svg.hashsalt": "report",
            "font.family": "DejaVu Sans",
            "font.size": 9.0,
            "text.parse_math": False,
        }
    )


def _protocol(axes: Axes, runs: Sequence[Run], name: str, index: int, count: int) -> None:
    """Draw one marker with its interval per run that has this protocol; partial ones are hollow."""
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    shift = SPREAD * ((index + 0.5) / count - 0.5)
    axes.plot([], [], marker, color=colour, label=clean(name).lstrip("_"))
    for place, run in enumerate(runs):
        score = run.score(name, run.headline)
        if score.mean is None:
            continue
        if score.interval is not None:
            ends = [100 * end for end in score.interval]
            axes.plot(ends, [place + shift] * 2, "-|", color=colour, linewidth=1.4)
        axes.plot(
            100 * score.mean,
            place + shift,
            marker,
            color=colour,
            markerfacecolor="white" if run.partial else colour,
            markersize=6,
        )


def _rows(axes: Axes, runs: Sequence[Run]) -> None:
    """Name every row with its card, rule a line between cards, and fix both axes."""
    labels = [f"{run.short_name(LONGEST_NAME)}\ncard {run.card8}" for run in runs]
    axes.set_yticks(range(len(runs)), labels)
    for place in range(1, len(runs)):
        above, below = runs[place - 1], runs[place]
        if (above.partial, above.card_sha256) != (below.partial, below.card_sha256):
            axes.axhline(place - 0.5, color="0.6", linewidth=0.8)
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.grid(axis="x", color="0.88", linewidth=0.6)
    axes.set_axisbelow(True)


def _bytes(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    nothing = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}[kind]
    figure.savefig(buffer, format=kind, dpi=150, metadata=nothing)
    return buffer.getvalue()
