"""From descriptors to a record: search, score, write. The same for a run and for `evaluate`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import (
    bring,
    card,
    datasets,
    descriptors,
    evaluate,
    interval,
    machine,
    record,
    rerank,
    search,
)
from bench.canonical import plain
from bench.errors import BenchError
from bench.geometry import Mode
from bench.paths import ROOT
from bench.progress import Progress
from bench.rerank import Candidates, Precision, Reranking
from bench.types import Dataset, LabelledRanks, MethodInfo, Protocol

UNIT_NORM_TOLERANCE = 1e-3
SEED = 0


@dataclass(frozen=True)
class Options:
    """What the command line says beyond names; the defaults are written here and nowhere else."""

    output: Path = ROOT / "results"
    weights: str | None = None
    device: str | None = None
    batch_size: int = 8
    query_crop: str | None = None
    max_side: str | None = None
    scales: tuple[float, ...] | None = None
    measure_latency: bool = True
    shortlist: int = 100
    memory_budget_mib: int = 256
    limit: int | None = None
    force: bool = False
    rerank: Candidates | None = None
    ransac: Mode = "fast"
    local_precision: Precision = "float32"
    command: str = ""


def finish(
    dataset: Dataset,
    parts: list[descriptors.Matrix],
    query_parts: list[descriptors.Matrix],
    make_card: Callable[[search.Found], card.Card],
    info: MethodInfo,
    options: Options,
    timing: dict[str, Any],
    device: str | None,
    reranking: Reranking | None = None,
) -> Path:
    """Rank, re-rank where asked, score, write the record of descriptors; return its path.

    `timing` needs `phases_s` (what was done before) and `latency`; `device` is None where nothing
    ran on one.
    """
    phases = timing["phases_s"]
    depth = options.shortlist
    if reranking is not None:
        depth = max(depth, rerank.depth_needed(reranking.stage, dataset.protocols))
    found = _search(dataset, parts, query_parts, depth, options, phases)
    verified, ranks = None, [found.ranks] * len(dataset.protocols)
    if reranking is not None:
        mask = rerank.chosen(found.shortlist, dataset.protocols, reranking.stage)
        verified = reranking.verify(found.shortlist, mask, phases)
        ranks = rerank.ranks_under(
            found.ranks, found.shortlist, verified.inliers, dataset.protocols, reranking.stage
        )
    start = time.perf_counter()
    scores = evaluate.score(ranks, dataset.protocols, len(dataset.database), SEED)
    phases["score"] = time.perf_counter() - start
    phases |= {phase: round(seconds, 4) for phase, seconds in phases.items()}
    content = {
        "run_id": record.new_run_id(),
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "command": options.command,
        "card": make_card(found),
        "method": plain(info),
        "scores": record.scores_to_json(scores),
        "intervals": intervals_of(dataset.protocols, len(dataset.database)),
        "ties": ties_of(found.ranks),
        "timing": timing,
        "memory": {
            "peak_resident_bytes": machine.peak_resident_bytes(),
            "peak_device_bytes": None if device is None else machine.peak_device_bytes(device),
        },
        "bytes_per_image": parts[0].shape[1] * parts[0].open().dtype.itemsize,
        "partial": dataset.limit is not None,
        "machine": machine.describe(device),
        "libraries": machine.libraries(),
        "source": machine.source(),
        "seed": SEED,
    }
    if verified is not None:
        content["rerank"] = dict(verified.about)
    inliers = None if verified is None else verified.inliers
    arrays = record.arrays_of(found.ranks, found.shortlist, dataset.protocols, inliers)
    return record.write(options.output, content, arrays)


def score_brought(
    dataset_name: str,
    database: Path,
    queries: Path,
    distractors: Sequence[Path],
    label: str,
    options: Options,
) -> Path:
    """Score descriptors that the user brings; no images are needed. Returns the record's path."""
    dataset = datasets.load(dataset_name)
    brought = bring.read(database, "database")
    bring.check_rows(brought, dataset.database, "database images")
    asked = bring.read(queries, "queries")
    bring.check_rows(asked, dataset.queries, "queries")
    added = [bring.read(path, "distractors") for path in distractors]
    bring.check_dim([brought, asked, *added])
    sources = [(path.stem, part.shape[0]) for path, part in zip(distractors, added, strict=True)]

    def make_card(found: search.Found) -> card.Card:
        least, most = found.norms
        unit = max(abs(least - 1), abs(most - 1)) < UNIT_NORM_TOLERANCE
        made = card.make(dataset, None, unit_norm=unit, distractors=sources)
        return made | {"compression": f"none ({brought.open().dtype})"}

    info = MethodInfo(
        name="brought",
        variant=label,
        version="0",
        dim=brought.shape[1],
        weights={
            "source": card.NOT_STATED,
            "licence": card.NOT_STATED,
            "sha256": None,
            "training_set": card.NOT_STATED,
            "trained": None,
        },
    )
    timing: dict[str, Any] = {"phases_s": {}, "latency": None}
    return finish(dataset, [brought, *added], [asked], make_card, info, options, timing, None)


def _search(
    dataset: Dataset,
    parts: list[descriptors.Matrix],
    query_parts: list[descriptors.Matrix],
    depth: int,
    options: Options,
    phases: dict[str, float],
) -> search.Found:
    queries = np.concatenate([np.asarray(part.open()) for part in query_parts])
    descriptors.check_block(query_parts, 0, queries)
    labelled = evaluate.labelled_rows(dataset.protocols)
    rows: NDArray[np.float64] = queries.astype(np.float64)
    passes = search.passes(parts, len(rows), labelled, options.memory_budget_mib << 20)
    total = passes * sum(part.shape[0] for part in parts)
    with Progress("search", total, "rows") as progress:
        found = search.search(
            parts,
            rows,
            labelled,
            depth,
            options.memory_budget_mib << 20,
            progress.advance,
        )
    phases["search"] = progress.seconds
    return found


def intervals_of(
    protocols: Sequence[Protocol], n_rows: int, method: str = interval.METHOD
) -> dict[str, Any]:
    """Return what a record says of its intervals: method, level, number of landmarks."""
    groups = interval.landmark_groups(protocols, n_rows, method)
    return {
        "method": method,
        "level": interval.LEVEL,
        "landmarks": int(groups.max(initial=-1)) + 1,
    }


def ties_of(ranks: LabelledRanks) -> dict[str, int]:
    """Return how many labelled images share their score, and the size of the largest group."""
    return {
        "labelled": int(np.count_nonzero(ranks.tied)),
        "largest_group": 1 + int(ranks.tied.max(initial=0)),
    }


def check_label(label: str) -> str:
    """Return a label that can name a folder, or refuse it."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", label):
        raise BenchError(
            f"--name {label!r} may hold letters, digits, '.', '_', '+' and '-', and must begin "
            "with a letter or digit."
        )
    return label
