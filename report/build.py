"""The report: results/runs/ and results/published.toml in, report.md and its figures out."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from . import literature, page, pictures, published, runs, tables
from .cards import metric_label
from .markdown import clean, code, escape, relative_target
from .published import PublishedRow
from .runs import Run

GUIDE = """\
Built from the records below `runs/` and from `published.toml`, and from nothing else.

- Every measured score is a percentage and belongs to a protocol card, named by the first 8 digits
  of its sha256. Rows with different cards were scored under different rules: they stand under a
  heading each, and the list below a table says in what its cards differ.
- Bold: the best value under one card, where at least two complete runs have it.
- "untrained": the network has random weights. "chance": the descriptors are random vectors.
  "partial": only a part of the images was used.
- The 95 % interval is a bootstrap over landmarks: queries that share a positive image are drawn
  together.
- Published rows were not measured here. They are in tables of their own, with the digits as
  printed in the source, and what differs in words. Where rows of the same method were measured,
  the comparison is with these, otherwise with all measured rows of the dataset.
"""
NO_RUNS = "No runs have been recorded yet: there are no measured rows, only published ones.\n"
LEADERBOARD = """\
Values as listed there. They mix papers, query crops and other people's baselines, so each has its
probable origin and a verdict.
"""


def build(results: Path, html: bool = False) -> list[Path]:
    """Write results/report.md and results/figures/; return their paths, the report first.

    `html` asks for the leaderboard page as well, results/index.html.
    The same records give the same bytes. A record that cannot be used is named with the reason at
    the end of the report and on standard error. Raises BenchError where published.toml is there
    and wrong.
    """
    source = results / "published.toml"
    rows = published.load(source) if source.exists() else []
    measured, left_out = runs.load(results)
    shown, older = runs.newest(measured)
    for file, reason in left_out:
        print(f"left out: {clean(file)} – {clean(reason)}", file=sys.stderr)
    by_dataset = {name: [r for r in shown if r.dataset == name] for name in _datasets(shown)}
    figures = {}
    blocks = ["# Report\n", GUIDE, NO_RUNS if not shown else _counts(shown, older)]
    if not source.exists():
        blocks.append("There is no `published.toml`: published rows are not shown.\n")
    for name, chosen in by_dataset.items():
        drawn = pictures.of_dataset(results, chosen, shown, name)
        for picture in drawn:
            for kind, data in picture.files.items():
                figures[f"figures/{picture.stem}.{kind}"] = data
        blocks += _measured(chosen, name, drawn)
        blocks.append(literature.dataset_tables(rows, name, chosen))
    others = [name for name in literature.datasets(rows) if name not in by_dataset]
    blocks += _published_only(rows, others)
    blocks += _closing(rows, left_out)
    text = "\n".join(block for block in blocks if block)
    content = {"report.md": text.encode("utf-8"), **figures}
    if html:
        content["index.html"] = page.page(results, shown, rows, left_out)
    return [_write(results / name, data) for name, data in content.items()]


def _datasets(shown: Sequence[Run]) -> list[str]:
    return sorted({run.dataset for run in shown})


def _counts(shown: Sequence[Run], older: int) -> str:
    text = f"{len(shown)} measured {'row' if len(shown) == 1 else 'rows'}"
    if older == 0:
        return f"{text}; no record was replaced by a newer one.\n"
    which = "1 older record is" if older == 1 else f"{older} older records are"
    return (
        f"{text}. Of one dataset, card, method and machine only the newest record is shown; "
        f"{which} not.\n"
    )


def _measured(chosen: Sequence[Run], dataset: str, drawn: Sequence[pictures.Picture]) -> list[str]:
    labels = ", ".join(sorted({escape(metric_label(run.headline)) for run in chosen}))
    blocks = [f"## {escape(dataset)}\n"]
    for picture in drawn:
        target = relative_target(PurePosixPath("figures", f"{picture.stem}.png"))
        vector = relative_target(PurePosixPath("figures", f"{picture.stem}.svg"))
        blocks.append(f"![{escape(picture.alternative)}]({target})\n")
        blocks.append(f"{picture.caption} [Vector graphic]({vector}).\n")
    blocks += [f"### Summary: {labels}, %\n", tables.summary(chosen)]
    for protocol in runs.protocols(chosen):
        blocks.append(f"### {escape(dataset)}, {escape(protocol)}\n")
        blocks.append(tables.protocol_table(chosen, protocol))
    return blocks


def _published_only(rows: Sequence[PublishedRow], names: Sequence[str]) -> list[str]:
    blocks = []
    for name in names:
        blocks.append(f"## {escape(name)}\n\nNothing was measured on it.\n")
        blocks.append(literature.dataset_tables(rows, name, []))
    return blocks


def _closing(
    rows: Sequence[PublishedRow], left_out: Sequence[tuple[PurePosixPath, str]]
) -> list[str]:
    blocks = []
    if costs := literature.costs(rows):
        blocks += ["## Published latency and memory\n", costs]
    if listed := literature.leaderboard(rows):
        blocks += [
            "## A third-party leaderboard\n",
            LEADERBOARD,
            listed,
        ]
    if legend := literature.tag_legend(rows):
        blocks.append(f"How each published number is known: {legend}.\n")
    held = sum(not row.printable for row in rows)
    if held:
        blocks.append(
            f"{held} published rows are known from memory only ({code('mem')}) and not printed "
            "before they are confirmed.\n"
        )
    if left_out:
        blocks.append("## Left out\n")
        blocks += [f"- left out: {escape(file)} – {escape(reason)}" for file, reason in left_out]
        blocks.append("")
    return blocks


def _write(path: Path, content: bytes) -> Path:
    """Write a file so that it appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
