"""The report: results/runs/ and results/published.toml in, report.md and its figures out."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from bench.records import rows
from bench.records.rows import Run
from bench.records.text import clean, code, escape, folded, relative_target
from bench.report.figures import figures
from bench.report.figures.sensitivity import draw
from bench.report.leaderboard import page
from bench.report.tables import (
    ablation,
    approximate,
    cost,
    export,
    latex,
    literature,
    main,
    markdown,
    measured_vs_published,
    protocols,
    published,
    sensitivity,
)
from bench.report.tables.main import Board
from bench.report.tables.published import PublishedRow

FIELD = (
    "roxford5k", "rparis6k", "oxford5k", "paris6k", "gldv2", "pitts30k", "tokyo247", "msls",
    "nordland", "nclt",
)  # fmt: skip
GUIDE = """\
Measured scores are percentages, and each belongs to a protocol card, named by the first 8 digits of
its sha256. Rows under one heading were scored under the same rules; rows under different headings
are not to be compared. Published numbers were not measured here, and never share a column with a
measured one. How to read the rest stands [at the end](#how-to-read-this-report).
"""
HOW_TO_READ = """\
## How to read this report

Built from the records below `runs/`, `sensitivity/` and `ablation/` and from `published.toml`, and
from nothing else. The main tables are also LaTeX, CSV and JSON below [`tables/`](tables/);
[`README.md`](README.md) describes every column.

- A main table has a row per method, variant and treatment. How a method treats its pixels, how
  precisely it computes and how its descriptors are stored is its own and has columns; all else,
  such as the query crop, is a rule, and rules have headings. The letter is that of the card.
- Best and second best are those of a group, where at least two, or three, trained and complete runs
  are in it. They are the larger numbers, not a proof: `python -m bench compare A B` tests that.
- "untrained": the network has random weights. "chance": the descriptors are random vectors.
  "partial": only a part of the images was used.
- The 95 % interval is a bootstrap over landmarks: queries that share at least half of their
  positive images are drawn together. The records say by which method it was made.
- Published rows have the digits as printed in the source, and what differs in words. Where rows of
  the same method were measured, the comparison is with these, otherwise with all measured rows of
  the dataset.
"""
NO_RUNS = "No runs have been recorded yet: there are no measured rows, only published ones.\n"
LEADERBOARD = """\
Values as listed there. They mix papers, query crops and other people's baselines, so each has its
probable origin and a verdict.
"""


def build(results: Path, *, easy: bool = False, html: bool = False) -> list[Path]:
    """Write report.md, tables/ and figures/ below `results`; return the paths, the report first.

    `html` asks for the leaderboard page as well, results/index.html.
    The same records give the same bytes. A record that cannot be used is named with the reason at
    the end of the report and on standard error. Raises BenchError where published.toml is there
    and wrong.
    """
    source = results / "published.toml"
    published_rows = published.load(source) if source.exists() else []
    measured, left_out = rows.load(results)
    shown, older = rows.newest(measured)
    studies, broken = sensitivity.load(results)
    parts, unread = ablation.load(results)
    left_out = sorted([*left_out, *broken, *unread])
    by_dataset: dict[str, list[Run]] = {name: [] for name in _datasets(shown)}
    for run in shown:
        by_dataset[run.dataset].append(run)
    files: dict[str, bytes] = {}
    blocks = ["# Report\n", GUIDE, NO_RUNS if not shown else _counts(shown, older)]
    if not source.exists():
        blocks.append("There is no `published.toml`: published rows are not shown.\n")
    for file, reason in left_out:
        print(f"left out: {clean(file)} – {clean(reason)}", file=sys.stderr)
    for name, chosen in by_dataset.items():
        drawn = figures.of_dataset(results, chosen, shown, name)
        for picture in drawn:
            for kind, data in picture.files.items():
                files[f"figures/{picture.stem}.{kind}"] = data
        main_table = main.board(chosen, name, easy=easy)
        beside_them = measured_vs_published.pairs(chosen, published_rows, name)
        files |= _tables(main_table, beside_them)
        blocks += [f"## {escape(name)}\n", markdown.table(main_table)]
        blocks += _pictures(drawn)
        if beside_them:
            blocks.append(f"### Measured beside published: {escape(name)}\n")
            blocks.append(measured_vs_published.table(beside_them))
        blocks += _studies(studies, name, files)
        blocks += _details(chosen, name)
        blocks.append(literature.dataset_tables(published_rows, name, chosen))
        of_costs, charts = cost.section(chosen, name)
        blocks += of_costs
        files |= charts
    blocks += [approximate.section(shown), ablation.section(parts)]
    unmeasured = [name for name in literature.datasets(published_rows) if name not in by_dataset]
    blocks += _published_only(published_rows, unmeasured)
    others = [study for study in studies if study.dataset not in by_dataset]
    for name in sorted({study.dataset for study in others}):
        blocks.append(f"## {escape(name)}: sensitivity\n")
        blocks += _studies(studies, name, files)
    blocks += _closing(published_rows, left_out)
    text = "\n".join(block for block in blocks if block)
    content = {"report.md": text.encode("utf-8"), **files}
    if html:
        content["index.html"] = page.page(results, shown, published_rows, left_out)
    _forget(results, content)
    return [_write(results / name, data) for name, data in content.items()]


def _datasets(shown: Sequence[Run]) -> list[str]:
    """Return the measured datasets: those of the field in their order, then others by name."""

    def place(name: str) -> tuple[int, str]:
        base = name.split("+")[0]
        return (FIELD.index(base) if base in FIELD else len(FIELD), name)

    return sorted({run.dataset for run in shown}, key=place)


def _tables(main: Board, found: Sequence[measured_vs_published.Pair]) -> dict[str, bytes]:
    """Return the main table, and what is beside published, as files by their names."""
    made = {
        f"tables/{main.dataset}.tex": latex.table(main),
        f"tables/{main.dataset}.csv": export.as_csv(main),
        f"tables/{main.dataset}.json": export.as_json(main),
    }
    if found:
        made[f"tables/{main.dataset}.published.tex"] = measured_vs_published.as_latex(
            found, main.dataset
        )
        made[f"tables/{main.dataset}.published.json"] = export.dump(
            measured_vs_published.as_lines(found)
        )
    return {name: text.encode("utf-8") for name, text in made.items()}


def _forget(results: Path, content: Collection[str]) -> None:
    """Remove tables that an earlier report wrote and this one does not; nothing else."""
    for kind in ("tex", "csv", "json"):
        for path in (results / "tables").glob(f"*.{kind}"):
            if f"tables/{path.name}" not in content:
                path.unlink()


def _studies(
    studies: Sequence[sensitivity.Study], dataset: str, files: dict[str, bytes]
) -> list[str]:
    """Return the blocks of the studies of a dataset, and add their pictures to `files`."""
    blocks = []
    for number, study in enumerate(sensitivity.order(studies, dataset)):
        stem = f"figures/sensitivity-{dataset}-{study.file.stem}"
        for kind, data in draw(study).items():
            files[f"{stem}.{kind}"] = data
        heading, *rest = sensitivity.section(study, relative_target(PurePosixPath(f"{stem}.png")))
        blocks += [heading, *([] if number else [sensitivity.HINT]), *rest]
    return blocks


def _counts(shown: Sequence[Run], older: int) -> str:
    text = f"{len(shown)} measured {'row' if len(shown) == 1 else 'rows'}"
    if older == 0:
        return f"{text}; no record was replaced by a newer one.\n"
    which = "1 older record is" if older == 1 else f"{older} older records are"
    return (
        f"{text}. Of one dataset, card, method and machine only the newest record is shown; "
        f"{which} not.\n"
    )


def _pictures(drawn: Sequence[figures.Picture]) -> list[str]:
    blocks = []
    for picture in drawn:
        target = relative_target(PurePosixPath("figures", f"{picture.stem}.png"))
        vector = relative_target(PurePosixPath("figures", f"{picture.stem}.svg"))
        blocks.append(f"![{escape(picture.alternative)}]({target})\n")
        blocks.append(f"{picture.caption} [Vector graphic]({vector}).\n")
    return blocks


def _details(chosen: Sequence[Run], dataset: str) -> list[str]:
    """Return every score and cost per protocol, and the cards, all of them folded."""
    blocks = [f"### Details and cards: {escape(dataset)}\n"]
    for protocol in rows.protocols(chosen):
        title = f"{dataset}, {protocol}: every score, cost and device, by card"
        blocks.append(folded(title, protocols.protocol_table(chosen, protocol)))
    return [*blocks, protocols.cards_of(chosen)]


def _published_only(rows: Sequence[PublishedRow], names: Sequence[str]) -> list[str]:
    blocks = []
    for name in names:
        blocks.append(f"## {escape(name)}\n\nNothing was measured on it.\n")
        blocks.append(literature.dataset_tables(rows, name, []))
    return blocks


def _closing(
    rows: Sequence[PublishedRow], left_out: Sequence[tuple[PurePosixPath, str]]
) -> list[str]:
    blocks = [HOW_TO_READ]
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
