"""Measured beside published: a line per pair with the same weights, and its differences.

`measured` in published.toml defines the pairs; names are never guessed. Both numbers keep their own
columns; the difference is measured minus published, in points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from bench.records import text
from bench.records.rows import Run, Score, in_order
from bench.records.text import clean, escape
from bench.records.words import metric_label
from bench.report.tables import latex
from bench.report.tables.differences import NONE_KNOWN, differences
from bench.report.tables.literature import metric_name
from bench.report.tables.main import UNRANKED, printed, protocol_head
from bench.report.tables.markdown import name_link
from bench.report.tables.published import PublishedRow

LONG = 12  # lines of a table that is not folded
LONGEST = 44
IDS = {
    "map": "map.trapezoid.junk-removed",
    "mp": "mp@{}.clipped.junk-removed",
    "recall": "recall@{}.any-hit.junk-removed",
}


@dataclass(frozen=True)
class Pair:
    """One measured score beside one published."""

    run: Run
    row: PublishedRow
    protocol: str
    metric: str
    score: Score
    digits: str
    differs: str

    @property
    def difference(self) -> Decimal:
        """Return measured minus published in points, at the precision of the measured one."""
        return Decimal(printed(self.score.mean)) - Decimal(self.digits)


def pairs(runs: Sequence[Run], rows: Sequence[PublishedRow], dataset: str) -> list[Pair]:
    """Return every pair of a dataset: by method, then the published rows that differ least."""
    found = []
    for run in sorted(runs, key=lambda run: (run.name, run.card_id, run.file)):
        if run.partial or UNRANKED & set(run.marks):
            continue
        same = [r for r in rows if r.printable and f"{run.method}.{run.variant}" in r.measured]
        differing = {row.id: differences(row, [run]) for row in same}
        for row in sorted(same, key=lambda row: _unlike(differing[row.id])):
            found += _pairs(run, row, dataset, differing[row.id])
    return found


def table(found: Sequence[Pair]) -> str:
    """Return the pairs as a Markdown table, a line per measured and published row, and notes.

    A long table is folded.
    """
    names = in_order(pair.protocol for pair in found)
    columns = [
        (name, metric)
        for name in names
        for metric in sorted({pair.metric for pair in found if pair.protocol == name})
    ]
    heads = ["method", "published in"]
    for name, metric in columns:
        head = f"{protocol_head(name, [*names, 'easy', 'medium', 'hard'])} {metric_name(metric)}"
        heads += [f"{escape(head)}, %", "published", "difference"]
    heads.append("differs")
    lines: dict[tuple[str, str], list[Pair]] = {}
    for pair in found:
        lines.setdefault((str(pair.run.file), pair.row.id), []).append(pair)
    rows, notes = [], dict[str, int]()
    for line in lines.values():
        row = line[0]
        cells = [name_link(row.run), _said(row.row)]
        for column in columns:
            same = next((p for p in line if (p.protocol, p.metric) == column), None)
            if same is None:
                cells += ["–", "–", "–"]
            else:
                cells += [_measured(same.score), same.digits, f"{same.difference:+}"]
        number = notes.setdefault(row.differs, len(notes) + 1) if row.differs != NONE_KNOWN else 0
        rows.append([*cells, f"({number})" if number else "–"])
    listed = [f"({number}) {words.replace('<br>', '; ')}" for words, number in notes.items()]
    shown = text.table(heads, rows, range(2, len(heads) - 1))
    what = "\nWhat differs:\n\n" + "<br>\n".join(listed) + "\n" if listed else ""
    if len(rows) <= LONG:
        return shown + what
    return text.folded(f"{len(rows):,} measured rows beside published ones", shown + what)


def as_lines(found: Sequence[Pair]) -> list[dict[str, object]]:
    """Return the pairs as plain values, for JSON."""
    return [
        {
            "method": pair.run.method,
            "variant": pair.run.variant,
            "card": pair.run.card_id,
            "record": pair.run.file.as_posix(),
            "published_id": pair.row.id,
            "source": pair.row.source.text,
            "protocol": pair.protocol,
            "metric_id": metric_id(pair.metric),
            "measured_percent": printed(pair.score.mean),
            "published_percent": pair.digits,
            "difference_points": f"{pair.difference:+}",
            "differs": _plain(pair.differs),
        }
        for pair in found
    ]


def as_latex(found: Sequence[Pair], dataset: str) -> str:
    """Return the pairs as a LaTeX table, a line per score, with what differs below it."""
    notes: dict[str, str] = {}
    body = []
    for pair in found:
        text = _plain(pair.differs)
        note = notes.setdefault(text, str(len(notes) + 1))
        cells = [
            f"{{}}{latex.escape(pair.run.short_name(60))}",
            latex.escape(f"{pair.row.source.text}; {pair.row.variant}", 90),
            latex.escape(f"{pair.protocol} {metric_label(metric_id(pair.metric))}"),
            _measured(pair.score),
            pair.digits,
            rf"\({pair.difference:+}\)\textsuperscript{{{note}}}",
        ]
        body.append(" & ".join(cells) + r" \\")
    heads = ["method", "published in", "score", r"measured, \%", r"published, \%", "difference"]
    return "\n".join(
        [
            f"% {latex.escape(dataset)}, beside published; needs {latex.PREAMBLE}",
            r"\begin{table*}[t]",
            r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{latex.escape(dataset)}: measured here and published.}}",
            rf"\label{{tab:{latex.label(dataset)}-published}}",
            latex.FIT,
            r"\begin{tabular}{@{}lp{0.42\linewidth}lrrr@{}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            *latex.notes({n: f"{latex.escape(text, 600)}." for text, n in notes.items()}),
            r"\end{table*}",
            "",
        ]
    )


def metric_id(name: str) -> str:
    """Return the id of a published metric: "recall@5" is "recall@5.any-hit.junk-removed"."""
    family, _, k = name.partition("@")
    if family == "map" and k:
        return ""
    return IDS.get(family, "").format(k)


def _unlike(text: str) -> int:
    """Return in how many points two rows differ; what a source does not state counts too."""
    return 0 if text == NONE_KNOWN else 1 + text.count("<br>")


def _pairs(run: Run, row: PublishedRow, dataset: str, text: str) -> list[Pair]:
    out = []
    for (of, protocol, metric), digits in row.values.items():
        score = run.score(protocol, metric_id(metric))
        if of == dataset and score.mean is not None:
            out.append(Pair(run, row, protocol, metric, score, digits, text))
    return out


def _said(row: PublishedRow) -> str:
    at = row.source
    words = clean(at.text, LONGEST)
    shown = escape(words) if at.url is None else text.link(words, at.url)
    return f"{shown}: {escape(row.variant, LONGEST)}"


def _measured(score: Score) -> str:
    return printed(score.mean)


def _plain(finished: str) -> str:
    return text.plain(finished)
