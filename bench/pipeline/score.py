"""From descriptors to a record: search, score, write. The same for a run and for `evaluate`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.measure import costs
from bench.pipeline.options import Options
from bench.records import record, replay
from bench.rerank import suppression, verification
from bench.rerank.verification import Reranking
from bench.scoring import card
from bench.scoring.intervals import intervals_of
from bench.scoring.scores import labelled_rows, score, ties_of
from bench.search import areas, compress, exact, faiss_index, missing
from bench.store import matrix
from bench.system import machine
from bench.system.hashing import plain
from bench.system.progress import Progress
from bench.types import (
    Dataset,
    Image,
    MethodInfo,
    Shortlist,
)

SEED = 0
BROUGHT = "not stated: descriptors were brought"


def finish(
    dataset: Dataset,
    parts: list[matrix.Matrix],
    query_parts: list[matrix.Matrix],
    make_card: Callable[[exact.Found], card.Card],
    info: MethodInfo,
    options: Options,
    timing: dict[str, Any],
    device: str | None,
    reranking: Reranking | None = None,
    measured: costs.Measured | None = None,
    absent: missing.Missing = missing.NOTHING,
    searched: Sequence[Image] = (),
    nodes: Callable[[], list[dict[str, Any]]] | None = None,
    hand_out: exact.HandOut = exact.here,
) -> Path:
    """Rank, re-rank where asked, score, write the record of descriptors; return its path.

    `timing` needs `phases_s` (what was done before) and `latency`; `device` is None where nothing
    ran on one; `measured` is what describing costs, where that was measured. Images `absent` have
    rows in `parts` and `query_parts`, which are not looked at; `searched` are those of `parts`.
    `nodes` gives what the record keeps of the machines of a cluster; `hand_out` says who searches.
    """
    phases = timing["phases_s"]
    depth = options.shortlist
    if reranking is not None:
        depth = max(depth, verification.depth_needed(reranking.stage, dataset.protocols))
    if dataset.groups is not None:
        depth = max(depth, suppression.depth_needed(dataset.groups, dataset.protocols))
    choice = compress.parse(options.compression)
    n_rows = matrix.count_rows(parts)
    parts = missing.without(parts, absent.database)
    query_parts = missing.without(query_parts, absent.queries)
    counted: card.Card = {}
    if absent:  # a compression or an index must fit the rows that there are
        dim, left = parts[0].shape[1], matrix.count_rows(parts)
        counted = searched_as(options, dim, left)
    if choice is not None:
        start = time.perf_counter()
        parts = compress.compress(parts, choice, force=options.force)
        phases[f"compress to {choice.name}"] = time.perf_counter() - start
    exact = _search(
        dataset, parts, query_parts, depth, options, phases, device, absent, n_rows, hand_out
    )
    found, about, index = _approximately(
        dataset, parts, query_parts, depth, options, phases, exact, absent, n_rows
    )
    if (reranking is not None or dataset.groups is not None) and about is not None:
        _check_candidates(found.shortlist, depth, parts)
    verified = None
    if reranking is not None:
        mask = verification.chosen(found.shortlist, dataset.protocols, reranking.stage)
        verified = reranking.verify(found.shortlist, mask, phases)
    start = time.perf_counter()
    ranks = replay.final_ranks(
        found.ranks,
        found.shortlist,
        dataset.protocols,
        None if reranking is None or verified is None else (reranking.stage, verified.inliers),
        dataset.groups,
    )
    scores = score(ranks, dataset.protocols, len(dataset.database), SEED, unanswered=absent.queries)
    phases["score"] = time.perf_counter() - start
    phases |= {phase: round(seconds, 4) for phase, seconds in phases.items()}
    content = {
        "run_id": record.new_run_id(),
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "command": options.command,
        "card": missing.on_card(make_card(found) | counted, absent),
        "method": plain(info),
        "scores": record.scores_to_json(scores),
        "intervals": intervals_of(dataset.protocols, len(dataset.database)),
        "ties": ties_of(found.ranks),
        "timing": timing,
        "memory": {
            "peak_resident_bytes": machine.peak_resident_bytes(),
            "peak_device_bytes": None if device is None else machine.peak_device_bytes(device),
        },
        "bytes_per_image": parts[0].row_bytes(),
        "partial": dataset.limit is not None or dataset.absent is not None or bool(absent),
        "machine": machine.describe(device) | ({} if nodes is None else {"nodes": nodes()}),
        "libraries": machine.libraries(),
        "source": machine.source(),
        "seed": SEED,
    }
    if absent:
        content["missing"] = missing.listed(absent, searched or dataset.database, dataset.queries)
    if verified is not None:
        content["rerank"] = dict(verified.about)
    budget = options.memory_budget_mib << 20
    costs.add(
        content,
        parts,
        query_parts,
        options.shortlist,
        budget,
        device,
        options.measure,
        measured,
        index,
    )
    inliers = None if verified is None else verified.inliers
    arrays = record.arrays_of(found.ranks, found.shortlist, dataset, inliers)
    if about is not None:
        content["approximate"] = about
        arrays |= {
            "exact_rank": exact.ranks.rank,
            "exact_shortlist_row": exact.shortlist.row,
        }
    return record.write(options.output, content, arrays)


def searched_as(options: Options, dim: int, n_rows: int, given: str = "float32") -> card.Card:
    """Return what a card says of compression and search; refuse what does not fit the descriptors.

    `n_rows` counts database and distractors; `given` is the type of uncompressed rows.
    """
    choice, index = compress.parse(options.compression), faiss_index.parse(options.search)
    return {
        "compression": compress.code(choice, dim, n_rows, given),
        "search": faiss_index.code(index, dim, n_rows),
    }


def check_search(dataset: Dataset, options: Options) -> None:
    """Refuse an index for a data set that is searched area by area."""
    if dataset.areas is not None and faiss_index.parse(options.search) is not None:
        raise BenchError(
            f"{dataset.name} is searched area by area, and an index over the whole database cannot "
            "do that; use --search exact."
        )


def _search(
    dataset: Dataset,
    parts: list[matrix.Matrix],
    query_parts: list[matrix.Matrix],
    depth: int,
    options: Options,
    phases: dict[str, float],
    device: str | None,
    absent: missing.Missing,
    n_rows: int,
    hand_out: exact.HandOut,
) -> exact.Found:
    """Search exactly; `n_rows` counts the rows of `parts` and those that are absent from them."""
    wanted = labelled_rows(dataset.protocols)
    rows = _query_rows(query_parts)
    labelled = missing.labels_without(wanted, absent, n_rows)
    budget, total = options.memory_budget_mib << 20, 0
    jobs = areas.jobs(missing.areas_without(dataset.areas, absent), parts, labelled)
    for job in jobs:
        passes = exact.passes(job.parts, len(job.queries), job.labelled, depth, budget)
        total += passes * len(job.number)
    with Progress("search", total, "rows") as progress:
        searched = [
            (
                job,
                exact.search(
                    job.parts,
                    rows[job.queries],
                    job.labelled,
                    depth,
                    budget,
                    progress.advance,
                    (device if hand_out is exact.here else None) or "cpu",
                    None if hand_out is exact.here else 1,
                    hand_out,
                ),
            )
            for job in jobs
        ]
    phases["search"] = progress.seconds
    found = searched[0][1] if dataset.areas is None else areas.join(searched, len(rows))
    ranks, shortlist = missing.restore(
        found.ranks, found.shortlist, wanted, absent, n_rows, depth, dataset.areas
    )
    return replace(found, ranks=ranks, shortlist=shortlist)


def _check_candidates(shortlist: Shortlist, depth: int, parts: list[matrix.Matrix]) -> None:
    """Refuse to re-rank lists that an index cut short of the candidates."""
    found, wanted = shortlist.row.shape[1], min(depth, matrix.count_rows(parts))
    if found < wanted:
        raise BenchError(
            f"re-ranking needs lists of {wanted} images, and the index found only {found} for some "
            "query; look into more lists (nprobe) or ask for a longer list (k)."
        )


def _query_rows(query_parts: list[matrix.Matrix]) -> NDArray[np.float64]:
    queries = np.concatenate([np.asarray(part.open()) for part in query_parts])
    matrix.check_block(query_parts, 0, queries)
    rows: NDArray[np.float64] = queries.astype(np.float64)
    return rows


def _approximately(
    dataset: Dataset,
    parts: list[matrix.Matrix],
    query_parts: list[matrix.Matrix],
    depth: int,
    options: Options,
    phases: dict[str, float],
    exact_found: exact.Found,
    absent: missing.Missing,
    n_rows: int,
) -> tuple[exact.Found, dict[str, Any] | None, faiss_index.Retrieved | None]:
    """Return what is found, and of an approximate search its part of the record and its lists."""
    index = faiss_index.parse(options.search)
    if index is None:
        return exact_found, None, None
    start = time.perf_counter()
    got = faiss_index.retrieve(index, parts, _query_rows(query_parts))
    wanted = labelled_rows(dataset.protocols)
    labelled = missing.labels_without(wanted, absent, n_rows)
    ranks, shortlist = missing.restore_retrieved(
        *faiss_index.ranks_of(got.lists, labelled, depth), wanted, absent, n_rows
    )
    phases["approximate search"] = time.perf_counter() - start
    seconds = got.seconds | {"exact_search": phases["search"]}
    about = {
        "index": index.name,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "index_bytes": got.index_bytes,
        **faiss_index.loss(
            dataset.protocols,
            len(dataset.database),
            ranks,
            shortlist,
            exact_found.ranks.rank,
            exact_found.shortlist.row,
            absent.queries,
        ),
    }
    return exact.Found(ranks, shortlist, exact_found.norms), about, got
