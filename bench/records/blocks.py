"""The blocks of a record: as it states them, checked, and made again where its lists are here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.records import lists, record
from bench.records.record import Arrays
from bench.scoring import intervals
from bench.scoring.blocks import blocks_of, choose
from bench.scoring.intervals import LANDMARKS, LEAST, RULES, Blocks
from bench.scoring.layout import Layout, layout_of
from bench.scoring.scores import Tables, headline, with_intervals
from bench.types import Dataset, Protocol

ARRAY = "query_block"
# Positives by these rules belong to data sets whose queries are neighbours; older records of them
# have intervals over landmarks, which do not hold there.
OF_PLACES = ("planar-distance", "frame-order", "frame-positions", "listed-frames")
IN_DOUBT = "landmarks-on-places"  # of an older record whose data set is not here
WORDS = {
    LANDMARKS: ("landmarks", "landmark"),
    "space": ("blocks of neighbouring places", "block of neighbouring places"),
    "order": ("blocks of consecutive places", "block of consecutive places"),
    IN_DOUBT: (
        "landmarks, in doubt where places follow one another",
        "landmark, in doubt where places follow one another",
    ),
}


def in_words(rule: str, count: int) -> str:
    """Return "10 landmarks", "43 blocks of consecutive places", "too few blocks …"."""
    many, singular = WORDS[rule]
    if count == 0:
        return f"too few {many}"
    return f"{count:,} {singular if count == 1 else many}"


def rule_and_count(stated: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return rule and number of the blocks of a record, None where it states no number."""
    entry = stated.get("intervals", {})
    if "rule" in entry:
        return entry["rule"], entry["blocks"]
    if "landmarks" not in entry:
        return None
    return IN_DOUBT if landmarks_on_places(stated) else LANDMARKS, entry["landmarks"]


def of_record(stated: Mapping[str, Any], arrays: Arrays, protocols: Sequence[Protocol]) -> Blocks:
    """Return the blocks of a record's intervals; of one without a rule they are landmarks."""
    entry = stated.get("intervals") or {"method": intervals.FIRST}
    if entry.get("rule", LANDMARKS) == LANDMARKS:
        return intervals.landmarks(
            protocols, stated["card"]["dataset"]["database"], entry["method"]
        )
    return intervals.restored(entry, arrays[ARRAY])


def landmarks_on_places(stated: Mapping[str, Any]) -> bool:
    """Tell whether a record has intervals over landmarks where places follow one another."""
    rules = stated["card"]["dataset"].get("rules", {})
    return "rule" not in stated.get("intervals", {}) and rules.get("positive") in OF_PLACES


def layout_here(stated: Mapping[str, Any], own: str | None, where: str) -> Layout | None:
    """Return the layout of a record's data set, None where it has none or is not here.

    `own` is the name or path of the data set where the user gives one; another revision than the
    record's is then refused, and else taken for absent. `where` names the record in sentences.
    """
    of_landmarks = stated.get("intervals", {}).get("rule", LANDMARKS) == LANDMARKS
    if own is None and of_landmarks and not landmarks_on_places(stated):
        return None
    try:
        dataset = lists.dataset_of(stated["card"], own, where)
        lists.check_revision(stated["card"], dataset, dataset.name, where)
    except BenchError:
        if own is not None:
            raise
        return None
    return layout_of(dataset)


def renewed(stated: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a record with intervals over blocks where it has landmarks, and its places are here.

    Older records of place recognition have intervals over landmarks. They are recomputed from the
    stored value of every query; nothing is written. Any other record is returned as it is.
    """
    if not landmarks_on_places(stated):
        return stated
    layout = layout_here(stated, None, path.name)
    if layout is None:
        return stated
    protocols = record.protocols_of(record.read_arrays(path, stated), stated["card"])
    made = {
        protocol: {
            metric: np.array(
                [np.nan if value is None else value for value in entry["per_query"]],
                dtype=np.float64,
            )
            for metric, entry in table.items()
        }
        for protocol, table in stated["scores"].items()
    }
    blocks = choose(headline(made, protocols), layout)
    scores = record.scores_to_json(with_intervals(made, protocols, blocks, stated["seed"]))
    return {**stated, "scores": scores, "intervals": intervals.stated(blocks)}


def form_faults(stated: Mapping[str, Any], arrays: Arrays, blocks: Blocks) -> list[str]:
    """Check what a record states of its blocks against its array."""
    entry = stated.get("intervals", {})
    if "rule" not in entry:
        return (
            ["blocks are stored, but the record names no rule of blocks"] if ARRAY in arrays else []
        )
    stored, n_queries = arrays.get(ARRAY), stated["card"]["dataset"]["queries"]
    if stored is None or stored.dtype != np.int64 or stored.shape != (n_queries,):
        return [f"{ARRAY} must contain {n_queries} int64 numbers, one for each query"]
    if entry["rule"] == LANDMARKS:
        if not np.array_equal(stored, blocks.of_query):
            return [f"{ARRAY} differs from the landmarks of the stored ground truth"]
        again = intervals.stated(blocks)
        return [] if entry == again else [f"intervals state {entry}, but the landmarks {again}"]
    count = len(np.unique(stored))
    if entry["rule"] not in RULES or entry["method"] != intervals.OF_BLOCKS:
        return [f"the rule of blocks {entry['rule']!r} with {entry['method']!r} is unknown"]
    if np.any((stored < 0) | (stored >= count)):
        return [f"the numbers in {ARRAY} must be 0 to {count - 1}"]
    if entry["blocks"] == 0:
        return [] if count == 1 else [f"the record has too few blocks, but {ARRAY} has {count}"]
    if entry["blocks"] != count or count < LEAST or not {"seen", "dependent"} <= entry.keys():
        return [f"{ARRAY} has {count} blocks, but the record states {entry['blocks']}"]
    return []


def differences(
    stated: Mapping[str, Any], blocks: Blocks, made: Tables, dataset: Dataset
) -> list[str]:
    """Compare the blocks of a record with those that its lists here give."""
    entry = stated.get("intervals", {})
    if "rule" not in entry:
        return []
    if layout_of(dataset) is None and entry["rule"] != LANDMARKS:
        return [
            f"{dataset.name} on this machine has neither positions nor an order to form blocks from"
        ]
    again = blocks_of(dataset, headline(made, dataset.protocols))
    stated, fresh = dict(entry), intervals.stated(again)
    seen, seen_again = stated.pop("seen", None), fresh.pop("seen", None)
    alike = seen == seen_again or (
        seen is not None and seen_again is not None and abs(seen - seen_again) < 1e-5
    )
    if stated != fresh or not alike or not np.array_equal(blocks.of_query, again.of_query):
        here = in_words(again.rule, fresh["blocks"])
        there = in_words(entry["rule"], entry["blocks"])
        return [
            f"{dataset.name} on this machine gives {here}, which differ from those of the "
            f"record: {there}"
        ]
    return []
