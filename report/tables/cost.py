"""Costs: a table and pictures per dataset and machine; timings of two machines never meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath

from bench.records import costs, text
from bench.records.costs import Timed
from bench.records.rows import Run, protocols
from bench.records.text import escape, relative_target
from bench.records.words import metric_label
from bench.report.figures import cost_plot, kept, plot
from bench.report.figures.kept import Job, Picture
from bench.report.tables.main import SHORT
from bench.report.tables.markdown import name_link, small
from bench.report.tables.numbers import NONE, ms

NOT_COUNTED, BUSY = "not counted", "busy"
SIZES = {10_000: "10⁴", 100_000: "10⁵", 1_000_000: "10⁶"}
MORE = ("second network", "local features", "stages")  # parts of a query beyond the usual
Cell = Callable[[Run], str]
NOTE = """\
Times are milliseconds of one image or query at batch 1: p50, in small figures its 95 % prediction
interval for another round of measurements, and p95. Query is the sum of all steps from the file to
the list: decode, describe, search, every stage, a second network, local features. Describe is from
decoded pixels to the descriptor, all scales. Images per second are for describe at the best batch,
in small figures. Search is over the rows of the data set; at 10⁴, 10⁵ and 10⁶ it is over random
rows of the same dimension and codes. Memory is the peak of a separate process that describes one
image at a time, minus that of an empty process, in small figures as weights + activations; on a GPU
it is the memory of the device. "busy": other programs ran during the measurement, so the figure is
not usable; the same command replaces it. Sizes are decimal (1 MB is 1,000,000 bytes). "–": not
measured, or not known; [`README.md`](README.md#costs) defines each key.
"""
OLDER = f"""\
"{costs.FIRST}": older records with figures that cannot be compared with those of others. Their
query includes neither stages nor local features, and their memory, which is not shown, was that of
a process that ran a whole command.
"""
FRONT = """\
Every point is a complete run; grey: the 95 % intervals of its score and of its time. A line is the
Pareto front of the rows with the same protocol (one colour): on this machine, no such row is both
cheaper and better than a row on the line. The time of a query is the sum of the p50 of all its
parts. Bytes are what the search stores per database image, in memory and on disk: its descriptor or
its share of an approximate index, and its full row or local features if lists are ordered by them.
Untrained networks and chance are not drawn beside trained networks; a point without room for its
name has no name.
""".strip()
PHASES = """\
Share of each phase in the time of a query, the fastest row first; the total time is at the right.
""".strip()


def section(chosen: Sequence[Run], dataset: str) -> tuple[list[str], list[Picture]]:
    """Return the blocks on the costs of the runs of one dataset, and their pictures.

    There is a heading per machine: device, processor, threads and precision.
    """
    blocks, drawn = [], []
    for number, (machine, there, job) in enumerate(jobs(chosen, dataset), start=1):
        blocks.append(f"## Costs on {escape(machine)}\n")
        if number == 1:
            blocks.append(NOTE)
        if costs.FIRST in machine:
            blocks.append(OLDER)
        blocks.append(table(there))
        made = kept.pictures(job)
        blocks += [block for picture in made for block in shown(picture)]
        drawn += made
    return blocks, drawn


def jobs(chosen: Sequence[Run], dataset: str) -> list[tuple[str, list[Run], Job]]:
    """Return every machine with its runs, and what is to be drawn of them."""
    out = []
    machines = sorted({run.cost.machine for run in chosen if has_costs(run)})
    for number, machine in enumerate(machines, start=1):
        there = [run for run in chosen if run.cost.machine == machine and has_costs(run)]
        ending = "" if len(machines) == 1 else f"-{number}"
        draw = partial(_pictures, there, dataset, ending, f"{dataset} on {machine}")
        out.append((machine, there, Job(there, [dataset, ending, machine], draw)))
    return out


def _pictures(there: Sequence[Run], dataset: str, ending: str, title: str) -> list[Picture]:
    against = f"Quality against the time of a query and against bytes per image, {title}"
    shares = f"Share of each phase in the time of a query, {title}"
    made = [
        Picture(f"{dataset}-cost{ending}", cost_plot.quality(there), against, FRONT),
        Picture(f"{dataset}-phases{ending}", cost_plot.phases(there), shares, PHASES),
    ]
    return [picture for picture in made if picture.files]


def shown(picture: Picture) -> list[str]:
    """Return the blocks of a picture: the picture, and its caption with its other formats."""
    png, *others = (relative_target(PurePosixPath("figures", f"{picture.stem}.{kind}"))
                    for kind in plot.FORMATS)  # fmt: skip
    links = ", ".join(f"[{kind.upper()}]({target})"
                      for kind, target in zip(plot.FORMATS[1:], others, strict=True))  # fmt: skip
    return [f"![{escape(picture.alternative)}]({png})\n", f"{picture.caption} {links}.\n"]


def has_costs(run: Run) -> bool:
    """Say whether anything was timed in the run."""
    return run.cost.describe is not None or bool(run.cost.phases) or bool(run.cost.busy)


def table(runs: Sequence[Run]) -> str:
    """Return the table of runs on one machine, the fastest first.

    Columns in which no run has a value are left out.
    """
    mixed = len(_headlines(runs)) > 1
    columns: list[tuple[str, Cell]] = [
        (_quality_head(runs), lambda run: _quality(run, mixed=mixed)),
        ("query, ms", _query),
        ("describe, ms", lambda run: _busy(run) or _p50(run.cost.describe)),
        ("p95", lambda run: _p95(run.cost.describe)),
        ("images/s", _throughput),
        ("search, ms", lambda run: _plain(run.cost.phases.get("search"))),
        (f"at {', '.join(SIZES.values())} rows", _at_sizes),
        *((f"{phase}, ms", _phase(phase)) for phase in MORE),
        ("re-rank, ms", lambda run: _plain(run.cost.phases.get("re-rank"))),
        ("memory, MB", _memory),
        ("device, MB", _device_memory),
        ("parameters, M", lambda run: _scaled(run.cost.parameters, 1e6)),
        ("GFLOPs", _flops),
    ]
    columns = [column for column in columns if any(column[1](run) != NONE for run in runs)]
    ordered = sorted(runs, key=lambda run: (_order(run), run.name, run.file))
    rows = [[name_link(run), *(cell(run) for _, cell in columns)] for run in ordered]
    right = range(1, len(columns) + 1)
    return text.table(["method", *(head for head, _ in columns)], rows, right)


def _busy(run: Run) -> str:
    """Return the word for a figure that other work on the machine spoiled; empty: it is usable."""
    return BUSY if run.cost.busy and run.cost.describe is None else ""


def _query(run: Run) -> str:
    return BUSY if run.cost.busy and run.cost.query_ms is None else _p50(run.cost.query_ms)


def _phase(phase: str) -> Cell:
    return lambda run: _plain(run.cost.phases.get(phase))


def _at_sizes(run: Run) -> str:
    """Return the search at every stated size, in order."""
    at = run.cost.search_at
    if not at:
        return NONE
    return ", ".join(ms(at[size]) if size in at else NONE for size in SIZES)


def _memory(run: Run) -> str:
    """Return weights and activations, in all and each."""
    weights, activations = run.cost.weights, run.cost.activations
    if weights is None or activations is None:
        return NONE
    parts = f"{_scaled(weights, 1e6)} + {_scaled(activations, 1e6)}"
    return _scaled(weights + activations, 1e6) + small(parts)


def _order(run: Run) -> float:
    return float("inf") if run.cost.describe is None else run.cost.describe.p50


def _headlines(runs: Sequence[Run]) -> list[str]:
    return sorted({run.headline for run in runs})


def _quality_head(runs: Sequence[Run]) -> str:
    labels = [metric_label(headline) for headline in _headlines(runs)]
    shown = cost_plot.main_protocol(protocols(runs))
    head = escape(labels[0] if len(labels) == 1 else "headline")
    return f"{head} {escape(SHORT.get(shown, shown))}, %"


def _quality(run: Run, *, mixed: bool) -> str:
    mean = cost_plot.quality_of(run)
    if mean is None:
        return NONE
    return f"{100 * mean:.1f}" + (f" ({escape(metric_label(run.headline))})" if mixed else "")


def _p50(timed: Timed | None) -> str:
    if timed is None:
        return NONE
    if timed.interval is None:
        return ms(timed.p50)
    low, high = timed.interval
    return ms(timed.p50) + small(f"{ms(low)}–{ms(high)}")


def _plain(timed: Timed | None) -> str:
    return NONE if timed is None else ms(timed.p50)


def _p95(timed: Timed | None) -> str:
    return NONE if timed is None else ms(timed.p95)


def _throughput(run: Run) -> str:
    if run.cost.images_per_s is None:
        return NONE
    return ms(run.cost.images_per_s) + small(f"{run.cost.batch:,}")


def _flops(run: Run) -> str:
    """Return the operations of an image; they are counted where throughput is measured."""
    timed = run.cost.images_per_s is not None or (_busy(run) and run.cost.weights is not None)
    if run.cost.flops is None and timed:
        return NOT_COUNTED
    return _scaled(run.cost.flops, 1e9)


def _scaled(value: int | None, unit: float) -> str:
    return NONE if value is None else ms(value / unit)


def _device_memory(run: Run) -> str:
    if run.cost.device_bytes is None or run.cost.weights is not None:
        return NONE
    reserved = _scaled(run.cost.device_reserved_bytes, 1e6)
    return _scaled(run.cost.device_bytes, 1e6) + small(reserved)
