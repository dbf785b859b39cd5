"""Pictures of costs: quality against time and bytes with the Pareto front, and time by phase.

All runs of a picture were timed on one machine; the caller sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.records import classes
from bench.records.costs import PHASES, Timed
from bench.records.rows import Run, protocols
from bench.records.text import clean
from bench.records.words import metric_label, sentence
from bench.report.figures.labels import beside
from bench.report.figures.plot import (
    COLOURS,
    COLUMN,
    DASHES,
    MARKERS,
    SIZE,
    WIDTH,
    encoded,
    named,
    settle,
    style,
    width_for,
)
from bench.system.hashing import sha256_json

FILLS = {
    "decode": ("#56B4E9", ""),
    "preprocess": ("#E69F00", "//"),
    "network": ("#0072B2", ""),
    "second network": ("#56B4E9", "//"),
    "search": ("#CC79A7", ""),
    "local features": ("#D55E00", ""),
    "stages": ("#F0E442", "xx"),
    "re-rank": ("#009E73", "\\\\"),
}
MOST_BARS = 30
LONGEST_NAME = 26


def main_protocol(names: Sequence[str]) -> str:
    """Return the protocol that a picture shows: medium, or else the first."""
    return "medium" if "medium" in names else names[0]


def quality_of(run: Run) -> float | None:
    """Return the headline metric under the main protocol of the run, a fraction."""
    return run.score(main_protocol(protocols([run])), run.headline).mean


def rules_of(run: Run) -> str:
    """Return the hash of what two runs must have in common to be on one front: the protocol."""
    return sha256_json(run.protocol_key)


def _rule_words(runs: Sequence[Run], rules: Sequence[str]) -> list[str]:
    """Return words for each rule; where they are not enough, a card under the rule."""
    first = {rule: next(run for run in runs if rules_of(run) == rule) for rule in rules}
    words = {
        rule: sentence("crop_rule", run.card)
        + (", candidates by labels" if "labels" in classes.uses(run.card) else "")
        for rule, run in first.items()
    }
    phrases = list(words.values())
    return [
        text if phrases.count(text) == 1 else f"{text} (as card {first[rule].card8})"
        for rule, text in words.items()
    ]


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (cost, quality) that no other beats, the cheapest first.

    A point is beaten by one that costs no more and is better, or costs less and is as good.

    >>> front([(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (4.0, 0.9)])
    [(1.0, 0.5), (2.0, 0.7), (3.0, 0.9)]
    """
    best: list[tuple[float, float]] = []
    for cost, value in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not best or value > best[-1][1]:
            best.append((cost, value))
    return best


def quality(runs: Sequence[Run]) -> dict[str, bytes]:
    """Return the headline against the time of a query and bytes per image, as {"png": …, …}.

    Nothing where fewer than two complete runs have a score. Equal runs give equal bytes.
    """
    complete = [run for run in runs if not run.partial and quality_of(run) is not None]
    # Random weights and chance would stretch the axis until nothing else can be told apart.
    serious = [run for run in complete if not run.marks]
    drawn = serious if len(serious) > 1 else complete
    headlines = sorted({run.headline for run in drawn})
    if len(drawn) < 2 or len(headlines) > 1:
        return {}
    drawn.sort(key=lambda run: (-float(quality_of(run) or 0), run.name, run.file))
    rules = list(dict.fromkeys(rules_of(run) for run in drawn))
    costs: dict[str, list[Timed | None]] = {
        "time of a query, ms (p50, one image at a time)": [run.cost.query_ms for run in drawn],
        "bytes per image": [Timed(run.cost.image_bytes, run.cost.image_bytes) for run in drawn],
    }
    shown = {label: known for label, known in costs.items() if any(known)}
    names = named(drawn, LONGEST_NAME)
    with style():
        width = WIDTH if len(shown) > 1 else COLUMN
        figure = Figure(figsize=(width, 2.8), layout="constrained")
        panels = list(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0])
        for axes, (label, known) in zip(panels, shown.items(), strict=True):
            _panel(axes, drawn, known, rules)
            axes.set_xlabel(label)
        main = main_protocol(protocols(drawn))
        panels[0].set_ylabel(clean(f"{metric_label(headlines[0])} {main}, %"))
        if len(rules) > 1:
            for place, words in enumerate(_rule_words(drawn, rules)):
                colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
                text = clean(words).lstrip("_")
                panels[0].plot([], [], marker, color=colour, markersize=3.5, label=text)
            figure.legend(loc="outside upper right", ncols=2, frameon=False)
        settle(figure)  # so that it is known where the points are
        for axes, known in zip(panels, shown.values(), strict=True):
            at = [
                (cost.p50, 100 * float(quality_of(run) or 0), name,
                 COLOURS[rules.index(rules_of(run)) % len(COLOURS)])
                for run, cost, name in zip(drawn, known, names, strict=True)
                if cost is not None
            ]  # fmt: skip
            beside(axes, at, SIZE)
        return encoded(figure)


def _panel(
    axes: Axes, drawn: Sequence[Run], costs: Sequence[Timed | None], rules: Sequence[str]
) -> None:
    """Draw a point with both intervals per run with a cost, and a front per rule over trained."""
    points = [
        (run, cost, 100 * float(quality_of(run) or 0))
        for run, cost in zip(drawn, costs, strict=True)
        if cost is not None
    ]
    for place, rule in enumerate(rules):
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
        marker = MARKERS[place % len(MARKERS)]
        there = [point for point in points if rules_of(point[0]) == rule]
        best = front([(cost.p50, value) for run, cost, value in there if not run.marks])
        if len(best) > 1:
            axes.step(*zip(*best, strict=True), where="post", color=colour, linestyle=dash, lw=0.9)
        _grey_intervals(axes, there)
        for marked, face in ((False, colour), (True, "white")):
            at = [(cost.p50, value) for run, cost, value in there if bool(run.marks) == marked]
            if at:
                x, y = np.array(at).T
                axes.plot(x, y, marker, color=colour, markerfacecolor=face, markersize=3.5,
                          zorder=3)  # fmt: skip
    ends = [end for _, cost, _ in points for end in (cost.p50, *(cost.interval or ()))]
    ratio = max(ends) / max(min(ends), 1e-3)
    if ratio > 3:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 100 else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15, y=0.06)
    axes.grid()


def _grey_intervals(axes: Axes, points: Sequence[tuple[Run, Timed, float]]) -> None:
    """Draw the intervals of times and scores, all of a direction at once: a call for each is slow.

    Points are of a run, its cost and its score in percent.
    """
    times = [(value, *cost.interval) for _, cost, value in points if cost.interval is not None]
    scores = [
        (cost.p50, 100 * interval[0], 100 * interval[1])
        for run, cost, _ in points
        if (interval := run.score(main_protocol(protocols([run])), run.headline).interval)
    ]
    for drawn, ends in ((axes.hlines, times), (axes.vlines, scores)):
        if ends:
            at, low, high = np.array(ends).T
            drawn(at, low, high, colors="0.8", linewidth=0.8, zorder=1)


def phases(runs: Sequence[Run]) -> dict[str, bytes]:
    """Return one bar per run, the share of every phase in the time of a query, as {"png": …, …}.

    Bars are shares, the sum of the p50s stands at their end. Nothing where no run has the phases.
    """
    split = [run for run in runs if run.cost.query_ms and "network" in run.cost.phases]
    split = [run for run in split if _total(run) > 0]
    split.sort(key=lambda run: (_total(run), run.name, run.file))
    shown = split[:MOST_BARS]
    if not shown:
        return {}
    with style():
        names = named(shown, LONGEST_NAME)
        size = (width_for(names), 0.62 + 0.16 * len(shown))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        start = np.zeros(len(shown))
        for phase in PHASES:
            have = [place for place, run in enumerate(shown) if phase in run.cost.phases]
            share = np.array(
                [100 * shown[i].cost.phases[phase].p50 / _total(shown[i]) for i in have]
            )
            colour, hatch = FILLS[phase]
            if have:
                axes.barh(
                    have, share, left=start[have], height=0.7, color=colour, hatch=hatch,
                    edgecolor="white", linewidth=0.4, label=phase,
                )  # fmt: skip
                start[have] += share
        for place, run in enumerate(shown):
            total = _total(run)
            suffix = f"{total:,.0f} ms" if total >= 100 else f"{total:,.3g} ms"
            axes.text(1.02, place, suffix, va="center", transform=axes.get_yaxis_transform())
        axes.set_yticks(range(len(shown)), names)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        left_out = f"; the {len(shown)} fastest of {len(split)}" if len(split) > len(shown) else ""
        axes.set_xlabel(f"share of the time of a query, %{left_out}")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        drawn = [phase for phase in PHASES if any(phase in run.cost.phases for run in shown)]
        figure.legend(loc="outside upper right", ncols=5 if len(drawn) < 6 else 4, frameon=False,
                      handlelength=1.2, columnspacing=0.8)  # fmt: skip
        return encoded(figure)


def _total(run: Run) -> float:
    return sum(timed.p50 for timed in run.cost.phases.values())
