"""What each part of DOLG adds, on the small network: the records below results/ablation/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bench.errors import BenchError
from bench.records import record as records
from bench.records import rows
from bench.records.rows import Run
from bench.records.text import escape, table
from bench.records.words import metric_label
from bench.report.tables.main import printed

TITLE = "## DOLG without its parts\n"
ABOUT = """\
The ablations of DOLG's paper with other networks and therefore other numbers: **demonstration
weights**, heads on EfficientNet-Lite0 trained for minutes on a few hundred photographs, all from
one recipe and seed, scored on data sets as small as `mini`. {metric}, percent, with its 95 %
interval; differences well within it are noise. `nox -s ablation -- PHOTOGRAPHS` repeats the study
with the photographs of `methods/weights/README.md`.
"""
PARTS: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("all parts", {"fusion": "orthogonal", "multi_atrous": True}),
    ("without local branch", {"fusion": "none"}),
    ("without orthogonal fusion (concatenated)", {"fusion": "concatenation"}),
    ("without multi-atrous module", {"fusion": "orthogonal", "multi_atrous": False}),
)
NONE = "–"
EQUAL = """\
Rows with equal numbers belong to different networks; with so few images, their lists have every
positive at the same place.
"""


def load(results: Path) -> tuple[list[tuple[str, Run]], list[tuple[PurePosixPath, str]]]:
    """Return (network, its newest run), and (file, reason) of unusable records."""
    folder = results / "ablation"
    found, left_out = rows.load(folder)
    shown = []
    for run in rows.newest(found)[0]:
        try:
            shown.append((_part(records.read(folder / run.file)), run))
        except BenchError as error:
            left_out.append((run.file, str(error)))
    return shown, [(PurePosixPath("ablation") / file, reason) for file, reason in left_out]


def section(found: Sequence[tuple[str, Run]]) -> str:
    """Return one table per card, a column per protocol; nothing without runs."""
    if not found:
        return ""
    metric = ", ".join(sorted({metric_label(run.headline) for _, run in found}))
    blocks = [TITLE, ABOUT.format(metric=metric)]
    for dataset, card in sorted({(run.dataset, run.card8) for _, run in found}):
        same = [(part, run) for part, run in found if (run.dataset, run.card8) == (dataset, card)]
        names = rows.protocols(run for _, run in same)
        head = [f"dolg.lite0 on {escape(dataset)}, card `{card}`", *map(escape, names)]
        cells = [
            [title, *(_cell([run for part, run in same if part == title], name) for name in names)]
            for title, _ in PARTS
        ]
        blocks += [table(head, cells, range(1, len(head))), ""]
        shown = [tuple(row[1:]) for row in cells if set(row[1:]) != {NONE}]
        weights = [run.weights_sha256 for _, run in same]
        if len(set(shown)) < len(shown) <= len(set(weights)):
            blocks.append(EQUAL)
    return "\n".join(blocks)


def _part(record: Mapping[str, Any]) -> str:
    """Return the network of a record as text."""
    config = record["method"]["config"]
    for part, wanted in PARTS:
        if all(config.get(key) == value for key, value in wanted.items()):
            return part
    raise BenchError("it is not of a network of this study.")


def _cell(found: Sequence[Run], protocol: str) -> str:
    """Return the headline score of the newest run, and its interval, in percent."""
    if not found:
        return NONE
    score = max(found, key=lambda run: (run.created, run.run_id)).score(protocol, found[0].headline)
    if score.mean is None or score.interval is None:
        return NONE if score.mean is None else printed(score.mean)
    low, high = score.interval
    return f"{printed(score.mean)} [{printed(low)}, {printed(high)}]"
