"""Published rows: tables of their own, never in a column with a measured number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.records.rows import Run, in_order
from bench.records.text import code, escape, link, table
from bench.report.tables.differences import differences
from bench.report.tables.numbers import NONE
from bench.report.tables.published import TAGS, UNITS, PublishedRow

PARTS = {"main": "Published", "ablation": "Published ablations"}
METRICS = {"map": "mAP", "mp": "mP", "recall": "R", "mean-recall": "mean recall"}


def datasets(rows: Iterable[PublishedRow]) -> list[str]:
    """Return the datasets that have a table of published rows, sorted."""
    shown = (row for row in rows if row.printable and row.part in PARTS)
    return sorted({dataset for row in shown for dataset, _, _ in row.values})


def dataset_tables(rows: Sequence[PublishedRow], dataset: str, runs: Sequence[Run]) -> str:
    """Return the published rows of a dataset, mAP per protocol, with what differs in words."""
    parts = []
    for part, heading in PARTS.items():
        chosen = [
            row
            for row in rows
            if row.printable and row.part == part and any(key[0] == dataset for key in row.values)
        ]
        if chosen:
            parts.append(f"### {heading}: {escape(dataset)}\n")
            parts.append(_dataset_table(chosen, dataset, runs))
    return "\n".join(parts)


def leaderboard(rows: Sequence[PublishedRow]) -> str:
    """Return every value of the third-party leaderboard with its origin and verdict."""
    chosen = [row for row in rows if row.printable and row.part == "leaderboard"]
    header = ["method", "listed values", "probable origin", "verdict", "source"]
    body = [
        [
            escape(row.method),
            ", ".join(_listed(row)),
            escape(row.origin),
            escape(row.verdict),
            source(row),
        ]
        for row in chosen
    ]
    return table(header, body) if body else ""


def costs(rows: Sequence[PublishedRow]) -> str:
    """Return latency and memory as published or computed; those of the leaderboard are there."""
    chosen = [row for row in rows if row.printable and row.costs and row.part != "leaderboard"]
    header = ["method", "variant", "compression", "values", "source", "note"]
    body = [
        [
            escape(row.method),
            escape(row.variant),
            escape(row.compression),
            ", ".join(_cost(*item) for item in row.costs.items()),
            source(row),
            escape(row.note or NONE),
        ]
        for row in chosen
    ]
    return table(header, body) if body else ""


def tag_legend(rows: Iterable[PublishedRow]) -> str:
    """Return what the tags of the printed rows mean."""
    used = {row.tag for row in rows if row.printable}
    return "; ".join(f"{code(tag)} {words}" for tag, words in TAGS.items() if tag in used)


def _dataset_table(rows: Sequence[PublishedRow], dataset: str, runs: Sequence[Run]) -> str:
    names = in_order(key[1] for row in rows for key in row.values if key[0] == dataset)
    further = any(_further(row, dataset) for row in rows)
    about = ["method", "variant", "backbone", "trained on", "dim", *rows[0].treatment]
    header = [*about, *(f"{escape(name)} mAP, %" for name in names)]
    header += ["further values, %"] if further else []
    header += (
        ["source", "what differs from the measured rows", "note"] if runs else ["source", "note"]
    )
    body = []
    for row in rows:
        maps = [row.values.get((dataset, name, "map"), NONE) for name in names]
        body.append(
            [
                *map(escape, (row.method, row.variant, row.backbone, row.training_set)),
                row.dim_text,
                *map(escape, row.treatment.values()),
                *maps,
                *([", ".join(_further(row, dataset)) or NONE] if further else []),
                source(row),
                *([differences(row, runs)] if runs else []),
                escape(row.note or NONE),
            ]
        )
    return table(header, body, range(len(about), len(about) + len(names)))


def _further(row: PublishedRow, dataset: str) -> list[str]:
    return [
        f"{escape(protocol)} {metric_name(metric)} {digits}"
        for (name, protocol, metric), digits in row.values.items()
        if name == dataset and metric != "map"
    ]


def _listed(row: PublishedRow) -> list[str]:
    scores = [
        f"{escape(dataset)} {protocol} {metric_name(metric)} {digits} %"
        for (dataset, protocol, metric), digits in row.values.items()
    ]
    return scores + [_cost(*item) for item in row.costs.items()]


def metric_name(metric: str) -> str:
    """Return the printed name of a published metric, e.g. "mP@10"."""
    family, at, k = metric.partition("@")
    return METRICS.get(family, family) + at + k


def _cost(name: str, digits: str) -> str:
    what, _, unit = name.rpartition("_")
    return f"{escape(what.replace('.', ' '))} {digits} {UNITS[unit]}"


def source(row: PublishedRow) -> str:
    """Return where a row was printed, a link where the address is certain, and its tag."""
    at = row.source
    text = escape(at.text) if at.url is None else link(at.text, at.url)
    return f"{text} {code(row.tag)}"
