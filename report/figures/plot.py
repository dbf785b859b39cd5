"""How every picture is drawn, and the first of them: the headline metric with its intervals.

A picture is for print as it is: text of 7 points in one column (3.3 inches) or across the page (7
inches), as PNG, SVG and PDF; in the last two, letters are text. Colours are those of Okabe and Ito,
told apart by colour-blind readers; markers and dashes differ as well, so that a print in grey can
be read.
"""

from __future__ import annotations

import io
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from bench.records.blocks import WORDS
from bench.records.rows import Run, protocols
from bench.records.text import clean
from bench.records.words import metric_label
from bench.report.tables.main import headings
from bench.report.tables.markdown import pixels
from bench.scoring.intervals import LANDMARKS

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B87B00", "#2E8BC0", "#555555", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)))
SPREAD = 0.56
LONGEST_NAME, LEAST_NAME, MOST_AFTER = 34, 12, 28
MOST_WORDS = 56  # letters of a heading, across a column
MOST_IN_COLUMN = 40  # letters of a name, so that a column has room for points
COLUMN, WIDTH = 3.3, 7.0  # inches: a column of a paper, and its page
SIZE = 7  # points, of all text
DPI = 150  # of PNG
FORMATS = ("png", "svg", "pdf")


def draw(runs: Sequence[Run]) -> dict[str, bytes]:
    """Return the headline metric of the runs as {"png": …, …}; equal runs, equal bytes.

    All runs have the same headline metric, and come in the order in which they are drawn, those
    that may be compared together; the caller sees to that. Each group has its rules above it.
    """
    names = protocols(runs)
    places, heads = _places(runs)
    rows = places[-1] + 1
    labels = named(runs)
    size = (width_for(labels), 0.62 + _pitch(rows, len(names)) * rows)
    with style():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        for index, name in enumerate(names):
            _protocol(axes, runs, places, name, index, len(names))
        axes.set_yticks(places, labels)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set_xlim(_least(runs, names), 100)
        edge = blended_transform_factory(figure.transFigure, axes.transData)
        for place, words in heads:
            text = axes.text(0.01, place, words, transform=edge, va="center", color="0.35")
            text.set(fontstyle="italic", in_layout=False)  # it may stand over names and points
        label = metric_label(runs[0].headline)
        words = clean(f"{label}, %, with the 95 % interval over {drawn_from(runs)}")
        figure.supxlabel(words, fontsize=SIZE)
        if len(names) > 1 or names[:1] not in ([], ["all"]):
            ncols = max(1, min(len(names), 4))
            figure.legend(loc="outside upper right", ncols=ncols, frameon=False)
        return encoded(figure)


def width_for(names: Sequence[str]) -> float:
    """Return the width in inches of a picture that names its rows at the left: a column, or all."""
    return COLUMN if max(map(len, names), default=0) <= MOST_IN_COLUMN else WIDTH


def drawn_from(runs: Sequence[Run]) -> str:
    """Return what the intervals of the runs are over: "landmarks" where nothing else is stated."""
    rules = {run.blocks[0] for run in runs if run.blocks is not None and run.blocks[1]}
    return " or ".join(WORDS[rule][0] for rule in sorted(rules or {LANDMARKS}))


def style() -> AbstractContextManager[None]:
    """Fix what would differ from run to run or from reader to reader; "$" in a name is a "$"."""
    return mpl.style.context(["default", _STYLE])


_STYLE = {
    "svg.hashsalt": "report",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.family": "DejaVu Sans",
    "font.size": SIZE,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.35",
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": SIZE,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.03,
    "grid.color": "0.88",
    "grid.linewidth": 0.5,
    "xtick.color": "0.2",
    "ytick.color": "0.2",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "legend.fontsize": SIZE,
    "legend.borderpad": 0.2,
    "legend.borderaxespad": 0.2,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.3,
    "hatch.linewidth": 0.5,
}


def settle(figure: Figure) -> None:
    """Lay out a figure, at the resolution at which it is drawn, and keep the layout."""
    engine = figure.get_layout_engine()
    if engine is not None:
        figure.set_dpi(DPI)  # at another one letters are narrower, and room for them is short
        engine.execute(figure)
        figure.set_layout_engine(None)


def encoded(figure: Figure) -> dict[str, bytes]:
    """Return a figure as PNG, SVG and PDF, without the date and the name of the program."""
    nothing = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None},
               "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}  # fmt: skip
    made = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it is drawn as a box
        settle(figure)
        for kind in FORMATS:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=nothing[kind])
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


def titled(run: Run, longest: int = LONGEST_NAME, more: str = "") -> str:
    """Return the name of a run, its marks, how its lists were made, and more that tells it apart.

    The name is cut so that all has `longest` characters where it can; marks are never cut.
    """
    after = run.marked + shortened(run.stages + more, MOST_AFTER)
    room = max(LEAST_NAME, longest - len(after))
    return shortened(f"{run.method}.{run.variant}", room) + after


def _card(run: Run) -> str:
    return f"card {run.card8}"


def _run(run: Run) -> str:
    return run.run_id[-6:]


TELLING = (pixels, _card, _run)  # what tells rows of one name apart, in this order


def named(runs: Sequence[Run], longest: int = LONGEST_NAME) -> list[str]:
    """Return the titles of the runs, with pixels, and then the card, where others are the same."""
    names = [titled(run, longest) for run in runs]
    for more in TELLING:
        counts = Counter(names)
        names = [titled(run, longest, f", {more(run)}") if counts[name] > 1 else name
                 for name, run in zip(names, runs, strict=True)]  # fmt: skip
    return names


def _places(runs: Sequence[Run]) -> tuple[list[int], list[tuple[int, str]]]:
    """Return the place of every row from the top, and place and rules of every group of several."""
    groups: list[list[Run]] = []
    before = None
    for run in runs:
        key = (run.partial, run.protocol_key)
        if key != before:
            groups.append([])
        groups[-1].append(run)
        before = key
    if len(groups) < 2:
        return list(range(len(runs))), []
    places: list[int] = []
    heads: list[tuple[int, str]] = []
    at = 0
    for members, words in zip(groups, headings(groups), strict=True):
        heads.append((at, shortened(words, MOST_WORDS)))
        places += range(at + 1, at + 1 + len(members))
        at += 1 + len(members)
    return places, heads


def _pitch(count: int, protocols: int) -> float:
    """Return the height of a row in inches: roomy for few rows, one page for sixty."""
    return min(0.15 + 0.03 * protocols, max(0.13, 7.5 / max(count, 1)))


def _protocol(
    axes: Axes, runs: Sequence[Run], places: Sequence[int], name: str, index: int, count: int
) -> None:
    """Draw one marker with its interval per run that has this protocol; partial ones are hollow."""
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    shift = SPREAD * ((index + 0.5) / count - 0.5)
    size = 3.6 if len(runs) <= 25 else 2.8
    axes.plot([], [], marker, color=colour, markersize=size, label=clean(name).lstrip("_"))
    scores = [(place + shift, run, run.score(name, run.headline))
              for place, run in zip(places, runs, strict=True)]  # fmt: skip
    wide = [
        (y, *score.interval) for y, _, score in scores if score.mean is not None and score.interval
    ]
    if wide:
        y, low, high = np.array(wide).T
        axes.hlines(y, 100 * low, 100 * high, colors=colour, linewidth=0.9, alpha=0.75)
    for partial, face in ((False, colour), (True, "white")):
        there = [
            (s.mean, y) for y, run, s in scores if s.mean is not None and run.partial == partial
        ]
        if there:
            x, y = np.array(there).T
            axes.plot(100 * x, y, marker, color=colour, markerfacecolor=face, markersize=size,
                      markeredgewidth=0.7, clip_on=False)  # fmt: skip


def _least(runs: Sequence[Run], names: Sequence[str]) -> float:
    """Return where the axis begins: a multiple of ten below every interval."""
    scores = [run.score(name, run.headline) for run in runs for name in names]
    ends = [s.interval[0] if s.interval else s.mean for s in scores if s.mean is not None]
    return 10.0 * math.floor(10 * min(ends, default=0.0) - 0.05) if min(ends, default=0) > 0 else 0
