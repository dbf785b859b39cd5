"""Names in pictures beside what they name: spread along an axis, or beside points."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes

LETTER = 0.6  # mean width of a letter, in sizes of the font
# Where a name may stand beside its point: towards it, and up, in points; the first free is taken.
PLACES = [(side, up) for up in (0, 7, -7, 14, -14) for side in ("left", "right")]
ABOVE = [(side, up) for up in (6, 12, -7) for side in ("right", "left")]  # beside a step upwards
Box = tuple[float, float, float, float]


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Return places at least `gap` apart, in the order of `wanted` and as near to them as can be.

    The sum of squared distances is least: without the gaps it is isotonic regression, by pooling
    neighbours that violate the order (Barlow et al., Statistical Inference under Order
    Restrictions, 1972).

    >>> spread([0.0, 10.0, 10.0, 30.0], 4)
    [0.0, 8.0, 12.0, 30.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    pools: list[list[float]] = []  # mean and size
    for place, i in enumerate(order):
        pools.append([wanted[i] - place * gap, 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            mean, size = pools.pop()
            pools[-1][0] = (pools[-1][0] * pools[-1][1] + mean * size) / (pools[-1][1] + size)
            pools[-1][1] += size
    level = [mean for mean, size in pools for _ in range(int(size))]
    out = [0.0] * len(wanted)
    for place, i in enumerate(order):
        out[i] = level[place] + place * gap
    return out


def beside(
    axes: Axes,
    points: Sequence[tuple[float, float, str, str]],
    size: float,
    places: Sequence[tuple[str, int]] = tuple(PLACES),
) -> int:
    """Write the name of each point (x, y, name, colour) where nothing is; return how many stand.

    The layout of the figure must be settled. A name stands on a front (a line in steps) only where
    no other place is free, and one that finds no room is left out.
    """
    point = axes.figure.dpi / 72  # in pixels
    inside = axes.get_window_extent()
    limits = [edge / point for edge in (inside.x0, inside.y0, inside.x1, inside.y1)]
    at = [axes.transData.transform((x, y)) / point for x, y, _, _ in points]
    taken: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in at]
    fronts = _fronts(axes, point)
    count = 0
    for (x, y), (px, py, name, colour) in zip(at, points, strict=True):
        wide = LETTER * size * len(name)
        free: list[tuple[int, int, Box, str, int, int]] = []
        for side, up in places:
            aside = 5 if up == 0 else 2
            start = x + aside if side == "left" else x - aside - wide
            box = (start, y + up - size / 2, start + wide, y + up + size / 2)
            fits = limits[0] <= box[0] and box[2] <= limits[2]
            fits &= limits[1] <= box[1] and box[3] <= limits[3]
            if fits and not any(_overlap(box, other) for other in taken):
                crossed = sum(_overlap(box, line) for line in fronts)
                free.append((crossed, len(free), box, side, aside, up))
        if free:
            _, _, box, side, aside, up = min(free)
            taken.append(box)
            offset = (aside if side == "left" else -aside, up)
            axes.annotate(
                name, (px, py), xytext=offset, textcoords="offset points", ha=side,
                va="center_baseline", fontsize=size, color=colour,
            )  # fmt: skip
            count += 1
    return count


def _fronts(axes: Axes, point: float) -> list[Box]:
    """Return the lines drawn in steps, as thin boxes, in points; `point` is in pixels."""
    boxes: list[Box] = []
    for line in axes.get_lines():
        if line.get_drawstyle() == "steps-post":
            at = axes.transData.transform(line.get_xydata()) / point
            for (x0, y0), (x1, y1) in pairwise(at.tolist()):
                boxes += [(x0, y0 - 1, x1, y0 + 1), (x1 - 1, min(y0, y1), x1 + 1, max(y0, y1))]
    return boxes


def _overlap(first: Box, other: Box) -> bool:
    apart = (
        first[2] <= other[0] or other[2] <= first[0] or first[3] <= other[1] or other[3] <= first[1]
    )
    return not apart
