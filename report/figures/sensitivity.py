"""The picture of a study of sensitivity: how far every choice moves the score, in points.

One panel per protocol with a line at the default, one row per factor with a bar from its least to
its greatest value and a dot per choice, and below it the range of all choices together.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.records.text import clean
from bench.records.words import metric_label
from bench.report.figures.plot import SIZE, WIDTH, encoded, style
from bench.report.tables.sensitivity import FACTORS, Point, Study, shown

DOT, BAR, ALL = "#0072B2", "#9CC9E3", "#D55E00"
ROW, NEAR = 0.30, 0.16


def draw(study: Study) -> dict[str, bytes]:
    """Return the picture as {"png": …, …}; the same study gives the same bytes."""
    names = shown(study)
    rows = sum(len(points) for points in study.factors.values()) + len(study.factors)
    with style():
        size = (min(WIDTH, 1.6 + 1.8 * len(names)), 0.8 + 0.135 * rows)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, len(names), sharex=True, sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, names, strict=True):
            _panel(axes, study, name)
        panels[0].set_xlim(*_limits(study))
        ticks = _rows(study)
        panels[0].set_yticks([y for y, _, _ in ticks], [clean(text) for _, text, _ in ticks])
        for label, (_, _, bold) in zip(panels[0].get_yticklabels(), ticks, strict=True):
            label.set_fontweight("bold" if bold else "normal")
        panels[0].set_ylim(ticks[-1][0] + 0.8, ticks[0][0] - 0.8)
        label = metric_label(study.headline)
        figure.supxlabel(clean(f"change of {label} from the default, points"), fontsize=SIZE)
        return encoded(figure)


def _rows(study: Study) -> list[tuple[float, str, bool]]:
    """Return (y, label, heading) of every row from the top."""
    y, out = 0.0, []
    for factor, points in study.factors.items():
        out.append((y, FACTORS[factor], True))
        for point in points:
            y += 1
            out.append((y, point.choice, False))
        y += 1.35
    out.append((y, f"all together ({len(study.grid)})", True))
    return out


def _limits(study: Study) -> tuple[float, float]:
    """Return both ends of the axis of all panels: every change, and room for its number."""
    moved = [study.moved(point, name) for point in study.grid for name in shown(study)]
    known = [0.0, *(m for m in moved if m is not None)]
    room = 0.2 * max(max(known) - min(known), 1.0)
    return min(known) - room, max(known) + room


def _panel(axes: Axes, study: Study, protocol: str) -> None:
    default = study.default.scores[protocol]
    where = "no score" if default is None else f"default {100 * default:.2f}"
    axes.set_title(clean(f"{protocol}: {where}"), fontsize=SIZE, fontweight="normal", loc="center")
    axes.axvline(0, color="0.35", linewidth=1.0, zorder=1)
    y = 0.0
    for points in study.factors.values():
        _range(axes, study, points, protocol, y, BAR)
        for point in points:
            y += 1
            moved = study.moved(point, protocol)
            if moved is None:
                continue
            axes.plot([0, moved], [y, y], "-", color=BAR, linewidth=1.1, zorder=2)
            inside = "white" if point.scores == study.default.scores else DOT
            axes.plot(moved, y, "o", color=DOT, markerfacecolor=inside, markersize=3, zorder=3)
            if abs(moved) >= 0.005:
                text = f"{moved:+.1f}" if abs(moved) >= 0.05 else f"{moved:+.2f}"
                _text(axes, moved, y, text)
        y += 1.35
    _range(axes, study, study.grid, protocol, y, ALL, ends=True)
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _range(
    axes: Axes,
    study: Study,
    points: tuple[Point, ...],
    protocol: str,
    y: float,
    colour: str,
    *,
    ends: bool = False,
) -> None:
    """Draw a bar from the least to the greatest change; with its numbers where `ends`."""
    moved = [m for m in (study.moved(point, protocol) for point in points) if m is not None]
    if not moved:
        return
    axes.barh(y, max(moved) - min(moved), left=min(moved), height=0.55, color=colour, zorder=2)
    if ends:
        for value in sorted({min(moved), max(moved)}):
            _text(axes, value, y, f"{value:+.1f}", pad=4)


def _text(axes: Axes, x: float, y: float, text: str, pad: int = 6) -> None:
    axes.annotate(
        text.replace("-", "\u2212"),
        (x, y),
        xytext=(pad if x >= 0 else -pad, 0),
        textcoords="offset points",
        ha="left" if x >= 0 else "right",
        va="center",
        fontsize=SIZE - 0.5,
    )
