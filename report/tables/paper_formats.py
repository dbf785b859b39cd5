"""The formats of a table of a paper: LaTeX with its .bib, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from bench.records import text
from bench.records.words import metric_label
from bench.report.tables import latex
from bench.report.tables.numbers import NONE
from bench.report.tables.paper import Cell, Column, Line, Paper

NAMES = {
    "roxford5k": r"\(\mathcal{R}\)Oxf", "rparis6k": r"\(\mathcal{R}\)Par",
    "roxford5k+r1m": r"\(\mathcal{R}\)Oxf+1M", "rparis6k+r1m": r"\(\mathcal{R}\)Par+1M",
}  # fmt: skip
HEADS = {"ms": "ms", "parameters": "par. (M)", "trained-on": "trained on"}


def as_latex(paper: Paper) -> str:
    r"""Return a table* for `\input`, booktabs, at 9 pt; it needs booktabs and multirow of none."""
    spans = _spans(paper.columns)
    count = 1 + len(paper.extra) + len(paper.columns)
    top = [""] * (1 + len(paper.extra))
    top += [rf"\multicolumn{{{n}}}{{c}}{{{NAMES.get(name, latex.escape(name))}}}"
            for name, n in spans]  # fmt: skip
    rules, at = [], 2 + len(paper.extra)
    for _, n in spans:
        rules.append(rf"\cmidrule(lr){{{at}-{at + n - 1}}}")
        at += n
    heads = ["method", *(latex.escape(HEADS.get(key, key)) for key in paper.extra)]
    heads += [latex.escape(column.head) for column in paper.columns]
    lines = [
        r"% written by `python -m bench report table`; needs \usepackage{booktabs}",
        r"\begin{table*}[t]",
        r"\centering\small\setlength{\tabcolsep}{3.5pt}",
        rf"\caption{{{_caption(paper)}}}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (len(paper.extra) + len(paper.columns))}@{{}}}}",
        r"\toprule",
        " & ".join(top) + r" \\",
        "".join(rules),
        " & ".join(heads) + r" \\",
    ]
    for heading, group in paper.groups:
        lines.append(r"\midrule")
        if len(paper.groups) > 1:
            text = latex.escape(heading)
            lines.append(rf"\multicolumn{{{count}}}{{@{{}}l}}{{\emph{{{text}}}}} \\")
        lines += [_latex_line(line) for line in group]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def _latex_line(line: Line) -> str:
    name = "{}" + latex.escape(line.name, 70 if len(line.cells) < 7 else 44)
    if line.cite:
        name += rf"~\cite{{{line.cite}}}"
    cells = [name, *(latex.escape(words, 40) for words in line.extra)]
    for cell in line.cells:
        shown = cell.shown.replace(NONE, "--")
        shown = {1: rf"\textbf{{{shown}}}", 2: rf"\underline{{{shown}}}"}.get(cell.place, shown)
        if cell.mark:
            shown += rf"\textsuperscript{{{cell.mark}}}"
        if cell.interval is not None:
            low, high = (f"{100 * end:.0f}" for end in cell.interval)
            shown += rf"\,{{\scriptsize {low}--{high}}}"
        cells.append(shown)
    return " & ".join(cells) + r" \\"


def _caption(paper: Paper) -> str:
    labels = dict.fromkeys(metric_label(column.metric) for column in paper.columns)
    what = "Recall@k" if any(x.startswith("R@") for x in labels) else ", ".join(labels)
    notes = "; ".join(paper.notes)
    return latex.escape(f"{what}, %." + (f" {notes[:1].upper()}{notes[1:]}." if notes else ""), 600)


def _spans(columns: Sequence[Column]) -> list[tuple[str, int]]:
    out: list[tuple[str, int]] = []
    for column in columns:
        if out and out[-1][0] == column.dataset:
            out[-1] = (column.dataset, out[-1][1] + 1)
        else:
            out.append((column.dataset, 1))
    return out


def as_bib(paper: Paper) -> str:
    """Return a BibTeX entry (@misc) for every source of a published row."""
    out = []
    for key, row in sorted(paper.sources.items()):
        lines = [f"@misc{{{key},", f"  title = {{{{{latex.escape(row.source.text)}}}}},"]
        if row.source.url:
            lines.append(f"  howpublished = {{\\url{{{row.source.url}}}}},")
        if row.source.year:
            lines.append(f"  year = {{{row.source.year}}},")
        out.append("\n".join([*lines, "}", ""]))
    return "\n".join(out)


def as_markdown(paper: Paper) -> str:
    """Return a Markdown table per heading, and the notes."""
    several = len({column.dataset for column in paper.columns}) > 1
    heads = ["method", *(HEADS.get(key, key) for key in paper.extra)]
    heads += [text.escape(f"{c.dataset} {c.head}" if several else c.head) for c in paper.columns]
    blocks = []
    for heading, group in paper.groups:
        if len(paper.groups) > 1:
            blocks.append(f"**{text.escape(heading)}**\n")
        rows = []
        for line in group:
            name = text.escape(line.name)
            if line.cite:
                at = paper.sources[line.cite].source
                name += f" ({text.link('source', at.url) if at.url else text.escape(at.text)})"
            rows.append([name, *map(text.escape, line.extra), *map(_markdown_cell, line.cells)])
        blocks.append(text.table(heads, rows, range(1, len(heads))))
    notes = "; ".join(paper.notes)
    return "\n".join([*blocks, f"{notes[:1].upper()}{notes[1:]}.\n" if notes else ""])


def _markdown_cell(cell: Cell) -> str:
    shown = {1: f"**{cell.shown}**", 2: f"<ins>{cell.shown}</ins>"}.get(cell.place, cell.shown)
    shown += f"<sup>{cell.mark}</sup>" if cell.mark else ""
    if cell.interval is not None:
        low, high = (f"{100 * end:.0f}" for end in cell.interval)
        shown += f" <sub>{low}–{high}</sub>"
    return shown


def as_csv(paper: Paper) -> str:
    """Return a line per row: heading, name, source, columns besides, scores with their ends."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    heads = ["heading", "method", "source", *paper.extra]
    for c in paper.columns:
        name = f"{c.dataset} {c.protocol} {c.metric}"
        heads += [name, f"{name} low", f"{name} high", f"{name} place"]
    writer.writerow(heads)
    for heading, group in paper.groups:
        for line in group:
            row = [heading, line.name, line.cite or "", *line.extra]
            for cell in line.cells:
                ends = [f"{100 * end:.{paper.digits}f}" for end in cell.interval or ()]
                row += [cell.shown.replace(NONE, ""), *(ends or ["", ""]), str(cell.place or "")]
            writer.writerow([_safe(value) for value in row])
    return out.getvalue()


def _safe(value: str) -> str:
    return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value
