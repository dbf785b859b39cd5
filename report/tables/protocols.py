"""Measured rows in full: a table per protocol, grouped by card, and the cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.records import text
from bench.records.rows import Run
from bench.records.text import code, escape
from bench.records.words import by_label, full, gist, metric_label, say, size, what_differs
from bench.report.tables.differences import crop_of
from bench.report.tables.main import printed

NONE = "–"
SHOWN_FAMILIES = ("mp@", "recall@")


@dataclass(frozen=True)
class Column:
    """One column: its heading, the finished cell of a run, and the fraction it is ranked by."""

    head: str
    cell: Callable[[Run], str]
    value: Callable[[Run], float | None] | None = None


def protocol_table(runs: Sequence[Run], protocol: str) -> str:
    """Return the table of one protocol: method, treatment, scores, costs, record, by card."""
    runs = [run for run in runs if protocol in run.scores]
    headlines = list(dict.fromkeys(run.headline for run in runs))
    further = [m for run in runs for m in run.card["metrics"] if m.startswith(SHOWN_FAMILIES)]
    columns = [
        Column("trained on", lambda run: escape(run.training_set)),
        Column("weights", _weights),
        Column("dim", lambda run: f"{run.dim:,}"),
        Column("query", lambda run: {"whole": "whole image"}.get(crop_of(run), crop_of(run))),
        Column("scales", partial(_treatment, field="scales")),
        Column("size cap", partial(_treatment, field="max_side_px")),
    ]
    for metric in dict.fromkeys([*headlines, *further]):
        head = f"{escape(metric_label(metric))}, %"
        columns.append(_score(head, partial(_mean, protocol=protocol, metric=metric)))
        if metric in headlines:
            cell = partial(_interval, protocol=protocol, metric=metric)
            columns.append(Column("95 % interval", cell))
    columns += [
        Column("queries scored", partial(_scored, protocol=protocol)),
        Column("tied images", lambda run: f"{run.tied:,}"),
        Column("bytes per image", lambda run: f"{run.bytes_per_image:,}"),
        Column("describe, ms (p50 / p95, batch 1)", _latency),
        Column("device", lambda run: escape(run.device)),
        Column("record", _record),
    ]
    return _grouped(runs, columns, protocol)


def cards_of(runs: Sequence[Run]) -> str:
    """Return in what the cards of the runs differ, and every card in full, folded."""
    cards = by_label(runs)
    blocks = []
    if differing := what_differs(cards):
        blocks.append(f"What differs between the {len(cards)} cards:\n")
        blocks.append("\n".join(f"- {line}" for line in differing) + "\n")
    blocks += [full(card, sha256) for sha256, card in cards.items()]
    return "\n".join(blocks)


def _grouped(runs: Sequence[Run], columns: Sequence[Column], ranked_by: str) -> str:
    """Return the table grouped by card, the partial runs in one of their own."""
    complete = [run for run in runs if not run.partial]
    part = [run for run in runs if run.partial]
    heads = ["method", "card", *(column.head for column in columns)]
    right = [i for i, column in enumerate(columns, start=2) if column.value is not None]
    blocks = []
    if complete:
        blocks.append(text.table(heads, _rows(complete, columns, ranked_by), right))
    if part:
        blocks.append("Partial runs: a part of the images, comparable with nothing, not ranked.\n")
        blocks.append(text.table(heads, _rows(part, columns, None), right))
    return "\n".join(blocks)


def _rows(runs: Sequence[Run], columns: Sequence[Column], ranked_by: str | None) -> list[list[str]]:
    """Return a heading row per card and its runs below it, the best first and in bold."""
    rows = []
    for sha256, card in by_label(runs).items():
        heading = f"**card {code(sha256[:8])}**: {escape(gist(card))}"
        rows.append([heading, *[""] * (len(columns) + 1)])
        group = sorted(
            (run for run in runs if run.card_id == sha256),
            key=lambda run: (_place(run, ranked_by), run.name, run.file),
        )
        best = [_best(column, group) if ranked_by else None for column in columns]
        for run in group:
            cells = [
                f"**{column.cell(run)}**" if top and column.cell(run) == top else column.cell(run)
                for column, top in zip(columns, best, strict=True)
            ]
            rows.append([escape(run.name), code(run.card8), *cells])
    return rows


def _place(run: Run, ranked_by: str | None) -> float:
    mean = run.score(ranked_by, run.headline).mean if ranked_by else None
    return 1.0 if mean is None else -mean


def _best(column: Column, group: Sequence[Run]) -> str | None:
    """Return the printed form of the largest value, None with fewer than two to compare."""
    if column.value is None:
        return None
    values = [value for value in map(column.value, group) if value is not None]
    return printed(max(values)) if len(values) > 1 else None


def _score(head: str, value: Callable[[Run], float | None]) -> Column:
    return Column(head, lambda run: printed(value(run)), value)


def _mean(run: Run, protocol: str, metric: str) -> float | None:
    return run.score(protocol, metric).mean


def _interval(run: Run, protocol: str, metric: str) -> str:
    interval = run.score(protocol, metric).interval
    return NONE if interval is None else f"{printed(interval[0])} to {printed(interval[1])}"


def _scored(run: Run, protocol: str) -> str:
    counts = run.card["protocols"][protocol]
    skipped = f" ({counts['skipped']:,} skipped)" if counts["skipped"] else ""
    return f"{counts['scored']:,}{skipped}"


def _treatment(run: Run, field: str) -> str:
    path = f"preprocess.{field}"
    held = run.leaves
    if field == "max_side_px" and path in held:
        return escape(size(held, run.card))
    return escape(say(path, held[path], run.card)) if path in held else "not stated"


def _weights(run: Run) -> str:
    digits = f" ({code(run.weights_sha256[:8])})" if run.weights_sha256 else ""
    return f"{escape(run.source)}{digits}"


def _latency(run: Run) -> str:
    if run.describe_ms is None:
        return NONE
    return f"{run.describe_ms[0]:.1f} / {run.describe_ms[1]:.1f}"


def _record(run: Run) -> str:
    target = text.relative_target(run.file)
    return f"{text.link(run.run_id, target)}, code {escape(run.code)}"
