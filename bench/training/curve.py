"""The picture of a training: loss, learning rate and validation over steps, from its log."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.system.paths import write_bytes

POINTS = 100  # of a smooth line

Floats = NDArray[np.float64]


def draw(folder: Path, validation: list[str]) -> None:
    """Write curve.png from log.csv; `validation` names the columns of scores."""
    with (folder / "log.csv").open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    if not rows:
        return
    steps = np.array([int(row["step"]) for row in rows], dtype=np.float64)
    names = list(rows[0])
    terms = names[names.index("loss") : names.index("gradient_norm")]
    panels = ["loss", "learning rate", *(["validation"] if validation else [])]
    figure = Figure(figsize=(7.0, 2.2 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for name in terms:
        if name == "loss" or len(terms) > 2:
            values = np.array([float(row[name]) for row in rows])
            axes[0].plot(*smooth(steps, values), label=name, linewidth=1)
    axes[1].plot(steps, [float(row["lr"]) for row in rows], linewidth=1)
    for name in validation:
        scored = [(int(row["step"]), 100 * float(row[name])) for row in rows if row[name]]
        axes[-1].plot([x for x, _ in scored], [y for _, y in scored], marker=".", label=name)
    for axis, panel in zip(axes, panels, strict=True):
        axis.set_ylabel(f"{panel} (%)" if panel == "validation" else panel)
        axis.grid(alpha=0.3)
        if panel != "learning rate":
            axis.legend(fontsize=7)
    axes[-1].set_xlabel("step")
    packed = io.BytesIO()
    figure.savefig(packed, format="png", dpi=150, metadata={"Software": None})
    write_bytes(folder / "curve.png", packed.getvalue())


def smooth(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return means of consecutive values, in at most `POINTS` groups, over their last steps."""
    parts = np.array_split(np.arange(len(steps)), min(POINTS, len(steps)))
    ends = np.array([steps[part[-1]] for part in parts])
    return ends, np.array([values[part].mean() for part in parts])
