"""How every picture is drawn, and the first of them: the headline metric with its intervals.

Colours are those of Okabe and Ito, told apart by colour-blind readers; markers and dashes differ as
well, so that a print in grey can be read. Nothing published is drawn.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.records.blocks import WORDS
from bench.records.rows import Run, protocols
from bench.records.text import clean
from bench.records.words import metric_label
from bench.scoring.intervals import LANDMARKS

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)))
SPREAD = 0.56
LONGEST_NAME = 48
WIDTH = 7.2  # inches, the text width of an A4 page
DPI = 150  # of PNG


def draw(runs: Sequence[Run], dataset: str) -> dict[str, bytes]:
    """Return the headline metric of the runs as {"png": …, "svg": …}; equal runs, equal bytes.

    All runs have the same headline metric, and come in the order in which they are drawn, those of
    a card together; the caller sees to that. A line is ruled between cards.
    """
    names = protocols(runs)
    with style():
        figure = Figure(figsize=(WIDTH, 1.3 + _pitch(len(runs)) * len(runs)), layout="constrained")
        axes = figure.add_subplot()
        for index, name in enumerate(names):
            _protocol(axes, runs, name, index, len(names))
        _rows(axes, runs)
        axes.set_xlim(_least(runs, names), 100.8)
        label = metric_label(runs[0].headline)
        axes.set_xlabel(clean(f"{label}, %, with the 95 % interval over {drawn_from(runs)}"))
        axes.set_title(clean(f"{dataset}: measured"), loc="left", fontweight="bold")
        figure.legend(loc="outside lower center", ncols=max(1, min(len(names), 6)), frameon=False)
        return encoded(figure)


def drawn_from(runs: Sequence[Run]) -> str:
    """Return what the intervals of the runs are over: "landmarks" where nothing else is stated."""
    rules = {run.blocks[0] for run in runs if run.blocks is not None and run.blocks[1]}
    return " or ".join(WORDS[rule][0] for rule in sorted(rules or {LANDMARKS}))


def style() -> AbstractContextManager[None]:
    """Fix what would differ from run to run or from reader to reader; "$" in a name is a "$"."""
    return mpl.style.context(["default", _STYLE])


_STYLE = {
    "svg.hashsalt": "report",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.35",
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "grid.color": "0.88",
    "grid.linewidth": 0.6,
    "xtick.color": "0.2",
    "ytick.color": "0.2",
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
}


def encoded(figure: Figure) -> dict[str, bytes]:
    """Return a figure as PNG and SVG, without the date and the name of the program."""
    nothing = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
    made = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it is drawn as a box
        if figure.get_layout_engine() is not None:
            figure.set_dpi(DPI)  # at another one letters are narrower, and room for them is short
            figure.draw_without_rendering()  # both formats have one layout
            figure.set_layout_engine(None)
        for kind, metadata in nothing.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
            made[kind] = buffer.getvalue()
    return made


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """Return a name cut in its middle: what tells variants apart is often at its end.

    >>> shortened("delg.r101-gldv2clean", 12)
    'delg.…2clean'
    """
    line = clean(text, 10 * longest)
    if len(line) <= longest:
        return line
    tail = longest // 2
    return f"{line[: longest - tail - 1]}…{line[-tail:]}"


def titled(run: Run, longest: int = LONGEST_NAME) -> str:
    """Return the name of a run, cut to so many characters, and how its lists were made."""
    return shortened(f"{run.method}.{run.variant}", longest) + run.marked + run.stages


def _pitch(count: int) -> float:
    """Return the height of a row in inches: roomy for few rows, one page for sixty."""
    return min(0.42, max(0.18, 7.0 / max(count, 1)))


def _protocol(axes: Axes, runs: Sequence[Run], name: str, index: int, count: int) -> None:
    """Draw one marker with its interval per run that has this protocol; partial ones are hollow."""
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    shift = SPREAD * ((index + 0.5) / count - 0.5)
    size = 6 if len(runs) <= 25 else 4
    axes.plot([], [], marker, color=colour, label=clean(name).lstrip("_"))
    scores = [(place + shift, run, run.score(name, run.headline)) for place, run in enumerate(runs)]
    wide = [
        (y, *score.interval) for y, _, score in scores if score.mean is not None and score.interval
    ]
    if wide:
        y, low, high = np.array(wide).T
        axes.hlines(y, 100 * low, 100 * high, colors=colour, linewidth=1.2, alpha=0.75)
    for partial, face in ((False, colour), (True, "white")):
        there = [
            (s.mean, y) for y, run, s in scores if s.mean is not None and run.partial == partial
        ]
        if there:
            x, y = np.array(there).T
            axes.plot(100 * x, y, marker, color=colour, markerfacecolor=face, markersize=size)


def _rows(axes: Axes, runs: Sequence[Run]) -> None:
    """Name every row, name every card at its first row, rule a line between cards."""
    axes.set_yticks(range(len(runs)), [titled(run) for run in runs])
    axes.tick_params(axis="y", length=0, labelsize=8.5 if len(runs) <= 35 else 7)
    before = None
    for place, run in enumerate(runs):
        band = (run.partial, run.card_id)
        if band == before:
            continue
        if before is not None:
            axes.axhline(place - 0.5, color="0.7", linewidth=0.7)
        before = band
        axes.text(
            1.01,
            place,
            f"card {run.card8}" + (", partial" if run.partial else ""),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=7,
            color="0.35",
            family="DejaVu Sans Mono",
        )
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.grid(axis="x")


def _least(runs: Sequence[Run], names: Sequence[str]) -> float:
    """Return where the axis begins: a multiple of ten below every interval."""
    scores = [run.score(name, run.headline) for run in runs for name in names]
    ends = [s.interval[0] if s.interval else s.mean for s in scores if s.mean is not None]
    return 10.0 * math.floor(10 * min(ends, default=0.0) - 0.05) if min(ends, default=0) > 0 else 0
