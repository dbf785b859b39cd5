"""Recompute every score of a record from the ranks stored with it: no GPU, no images, no model.

Beyond the checksums, everything in a record that follows from something else in it is derived
again and compared: scores and intervals from ranks and ground truth, counts and hash of the ground
truth in the card, ties, and the order of ranks from the stored scores.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from bench import stages
from bench.errors import BenchError
from bench.ranking import one_list
from bench.records import blocks as of_blocks
from bench.records import chain, lists, measured, record, replay
from bench.records.chain import Stored
from bench.rerank import suppression
from bench.scoring import card as cards
from bench.scoring.intervals import Blocks
from bench.scoring.scores import Tables, tables, ties_of, with_intervals
from bench.search import consistency, faiss_index
from bench.types import Dataset, LabelledRanks, Protocol, Shortlist

TOLERANCE = 1e-9


def verify(path: Path, own: str | None = None) -> tuple[list[str], list[str]]:
    """Return (faults, checks made or impossible) for the record at `path`.

    `own` is the name or path of the data set where the user gives one (`bench.records.lists`).

    Raises BenchError where the record or its arrays cannot be read or their checksums are wrong.
    """
    content = record.read(path)
    arrays = record.read_arrays(path, content)
    card = content["card"]
    try:
        ranks, shortlist = record.ranks_of(arrays)
        consistency.check_form(ranks, shortlist)
        protocols = record.protocols_of(arrays, card)
        stored = Stored(
            card, arrays, content.get("missing", ()), protocols, _rows_seen(card, arrays)
        )
        faults = cards.faults(card, protocols, len(ranks.offsets) - 1)
        faults += stored.search_faults(ranks, shortlist)
        faults += _approximate_faults(content, ranks, arrays)
        faults = faults or stored.area_faults(ranks, shortlist)
        first = one_list(ranks, shortlist, len(protocols))
        faults = faults or chain.faults(stored, first)
        if not faults:
            last = replay.rankings(arrays, card, protocols)[-1]
            faults = suppression.faults(
                card.get("suppression"),
                arrays.get("database_group"),
                card["dataset"]["database"],
                last.shortlist,
                protocols,
                stored.n_seen,
            )
        if not faults:
            after = replay.scored_ranks(arrays, card, protocols)
            made = tables(after, protocols, card.get("missing", {}).get("queries", ()))
            blocks = of_blocks.of_record(content, arrays, protocols)
            faults += _score_faults(content, protocols, arrays, made, blocks)
            faults += _differences(content["ties"], ties_of(ranks), "ties")
            faults += _loss_differences(content, protocols, ranks, shortlist, arrays)
    except (LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise BenchError(
            f"the arrays of {path.name} do not fit its record: {type(error).__name__}: {error}."
        ) from error
    if ("rerank" in content) != ("rerank" in card):
        faults.append("record and card disagree on whether the lists are re-ranked")
    if ("missing" in content) != ("missing" in card):
        faults.append("record and card disagree on whether images are missing")
    part = card["limit"] is not None or "absent" in card or "missing" in card
    part = part or card["dataset"].get("list", "published") != "published"
    if content["partial"] != part:
        faults.append("record and card disagree on whether the result is partial")
    faults += measured.faults(content)
    count = sum(len(table) for table in content["scores"].values())
    notes = [f"{count} scores over {len(protocols)} protocols recomputed from stored ranks"]
    for entry in card["stages"]:
        told = (
            "strengths as stated"
            if stages.known(entry)
            else "unknown on this machine, taken as stated"
        )
        notes.append(f"stage {entry['stage']}: {told}")
    fault, note, here = _ground_truth(card, own, path.name)
    if here is not None and not faults:
        fault += of_blocks.differences(content, blocks, made, here)
    return faults + fault, [*notes, *note, measured.AS_STATED]


def _score_faults(
    content: dict[str, Any],
    protocols: tuple[Protocol, ...],
    arrays: record.Arrays,
    made: Tables,
    blocks: Blocks,
) -> list[str]:
    """Compare scores, intervals and blocks with what the ranks after all stages give."""
    out = of_blocks.form_faults(content, arrays, blocks)
    if out:
        return out
    scores = with_intervals(made, protocols, blocks, content["seed"])
    out += _differences(content["scores"], record.scores_to_json(scores), "scores")
    if "landmarks" in content.get("intervals", {}):
        stated = content["intervals"]["landmarks"]
        out += _differences(stated, blocks.count, "intervals.landmarks")
    return out


def _approximate_faults(
    content: dict[str, Any], ranks: LabelledRanks, arrays: record.Arrays
) -> list[str]:
    """Check that an approximate search, and no other, has the exact ranks beside its own."""
    card = content["card"]
    stored = {"exact_rank", "exact_shortlist_row"} & arrays.keys()
    if card["search"] == "exact":
        return (
            ["the search is exact, but the record has a loss"] if "approximate" in content else []
        )
    if "approximate" not in content or len(stored) < 2:
        return ["the card names an approximate search, but the exact ranks are not stored"]
    n_rows = card["dataset"]["database"] + card["distractors"]["count"]
    return faiss_index.faults(ranks, arrays["exact_rank"], arrays["exact_shortlist_row"], n_rows)


def _loss_differences(
    content: dict[str, Any],
    protocols: tuple[Protocol, ...],
    ranks: LabelledRanks,
    shortlist: Shortlist,
    arrays: record.Arrays,
) -> list[str]:
    """Compare the stored loss of an approximate search with what the stored ranks give."""
    if "approximate" not in content:
        return []
    n_rows = content["card"]["dataset"]["database"]
    exact, listed = arrays["exact_rank"], arrays["exact_shortlist_row"]
    gone = content["card"].get("missing", {}).get("queries", ())
    again = faiss_index.loss(protocols, n_rows, ranks, shortlist, exact, listed, gone)
    stored = {key: content["approximate"][key] for key in again}
    return _differences(stored, again, "approximate")


def _rows_seen(card: cards.Card, arrays: record.Arrays) -> int:
    """Return the most rows that a list can have: of the database, or of its largest area.

    An index does not hold the images that are missing; an exact list ends with them.
    """
    database, queries = arrays.get("database_area"), arrays.get("query_area")
    if database is None or queries is None:
        largest = int(card["dataset"]["database"])
    else:
        asked = np.isin(database, queries)
        largest = int(np.unique(database[asked], return_counts=True)[1].max(initial=0))
    gone = 0 if card["search"] == "exact" else len(card.get("missing", {}).get("database", ()))
    return largest + int(card["distractors"]["count"]) - gone


def _ground_truth(
    card: cards.Card, own: str | None, where: str
) -> tuple[list[str], list[str], Dataset | None]:
    """Compare lists and labels of the card with the data set on this machine, if any.

    That data set is returned too, where it is the card's.
    """
    name = card["dataset"]["name"]
    if "absent" in card:
        return [], ["ground truth not compared: the record is of the images found then"], None
    if own is None and not lists.is_known(card):
        return [], [f"ground truth not compared: the data set {name} is unknown"], None
    try:
        here = lists.dataset_of(card, own, where)
    except BenchError as error:
        if own is not None:
            raise
        return [], [f"ground truth not compared: {error}"], None
    stated, fresh = cards.identity(card), cards.identity(cards.make(here, None, unit_norm=True))
    if any(stated[key] != fresh[key] for key in ("dataset", "protocols")):
        return [f"lists and ground truth differ from those of {name} on this machine"], [], None
    return [], [f"lists and ground truth are those of {name} on this machine"], here


def _differences(stored: Any, again: Any, place: str) -> list[str]:
    """Return where two JSON values differ by more than the tolerance."""
    if isinstance(stored, dict) and isinstance(again, dict) and stored.keys() == again.keys():
        return [
            d for key in stored for d in _differences(stored[key], again[key], f"{place}.{key}")
        ]
    if isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        return [
            d
            for i in range(len(stored))
            for d in _differences(stored[i], again[i], f"{place}[{i}]")
        ]
    numbers = isinstance(stored, int | float) and isinstance(again, int | float)
    if numbers and math.isclose(stored, again, rel_tol=0, abs_tol=TOLERANCE):
        return []
    return (
        []
        if stored == again
        else [f"{place} is {stored} in the record, but its ranks give {again}"]
    )
