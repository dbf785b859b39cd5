"""The report: records and published.toml in; an index, a page per data set, figures out."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath

from bench.errors import BenchError
from bench.records import rows, values
from bench.records.rows import Run
from bench.records.text import clean, relative_target
from bench.report import datasets, gallery, index, reproduce
from bench.report.figures import kept, of_board, plot
from bench.report.figures.kept import Job, Picture
from bench.report.figures.sensitivity import draw
from bench.report.leaderboard import page
from bench.report.tables import ablation, approximate, overview, published, sensitivity, stages
from bench.report.tables.published import Conflict, PublishedRow
from bench.report.tables.sensitivity import Study
from bench.system.notes import note

FIELD = (
    "roxford5k", "rparis6k", "oxford5k", "paris6k", "gldv2", "pitts30k", "tokyo247", "msls",
    "nordland", "nclt",
)  # fmt: skip
TOY = "mini"  # always last
README = re.compile(rb"\[(`README\.md`)\]\([^)]*README\.md[^)]*\)")
MADE = {"report": ("md",), "tables": ("tex", "csv", "json"), "figures": plot.FORMATS}


@dataclass(frozen=True)
class Content:
    """What the report is made of; `by_dataset` has the runs of each data set, in their order."""

    results: Path
    shown: Sequence[Run]
    by_dataset: Mapping[str, Sequence[Run]]
    published: Sequence[PublishedRow]
    studies: Sequence[Study]
    left_out: Sequence[tuple[PurePosixPath, str]]
    conflicts: Sequence[Conflict] = ()
    older: int = 0
    easy: bool = False
    overviews: Sequence[overview.Overview] = field(default_factory=tuple)


def build(
    results: Path, *, easy: bool = False, html: bool = False, source: Path | None = None
) -> list[Path]:
    """Write report.md, report/, tables/ and figures/ below `results`; return the paths.

    `html` asks for the leaderboard page as well, results/index.html. The same records give the same
    bytes. A record that cannot be used is named with the reason at the end of the report and on
    standard error. `source` is the file of published rows, by default published.toml of `results`.
    Raises BenchError if it is wrong, or if the folder does not exist.
    """
    content = load(results, easy=easy, source=source)
    parts, unread = ablation.load(results)
    chains, not_compared = stages.load(results)
    left_out = sorted([*content.left_out, *unread, *not_compared])
    for file, reason in left_out:
        note(f"not shown: {clean(file)} – {clean(reason)}")
    files: dict[str, bytes] = {}
    pages: dict[str, list[str]] = {}
    of_datasets = [datasets.jobs(results, name, chosen, content.shown)
                   for name, chosen in content.by_dataset.items()]  # fmt: skip
    kept.ahead([*of_board.jobs(content.overviews), *chain.from_iterable(of_datasets)])
    for name, chosen in content.by_dataset.items():
        about = datasets.About(
            results, name, chosen, content.shown, content.published, easy,
            any(study.dataset == name for study in content.studies),
        )  # fmt: skip
        pages[overview.page_name(name)], made = datasets.page(about)
        files |= made
    pages |= datasets.published_pages(content.published, content.by_dataset)
    for name in sorted({study.dataset for study in content.studies}):
        pages[f"report/{name}.sensitivity.md"] = _studies(content.studies, name, files)
    if made_parts := ablation.section(parts):
        pages["report/ablation.md"] = [made_parts]
    if made_chains := stages.section(chains):
        pages["report/stages.md"] = [made_chains]
    if approximated := approximate.section(content.shown):
        pages["report/approximate.md"] = [approximated]
    if again := reproduce.page(content.published, content.shown):
        pages["report/reproduce.md"] = again
    dated = of_board.years(content.published)
    files |= datasets.pictured(dated)
    if other := index.elsewhere(content.published, content.conflicts, dated):
        pages[index.ELSEWHERE] = other
    if shown := gallery.page(results, pages):
        pages[gallery.PAGE] = shown
    of_all = of_board.overviews(content.overviews)
    files |= datasets.pictured(of_all)
    listed = index.blocks(content, left_out, sorted(pages), of_all)
    written = {"report.md": _text(listed), **{name: below(of) for name, of in pages.items()}}
    if not (results / "README.md").exists():
        written = {name: README.sub(rb"\1 of the project", of) for name, of in written.items()}
    written |= files
    if html:
        written["index.html"] = page.page(results, content, left_out)
    _forget(results, written)
    return [_write(results / name, data) for name, data in written.items()]


def load(results: Path, *, easy: bool = False, source: Path | None = None) -> Content:
    """Read the records, the published rows and the studies, and make the overviews."""
    if not results.is_dir():
        raise BenchError(f"the folder of results {results} does not exist; check --results.")
    if source is not None and not source.is_file():
        raise BenchError(f"the file of published rows {source} does not exist; check --published.")
    source = source or results / "published.toml"
    published_rows = published.load(source) if source.exists() else []
    measured, left_out = rows.load(results)
    newest, older = rows.newest(measured)
    studies, broken = sensitivity.load(results)
    by_dataset = {
        name: values.completed(results, [run for run in newest if run.dataset == name])
        for name in _datasets(newest)
    }
    shown = [run for runs in by_dataset.values() for run in runs]
    made = overview.overviews(results, by_dataset)
    return Content(
        results, shown, by_dataset, published_rows, studies, sorted([*left_out, *broken]),
        published.conflicts(source, published_rows) if source.exists() else (), older, easy, made,
    )  # fmt: skip


def _datasets(shown: Sequence[Run]) -> list[str]:
    """Return the measured datasets: those of the field in their order, others by name, mini."""

    def place(name: str) -> tuple[bool, int, str]:
        base = name.split("+")[0]
        return (base == TOY, FIELD.index(base) if base in FIELD else len(FIELD), name)

    return sorted({run.dataset for run in shown}, key=place)


def below(blocks: Sequence[str]) -> bytes:
    """Return a page in the folder report/: links of the index lead one folder up."""
    text = re.sub(
        r"(?<!\\)\]\((runs/|figures/|tables/|report/|report\.md|README\.md|sensitivity/|ablation/|stages/)",
        lambda found: f"](../{found.group(1)}",
        _text(blocks).decode("utf-8"),
    )
    return text.replace("](../report/", "](").encode("utf-8")


def _text(blocks: Sequence[str]) -> bytes:
    return "\n".join(block for block in blocks if block).encode("utf-8")


def _forget(results: Path, content: Collection[str]) -> None:
    """Remove tables, pages and figures that an earlier report wrote, and no other file."""
    for folder, kinds in MADE.items():
        for kind in kinds:
            for path in (results / folder).glob(f"*.{kind}"):
                if f"{folder}/{path.name}" not in content:
                    path.unlink()


def _drawn(study: Study, name: str) -> list[Picture]:
    return [Picture(name, draw(study), "", "")]


def _studies(studies: Sequence[Study], dataset: str, files: dict[str, bytes]) -> list[str]:
    """Return the page of the studies of a data set, and add their pictures to `files`."""
    blocks = [f"# Sensitivity: {clean(dataset)}\n", "[All data sets](report.md)\n"]
    for number, study in enumerate(sensitivity.order(studies, dataset)):
        name = f"sensitivity-{dataset}-{study.file.stem}"
        drawn = kept.pictures(Job([], [name, repr(study)], partial(_drawn, study, name)))
        files |= datasets.pictured(drawn)
        stem = f"figures/{name}"
        heading, *rest = sensitivity.section(study, relative_target(PurePosixPath(f"{stem}.png")))
        blocks += [heading, *([] if number else [sensitivity.HINT]), *rest]
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
