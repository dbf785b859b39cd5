"""Published rows: tables of their own, never in a column with a measured number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from bench.records.rows import Run, in_order
from bench.records.text import clean, code, escape, folded, link, plain, table
from bench.report.tables.differences import differences
from bench.report.tables.main import SHORT
from bench.report.tables.numbers import NONE
from bench.report.tables.published import NOT_STATED, TAGS, UNITS, Conflict, PublishedRow

PARTS = {"main": "Published", "ablation": "Published ablations"}
LONGEST_SOURCE = 26
SHORT_SOURCE = re.compile(r"^(README|MODEL_CARD|thread|MODEL_ZOO|results\.md) (of )?")
METRICS = {"map": "mAP", "mp": "mP", "recall": "R", "mean-recall": "mean recall"}


def datasets(rows: Iterable[PublishedRow]) -> list[str]:
    """Return the datasets that have a table of published rows, sorted."""
    shown = (row for row in rows if row.printable and row.part in PARTS)
    return sorted({dataset for row in shown for dataset, _, _ in row.values})


def dataset_tables(rows: Sequence[PublishedRow], dataset: str, runs: Sequence[Run]) -> str:
    """Return the published rows of a dataset, mAP per protocol, with the differences as text."""
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


def conflicts(listed: Sequence[Conflict], rows: Sequence[PublishedRow]) -> str:
    """Return the conflicts: numbers of several sources side by side, and what differs."""
    by_id = {row.id: row for row in rows}
    body = []
    for conflict in listed:
        shown = [(by_id[name], key) for name, key in conflict.entries if by_id[name].printable]
        numbers = [f"{row.values[key]} {_short_source(row)}" for row, key in shown]
        body.append([escape(conflict.what), "<br>".join(numbers), escape(conflict.why)])
    return table(["what", "as printed, %", "what differs"], body) if body else ""


def tag_legend(rows: Iterable[PublishedRow]) -> str:
    """Return what the tags of the printed rows mean."""
    used = {row.tag for row in rows if row.printable}
    return "; ".join(f"{code(tag)} {words}" for tag, words in TAGS.items() if tag in used)


def _dataset_table(rows: Sequence[PublishedRow], dataset: str, runs: Sequence[Run]) -> str:
    """Return a line per row: scores in the first columns, long texts as notes below."""
    keys = _columns(rows, dataset)
    several = len({protocol for protocol, _ in keys}) > 1
    header = ["method"]
    for protocol, metric in keys:
        words = f"{SHORT.get(protocol, protocol)} " if several else ""
        header.append(f"{escape(words + metric_name(metric))}, %")
    header += ["dim", "query", "size", "re-ranked", "source", "note"]
    notes: dict[str, int] = {}
    body = []
    for row in rows:
        marks = f" ({', '.join(row.marks)})" if row.marks else ""
        further = ", ".join(_further(row, dataset, keys))
        parts = (_about(row), further, _differs(row, runs), row.note)
        note = "; ".join(part for part in parts if part)
        number = notes.setdefault(note, len(notes) + 1)
        body.append(
            [
                f"{escape(row.method)}: {escape(row.variant)}{escape(marks)}",
                *(row.values.get((dataset, *key), NONE) for key in keys),
                NONE if row.dim is None else f"{row.dim:,}",
                escape({NOT_STATED: NONE}.get(row.crop, row.crop)),
                escape({NOT_STATED: NONE}.get(row.size, row.size)),
                {NOT_STATED: NONE, "none": "no"}.get(row.reranking, "yes"),
                _short_source(row),
                f"({number})",
            ]
        )
    listed = "".join(f"({number}) {escape_rest(note)}<br>\n" for note, number in notes.items())
    folds = folded(f"{len(notes):,} notes", listed)
    return table(header, body, range(1, 1 + len(keys))) + "\n" + folds


def _columns(rows: Sequence[PublishedRow], dataset: str) -> list[tuple[str, str]]:
    """Return the (protocol, metric) that have columns: mAP, or Recall@k of up to two protocols."""
    there = [key[1:] for row in rows for key in row.values if key[0] == dataset]
    maps = [key for key in dict.fromkeys(there) if key[1] == "map"]
    if maps:
        return [(name, "map") for name in in_order(name for name, _ in maps)]
    counts = Counter(protocol for protocol, _ in there)
    protocols = in_order(name for name, _ in counts.most_common(2))
    every = {metric for _, metric in there if metric.startswith("recall@")}
    shown = sorted(every, key=lambda metric: int(metric.split("@")[1]))
    wide = shown[:4] if len(protocols) == 1 else shown[:2]
    return [(name, metric) for name in protocols for metric in wide if (name, metric) in there]


def _about(row: PublishedRow) -> str:
    """Return the network of a row as text."""
    year = "" if row.source.year is None else f", {row.source.year}"
    scales = "" if row.scales is None else f"; scales {', '.join(map(str, row.scales))}"
    kept = "" if row.compression in ("none", NOT_STATED) else f"; {row.compression}"
    if row.reranking not in ("none", NOT_STATED):
        kept += f"; re-ranking: {row.reranking}"
    return f"{row.backbone}, trained on {row.training_set}{year}{scales}{kept}"


def _differs(row: PublishedRow, runs: Sequence[Run]) -> str:
    return f"differs from the measured rows: {plain(differences(row, runs))}" if runs else ""


def escape_rest(text: str) -> str:
    """Return a note as Markdown, cut nowhere."""
    return escape(text, 2000)


def _short_source(row: PublishedRow) -> str:
    at = row.source
    words = SHORT_SOURCE.sub("", at.text).split(",")[0]
    words = clean(words, LONGEST_SOURCE)
    text = escape(words) if at.url is None else link(words, at.url)
    return f"{text} {code(row.tag)}"


def _further(row: PublishedRow, dataset: str, shown: Sequence[tuple[str, str]]) -> list[str]:
    return [
        f"{protocol} {metric_name(metric)} {digits}"
        for (name, protocol, metric), digits in row.values.items()
        if name == dataset and (protocol, metric) not in shown
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
