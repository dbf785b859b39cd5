"""Which pictures a data set gets: each where the records hold its data, with a caption."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.records import record as records
from bench.records import replay
from bench.records.rows import Run, protocols
from bench.records.text import code, escape
from bench.records.words import by_label, metric_label, what_differs
from bench.report.figures import curves, plot
from bench.report.figures.cost_plot import main_protocol
from bench.report.figures.kept import Job, Picture, pictures
from bench.scoring.card import identity
from bench.scoring.metrics import counted, junk_removed, mean_over_queries
from bench.system import reading
from bench.system.hashing import canonical_json, sha256_json
from bench.types import LabelledRanks, Protocol

MOST_ROWS = 40
MOST_LINES = 8
LONGEST_LABEL = 22


def of_dataset(
    results: Path, chosen: Sequence[Run], shown: Sequence[Run], dataset: str
) -> list[Picture]:
    """Return the pictures of the runs `chosen`, all of one data set, in the order of the report.

    `shown` is every run of the report: those with and without distractors meet in one picture.
    """
    return [picture for job in jobs(results, chosen, shown, dataset) for picture in pictures(job)]


def jobs(results: Path, chosen: Sequence[Run], shown: Sequence[Run], dataset: str) -> list[Job]:
    """Return what is to be drawn for `of_dataset`."""
    made = []
    headlines = sorted({run.headline for run in chosen})
    others = [run for run in shown if run.card["dataset"]["name"] == dataset]
    for number, headline in enumerate(headlines, start=1):
        stem = dataset if len(headlines) == 1 else f"{dataset}-{number}"
        same = [run for run in chosen if run.headline == headline]
        readable = [(results / run.file).with_suffix(".npz").is_file() for run in same]
        draw = partial(_drawn, results, same, others, dataset, stem)
        made.append(Job([*same, *others], [stem, len(same), readable], draw))
    return made


def _drawn(
    results: Path, same: Sequence[Run], others: Sequence[Run], dataset: str, stem: str
) -> list[Picture]:
    return [
        _intervals(same, dataset, stem),
        *_recall(results, same, dataset, f"{stem}-recall"),
        *_differences(results, same, f"{stem}-differences"),
        *_distractors(others, same, dataset, f"{stem}-distractors"),
    ]


def ranked(runs: Iterable[Run]) -> list[Run]:
    """Return the best first under the main protocol; complete before partial, ties by name."""
    chosen = list(runs)
    names = protocols(chosen)
    main = "medium" if "medium" in names else (names or [""])[0]

    def place(run: Run) -> tuple[Any, ...]:
        mean = run.score(main, run.headline).mean
        return run.partial, mean is None, -(mean or 0.0), run.name, run.file

    return sorted(chosen, key=place)


def bands(runs: Sequence[Run], most: int) -> list[Run]:
    """Return at most so many runs, those that may be compared together, the best of each in turn.

    Where all fit it only orders them: groups by their best run, and in a group the best first.
    """
    groups: dict[tuple[bool, str], list[Run]] = {}
    for run in ranked(runs):
        groups.setdefault((run.partial, run.protocol_key), []).append(run)
    turns = [run for turn in zip_longest(*groups.values()) for run in turn if run is not None]
    kept = {run.file for run in turns[:most]}
    return [run for group in groups.values() for run in group if run.file in kept]


def _intervals(runs: Sequence[Run], dataset: str, stem: str) -> Picture:
    drawn = bands(runs, MOST_ROWS)
    label = metric_label(runs[0].headline)
    caption = (
        f"{escape(label)} of every row on {escape(dataset)}, with its 95 % interval over "
        f"{plot.drawn_from(runs)}. Rows with different protocols must not be compared; hollow: "
        "partial. "
        + (
            f"The figure shows {len(drawn)} of {len(runs):,} rows, the best of every protocol in "
            "turn; the tables show all."
            if len(drawn) < len(runs)
            else f"From all {len(runs)} records of the table above."
        )
    )
    return Picture(stem, plot.draw(drawn), f"{label} on {dataset}, by protocol and method", caption)


def _serious(runs: Sequence[Run]) -> list[Run]:
    """Return complete runs of trained networks; without any, all complete ones."""
    complete = [run for run in runs if not run.partial]
    return [run for run in complete if not run.marks] or complete


def _recall(results: Path, runs: Sequence[Run], dataset: str, stem: str) -> list[Picture]:
    protocol = main_protocol(protocols(runs) or ["all"])
    readable: dict[Run, NDArray[np.float64]] = {}
    failed = []
    serious = _serious(runs)
    group = next((run.protocol_key for run in bands(serious, len(serious))), "")
    alike = [run for run in serious if run.protocol_key == group]
    for run in ranked(alike)[:MOST_LINES]:
        try:
            by_protocol = recall_curves(results, run)
        except (BenchError, LookupError, ValueError, TypeError):
            failed.append(run)
            continue
        if protocol in by_protocol:
            readable[run] = by_protocol[protocol]
    if not readable:
        return []
    names = plot.named(list(readable), LONGEST_LABEL)
    left = f" Their ranks cannot be read: {_names(failed)}." if failed else ""
    caption = (
        f"The share of queries ({escape(protocol)}) with at least one positive image among the "
        "first k, without ignored images, from the exact ranks in the records; equal rows share "
        f"a line. The best {len(readable)} of {len(alike):,} trained and complete rows with the "
        f"protocol of the best.{left}"
    )
    drawn = list(zip(names, readable.values(), strict=True))
    picture = curves.recall(drawn, protocol)
    return [Picture(stem, picture, f"Recall at k on {dataset}, {protocol}", caption)]


def recall_curves(results: Path, run: Run) -> dict[str, NDArray[np.float64]]:
    """Return Recall@k, fractions, for every k of `curves.K`, per protocol.

    Raises BenchError, LookupError, ValueError or TypeError where the arrays are not as they must
    be.
    """
    path = results / run.file
    stored = reading.json_file(path)
    arrays = records.read_arrays(path, stored)
    stated = records.protocols_of(arrays, stored["card"])
    scored = replay.scored_ranks(arrays, stored["card"], stated)
    exact_to = _exact_to(stored["card"])
    return {
        protocol.name: _recall_curve(ranks, protocol, exact_to)
        for protocol, ranks in zip(stated, scored, strict=True)
    }


def _recall_curve(ranks: LabelledRanks, protocol: Protocol, exact_to: float) -> NDArray[np.float64]:
    first = np.full(len(protocol.truth), np.nan)
    for query, truth in enumerate(protocol.truth):
        if len(truth.positive) == 0:
            continue
        part = ranks.of_query(query)
        row, rank = ranks.row[part], ranks.rank[part]
        of_positive = rank[np.isin(row, truth.positive)]
        first[query] = junk_removed(of_positive, rank[np.isin(row, truth.ignored)])[0]
    hits = np.where(np.isnan(first), np.nan, first < curves.K[:, None])
    kept = [counted(at_k, protocol.empty, protocol.asked) for at_k in hits]
    curve = np.array([mean_over_queries(at_k, "skip") for at_k in kept])
    return np.where(exact_to >= curves.K, curve, np.nan)


def _differences(results: Path, runs: Sequence[Run], stem: str) -> list[Picture]:
    pair = _two_best(_serious(runs))
    if pair is None:
        return []
    first, other = pair
    name = main_protocol(protocols([first]))
    arrays = [reading.json_file(results / run.file) for run in pair]
    if not all(first.headline in each["scores"].get(name, {}) for each in arrays):
        return []
    mine, theirs = (_per_query(results / first.file, each, name) for each in arrays)
    if np.all(np.isnan(mine - theirs)):
        return []
    lines = what_differs(by_label(pair))
    cards = (
        "Both have the same card. "
        if first.card_id == other.card_id
        else f"**Their cards differ** ({code(first.card8)}, {code(other.card8)}): "
        f"{'; '.join(lines)}. "
    )
    together = _ranked_together(first) == _ranked_together(other)
    which = "under one heading of the table above" if together else "of the same queries and labels"
    caption = (
        f"{escape(metric_label(first.headline))} ({escape(name)}) of {escape(first.name)} minus "
        f"that of {escape(other.name)} for every query: the two best rows {which}; values above "
        f"0: the first is better. {cards}From the records {code(first.run_id)} and "
        f"{code(other.run_id)}."
    )
    words = f"Differences between {first.name} and {other.name}, query by query"
    picture = curves.differences(first, other, name, mine, theirs)
    return [Picture(stem, picture, words, caption)]


def _per_query(path: Path, stored: Mapping[str, Any], protocol: str) -> NDArray[np.float64]:
    """Return the headline of every query as it counts in the mean; `path` has the same labels."""
    metric, entry = stored["card"]["metrics"][0], stored["card"]["protocols"][protocol]
    values = np.array(stored["scores"][protocol][metric]["per_query"], dtype=np.float64)
    asked = None
    if entry["empty"] == "miss" and "not_asked" in entry:
        with contextlib.suppress(BenchError, KeyError):
            arrays = records.read_arrays(path, reading.json_file(path))
            asked = arrays[f"truth_{protocol}_asked"].tolist()
        if asked is None:
            return values
    return counted(values, entry["empty"], asked)


def _exact_to(card: Mapping[str, Any]) -> float:
    """Return the largest k as far as the places stored with a record are exact.

    A suppressed list is exact as far as the metrics of its data set look, and no further.
    """
    if "suppression" not in card:
        return math.inf
    return max(int(re.split(r"[@.]", name)[1]) for name in card["metrics"])


def _two_best(runs: Sequence[Run]) -> tuple[Run, Run] | None:
    """Return the two best runs of different methods that stand in one group of the main table.

    Where no group has two, those whose queries and labels are the same.
    """
    for alike in (_ranked_together, _asked):
        best: dict[str, Run] = {}
        for run in ranked(runs):
            first = best.setdefault(alike(run), run)
            if (first.method, first.variant) != (run.method, run.variant):
                return first, run
    return None


def _ranked_together(run: Run) -> str:
    """Return what runs of one chain of a table share."""
    return canonical_json([run.protocol_key, run.chain_key])


def _asked(run: Run) -> str:
    """Return the task of a method: lists, labels, metrics, distractors."""
    card = run.card
    keys = ("dataset", "protocols", "distractors", "junk_rule", "tie_rule", "limit")
    stated = identity(card)
    return canonical_json([card["metrics"][0], {key: stated[key] for key in keys}])


def _distractors(
    shown: Sequence[Run], chosen: Sequence[Run], dataset: str, stem: str
) -> list[Picture]:
    """Draw the runs without distractors beside their likes with distractors."""
    if any(run.card["distractors"]["count"] for run in chosen):
        return []
    lines: dict[str, dict[int, Run]] = {}
    for run in ranked(shown):
        if run.card["dataset"]["name"] == dataset and not run.partial:
            lines.setdefault(_but_for_distractors(run), {}).setdefault(curves.searched(run), run)
    measured = [[line[size] for size in sorted(line)] for line in lines.values() if len(line) > 1]
    if not measured:
        return []
    drawn = measured[:MOST_LINES]
    caption = (
        f"{escape(metric_label(drawn[0][0].headline))} against the number of images searched; "
        "the records of a line have the same method and weights, and cards that differ only in "
        "their distractors. Every marker is a measurement. "
        + (
            f"{len(drawn)} of {len(measured)} such methods are drawn."
            if len(drawn) < len(measured)
            else ""
        )
    )
    picture = curves.distractors(drawn, main_protocol(protocols(drawn[0])))
    return [Picture(stem, picture, f"{dataset} with distractors", caption.strip())]


def _but_for_distractors(run: Run) -> str:
    card = {key: value for key, value in identity(run.card).items() if key != "distractors"}
    about = [run.method, run.variant, run.config, run.weights_sha256, list(run.marks)]
    return sha256_json([card, about])


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(escape(run.name) for run in runs)
