"""What each stage adds to a method, paired over queries: the records below results/stages/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from bench import stages
from bench.errors import BenchError
from bench.records import compare, record, rows
from bench.records.rows import Run
from bench.records.text import escape, table
from bench.records.words import metric_label
from bench.report.tables.main import printed
from bench.report.tables.numbers import memory_and_disk
from bench.scoring.card import is_compressed, name_of

FOLDER = "stages"
TITLE = "## What stages add\n"
ABOUT = """\
Every row compares one stage, or a chain of stages, with the same method without it: the difference
of {metric} in points, paired over queries, with its 95 % interval. "Not significant": the p of the
paired test is not below 0.05; with few landmarks this holds for all but the largest differences,
and does not show that the difference is zero. Parameters are chosen for this small data set.
"""
PLAIN = "–"
LEVEL = 0.05


def load(results: Path) -> tuple[list[tuple[Run, list[dict[str, Any]]]], list[Any]]:
    """Return (run, its pairs with the run without stages), and (file, reason) of unused records."""
    folder = results / FOLDER
    found, left_out = rows.load(folder)
    kept, out = rows.newest(found)[0], []
    bare = {(r.dataset, r.method, r.variant): r for r in kept if _is_bare(r, folder)}
    for run in sorted(kept, key=lambda r: (r.dataset, r.method, r.variant, r.created, r.run_id)):
        plain = bare.get((run.dataset, run.method, run.variant))
        if plain is None:
            left_out.append((run.file, "its method has no record without stages"))
            continue
        try:
            out.append((run, [] if run is plain else _pairs(folder, plain, run)))
        except BenchError as error:
            left_out.append((run.file, str(error)))
    return out, [(PurePosixPath(FOLDER) / file, reason) for file, reason in left_out]


def section(found: Sequence[tuple[Run, list[dict[str, Any]]]]) -> str:
    """Return a table per data set and method; nothing without records."""
    if not found:
        return ""
    metric = ", ".join(sorted({metric_label(run.headline) for run, _ in found}))
    blocks = [TITLE, ABOUT.format(metric=metric)]
    for dataset, name in dict.fromkeys((run.dataset, _method(run)) for run, _ in found):
        same = [
            entry for entry in found if (entry[0].dataset, _method(entry[0])) == (dataset, name)
        ]
        names = rows.protocols(run for run, _ in same)
        head = [f"{escape(name)} on {escape(dataset)}", "bytes, memory + disk"]
        head += [word for entry in names for word in (escape(entry), "difference")]
        cells = [_row(run, pairs, names) for run, pairs in same]
        blocks += [table(head, cells, range(1, len(head))), ""]
    return "\n".join(blocks)


def _row(run: Run, pairs: Sequence[dict[str, Any]], names: Sequence[str]) -> list[str]:
    words = escape(_words(run)) if pairs else "plain"
    out = [
        f"[{words}]({FOLDER}/{run.file})",
        memory_and_disk(run.cost.image_bytes, run.cost.disk_bytes),
    ]
    for name in names:
        mean = run.score(name, run.headline).mean
        pair = next((pair for pair in pairs if pair["protocol"] == name), None)
        out += [PLAIN if mean is None else printed(mean), PLAIN if pair is None else _shown(pair)]
    return out


def _shown(pair: dict[str, Any]) -> str:
    """Return a difference with its interval, and whether it shows anything."""
    if pair["difference"] is None:
        return PLAIN
    around = "".join(f" [{100 * low:+.1f}, {100 * high:+.1f}]" for low, high in _ends(pair))
    verdict = f"p = {pair['p']:.3f}" if pair["p"] < LEVEL else "not significant"
    return f"{100 * pair['difference']:+.1f}{around}<br>{verdict}"


def _ends(pair: dict[str, Any]) -> list[tuple[float, float]]:
    return [] if pair["interval"] is None else [tuple(pair["interval"])]


def _method(run: Run) -> str:
    return f"{run.method}.{run.variant}"


def _words(run: Run) -> str:
    """Return codes and stages as text, in the order of application."""
    codes = [name_of(run.card["compression"])] if is_compressed(run.card) else []
    return "; ".join([*codes, *filter(None, [stages.words(run.card["stages"])])])


def _is_bare(run: Run, folder: Path) -> bool:
    card = record.read(folder / run.file)["card"]
    return not card["stages"] and "rerank" not in card and card["compression"] == "none (float32)"


def _pairs(folder: Path, plain: Run, run: Run) -> list[dict[str, Any]]:
    return compare.compare(compare.load([folder / plain.file, folder / run.file]))
