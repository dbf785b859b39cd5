"""An independent answer: full rankings by sorting, metrics by walking down the list.

Written from the protocol specification only; it imports nothing of the project and is as plain as
it can be. A ranking is a list of database rows, best first, perhaps cut short.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

NAN = float("nan")


# --- rankings -----------------------------------------------------------------------------------


def dot(row: Iterable[float], query: Iterable[float]) -> float:
    """Return the dot product, each product in float64, their sum without rounding error."""
    return math.fsum(float(a) * float(b) for a, b in zip(row, query, strict=True))


def scores(database: Any, query: Any) -> list[float]:
    """Return the score of every database row."""
    return [dot(row, query) for row in database]


def ranking(of_rows: Sequence[float]) -> list[int]:
    """Return all rows by score descending; equal scores by row ascending."""
    return sorted(range(len(of_rows)), key=lambda row: (-of_rows[row], row))


def permutation(n_rows: int, query: int) -> list[int]:
    """Return the ranking of the golden vectors: ascending (7919 i + 104729 q) mod N."""
    return sorted(range(n_rows), key=lambda row: (7919 * row + 104729 * query) % n_rows)


# --- metrics ------------------------------------------------------------------------------------


def without(listed: Sequence[int], ignored: Iterable[int]) -> list[int]:
    """Return the ranking with the ignored rows dropped."""
    dropped = set(ignored)
    return [row for row in listed if row not in dropped]


def ap_revisited(listed: Sequence[int], positive: Iterable[int], ignored: Iterable[int]) -> float:
    """Return the AP of the revisited protocol: drop junk, then trapezoids at every positive."""
    wanted = set(positive)
    if not wanted:
        return NAN
    total, hits = 0.0, 0
    for place, row in enumerate(without(listed, ignored)):
        if row in wanted:
            before = 1.0 if place == 0 else hits / place
            hits += 1
            total += 0.5 * (before + hits / (place + 1))
    return total / len(wanted)


def ap_oxford(listed: Sequence[int], positive: Iterable[int], ignored: Iterable[int]) -> float:
    """Return the AP as the program of Oxford5k walks the list: recall steps, old precision."""
    wanted, junk = set(positive), set(ignored)
    if not wanted:
        return NAN
    old_recall, old_precision, ap = 0.0, 1.0, 0.0
    hits, seen = 0, 0
    for row in listed:
        if row in junk:
            continue
        if row in wanted:
            hits += 1
        recall = hits / len(wanted)
        precision = hits / (seen + 1.0)
        ap += (recall - old_recall) * ((old_precision + precision) / 2.0)
        old_recall, old_precision = recall, precision
        seen += 1
    return ap


def ap_finite(
    listed: Sequence[int],
    positive: Iterable[int],
    ignored: Iterable[int],
    k: int | None = None,
    divisor: str = "positives",
) -> float:
    """Return the sum of the precisions at the positives of the first k, over a divisor."""
    wanted = set(positive)
    if not wanted:
        return NAN
    total, hits = 0.0, 0
    for place, row in enumerate(without(listed, ignored)):
        if k is not None and place >= k:
            break
        if row in wanted:
            hits += 1
            total += hits / (place + 1)
    if divisor == "positives":
        return total / len(wanted)
    if divisor == "min-k-positives":
        return total / (len(wanted) if k is None else min(k, len(wanted)))
    return total / hits if hits else 0.0


def precision_clipped(
    listed: Sequence[int], positive: Iterable[int], ignored: Iterable[int], k: int
) -> float:
    """Return the mP@k value of a query: k stops at the last positive if all are in the list."""
    wanted = set(positive)
    if not wanted:
        return NAN
    places = [p for p, row in enumerate(without(listed, ignored)) if row in wanted]
    cut = min(k, places[-1] + 1) if len(places) == len(wanted) else k
    return sum(1 for place in places if place + 1 <= cut) / cut


def recall_any(
    listed: Sequence[int], positive: Iterable[int], ignored: Iterable[int], k: int
) -> float:
    """Return 1 if a positive is among the first k that are not ignored, else 0."""
    wanted = set(positive)
    if not wanted:
        return NAN
    return 1.0 if any(row in wanted for row in without(listed, ignored)[:k]) else 0.0


def value(
    metric_id: str, listed: Sequence[int], positive: Iterable[int], ignored: Iterable[int]
) -> float:
    """Return the value of the metric that an id names; KeyError for one that is not known here."""
    family, cut = re.subn(r"^(\w+)@\d+", r"\1@k", metric_id)
    k = int(metric_id.partition("@")[2].partition(".")[0]) if cut else 0
    return VALUES[family](listed, positive, ignored, k)


VALUES: dict[str, Callable[..., float]] = {
    "map.trapezoid.junk-removed": lambda *arguments: ap_revisited(*arguments[:3]),
    "map.finite-sum.junk-removed": lambda *arguments: ap_finite(*arguments[:3]),
    "map@k.finite-sum.over-min-k-positives.junk-removed": partial(
        ap_finite, divisor="min-k-positives"
    ),
    "map@k.finite-sum.over-positives.junk-removed": partial(ap_finite, divisor="positives"),
    "map@k.finite-sum.over-found.junk-removed": partial(ap_finite, divisor="found"),
    "mp@k.clipped.junk-removed": precision_clipped,
    "recall@k.any-hit.junk-removed": recall_any,
}


def mean(values: Iterable[float], empty: str = "skip") -> float:
    """Return the mean; NaN is left out ("skip") or counts as 0 ("miss")."""
    kept = [0.0 if math.isnan(v) and empty == "miss" else v for v in values]
    kept = [v for v in kept if not math.isnan(v)]
    return math.fsum(kept) / len(kept) if kept else NAN


# --- published files ----------------------------------------------------------------------------


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        return allowed[module, name]


def ground_truth(path: Path) -> dict[str, Any]:
    """Return the content of a gnd_*.pkl, which names no code."""
    with path.open("rb") as file:
        content: dict[str, Any] = _Plain(file).load()
    return content


def object_rows(path: Path) -> list[list[int]]:
    """Return the lists of whole numbers in a .npy of objects."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        content = _Arrays(file).load()
    return [[int(x) for x in np.asarray(item).ravel()] for item in content]


def parity_descriptors(
    truth: Sequence[dict[str, Any]], entry: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return database, queries and distractors of an entry of revisitop_map.json, float32."""

    def unit(rows: np.ndarray) -> np.ndarray:
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    draw = np.random.Generator(np.random.PCG64(entry["seed"]))
    database = draw.standard_normal((entry["n"], 64))
    queries = draw.standard_normal((entry["nq"], 64))
    for query, labels in zip(queries, truth, strict=True):
        for kind, weight in (("easy", 0.9), ("hard", 0.35), ("junk", 0.6)):
            for row in labels[kind]:
                database[row] += weight * query
    other = np.random.Generator(np.random.PCG64(entry["seed"] + 1000))
    added = other.standard_normal((entry["distractors"], 64))
    return unit(database), unit(queries), unit(added)
