"""Recompute every score of a record from the ranks stored with it: no GPU, no images, no model.

Beyond the checksums, everything in a record that follows from something else in it is derived
again and compared: scores and intervals from ranks and ground truth, counts and hash of the ground
truth in the card, ties, and the order of ranks from the stored scores.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BenchError
from bench.records import lists, record, replay
from bench.rerank import stages, suppression, verification
from bench.scoring import card as cards
from bench.scoring import intervals
from bench.scoring.intervals import intervals_of
from bench.scoring.scores import score, ties_of
from bench.search import faiss_index, missing
from bench.stage import one_list
from bench.system.hashing import sha256_json
from bench.types import NO_ROW, NOT_RETRIEVED, LabelledRanks, Protocol, Rows, Shortlist

TOLERANCE = 1e-9


def verify(path: Path, own: str | None = None) -> tuple[list[str], list[str]]:
    """Return (what does not hold, what was checked or could not be) for the record at `path`.

    `own` is the name or path of the data set where the user gives one (`bench.records.lists`).

    Raises BenchError where the record or its arrays cannot be read or their checksums are wrong.
    """
    held = record.read(path)
    arrays = record.read_arrays(path, held)
    card = held["card"]
    try:
        ranks, shortlist = record.ranks_of(arrays)
        _check_form(ranks, shortlist)
        protocols = record.protocols_of(arrays, card)
        faults = _card_faults(card, protocols, ranks)
        faults += _rank_faults(ranks, shortlist, card)
        faults += _approximate_faults(held, ranks, arrays)
        faults += missing.faults(card, held.get("missing", ()), ranks)
        inliers = arrays.get("shortlist_inliers")
        n_seen = _rows_seen(card, arrays)
        faults += _rerank_faults(card, ranks, shortlist, inliers, protocols, n_seen)
        groups = arrays.get("database_group")
        if not faults:
            faults += _area_faults(card, arrays, ranks, shortlist)
            faults += _stage_faults(held, arrays, protocols, n_seen)
            last = replay.rankings(arrays, card, protocols)[-1].shortlist if not faults else ()
            for listed in last or (shortlist,):
                faults += _group_faults(card, groups, listed, protocols, n_seen)
        if not faults:
            after = replay.scored_ranks(arrays, card, protocols)
            n_rows = card["dataset"]["database"]
            said = held.get("intervals", {"method": intervals.FIRST})
            unanswered = card.get("missing", {}).get("queries", ())
            scores = score(after, protocols, n_rows, held["seed"], said["method"], unanswered)
            faults += _differences(held["scores"], record.scores_to_json(scores), "scores")
            if "intervals" in held:
                again = intervals_of(protocols, n_rows, said["method"])
                faults += _differences(said, again, "intervals")
            faults += _differences(held["ties"], ties_of(ranks), "ties")
            faults += _loss_differences(held, protocols, ranks, shortlist, arrays)
    except (LookupError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise BenchError(
            f"the arrays of {path.name} are not those of a record: {type(error).__name__}: {error}."
        ) from error
    if ("rerank" in held) != ("rerank" in card):
        faults.append("the record and its card disagree on whether it is re-ranked")
    if ("missing" in held) != ("missing" in card):
        faults.append("the record and its card disagree on whether images are missing")
    part = card["limit"] is not None or "absent" in card or "missing" in card
    if held["partial"] != part:
        faults.append("the record and its card disagree on whether it is partial")
    count = sum(len(table) for table in held["scores"].values())
    notes = [f"{count} scores over {len(protocols)} protocols recomputed from stored ranks"]
    for entry in card["stages"]:
        told = "strengths as stated" if stages.known(entry) else "not known here, as stated"
        notes.append(f"stage {entry['stage']}: {told}")
    fault, note = _ground_truth(card, own, path.name)
    return faults + fault, notes + note


def _check_form(ranks: LabelledRanks, shortlist: Shortlist) -> None:
    """Refuse arrays of another type or shape; what is in them is looked at later."""
    whole = (ranks.row, ranks.rank, ranks.tied)
    if any(a.dtype != np.int64 for a in (ranks.offsets, *whole, shortlist.row)):
        raise ValueError("offsets, rows, ranks and ties must be int64")
    if any(a.dtype != np.float64 for a in (ranks.score, shortlist.score)):
        raise ValueError("scores must be float64")
    shapes = {a.shape for a in (*whole, ranks.score)}
    if shapes != {(int(ranks.offsets[-1]),)} or np.any(np.diff(ranks.offsets, prepend=0) < 0):
        raise ValueError("the offsets are not those of the ranks")
    if shortlist.row.shape != shortlist.score.shape or shortlist.row.ndim != 2:
        raise ValueError("the shortlist has no score per row")


def _card_faults(
    card: cards.Card, protocols: tuple[Protocol, ...], ranks: LabelledRanks
) -> list[str]:
    faults = []
    for rule, known in (("junk_rule", cards.JUNK_RULE), ("tie_rule", cards.TIE_RULE)):
        if card[rule] != known:
            faults.append(f"the card's {rule} is {card[rule]!r}, and ranks are made by {known!r}")
    n_queries = card["dataset"]["queries"]
    if len(ranks.offsets) != n_queries + 1:
        faults.append(f"ranks are of {len(ranks.offsets) - 1} queries, the card says {n_queries}")
    for protocol in protocols:
        entry = card["protocols"][protocol.name]
        if len(protocol.truth) != n_queries:
            faults.append(f"the ground truth of {protocol.name} is not of {n_queries} queries")
        fresh = cards.protocol_entry(protocol)
        if fresh.pop("truth_sha256") != entry["truth_sha256"]:
            faults.append(f"the stored ground truth of {protocol.name} is not the card's")
        if any(entry.get(key) != value for key, value in fresh.items()):
            faults.append(f"the card miscounts the queries of {protocol.name}")
    return faults


def _rank_faults(ranks: LabelledRanks, shortlist: Shortlist, card: cards.Card) -> list[str]:
    """Check that ranks, scores and shortlist can come from one ranking."""
    n_rows = card["dataset"]["database"] + card["distractors"]["count"]
    for query in range(len(ranks.offsets) - 1):
        part = ranks.of_query(query)
        row, rank, score = ranks.row[part], ranks.rank[part], ranks.score[part]
        tied = ranks.tied[part]
        if np.any(np.diff(row) <= 0) or np.any((row < 0) | (row >= n_rows)):
            return [f"the labelled rows of query {query} are not sorted rows of the database"]
        if card["search"] != "exact":  # what was not retrieved has no rank to contradict
            kept = rank != NOT_RETRIEVED
            if np.any(score[~kept] != -np.inf) or np.any(tied[~kept] != 0):
                return [f"images of query {query} that were not retrieved have a score"]
            row, rank, score, tied = row[kept], rank[kept], score[kept], tied[kept]
        best_first = np.lexsort((row, -score))
        places = rank[best_first]
        if np.any(np.diff(places) <= 0) or np.any((rank < 0) | (rank >= n_rows)):
            return [f"the ranks of query {query} contradict its scores"]
        listed = shortlist.row[query]
        inside = rank < len(listed)
        if np.any(listed[rank[inside]] != row[inside]):
            return [f"the ranks of query {query} contradict its shortlist"]
        if len(np.intersect1d(listed, row)) != np.count_nonzero(inside):
            return [f"the shortlist of query {query} holds labelled images ranked elsewhere"]
        if not np.all(np.diff(shortlist.score[query]) <= 0):
            return [f"the shortlist of query {query} is not in order of score"]
        if np.any(shortlist.score[query][rank[inside]] != score[inside]):
            return [f"the scores of query {query} contradict its shortlist"]
        _, group, size = np.unique(score, return_inverse=True, return_counts=True)
        if np.any(tied < size[group] - 1) or np.any(tied >= n_rows):
            return [f"the ties of query {query} contradict its scores"]
    return []


def _approximate_faults(
    held: dict[str, Any], ranks: LabelledRanks, arrays: record.Arrays
) -> list[str]:
    """Check that an approximate search, and no other, has the exact ranks beside its own."""
    card = held["card"]
    stored = {"exact_rank", "exact_shortlist_row"} & arrays.keys()
    if card["search"] == "exact":
        return ["the search is exact, but there is a loss"] if "approximate" in held else []
    if "approximate" not in held or len(stored) < 2:
        return ["the card is of an approximate search, but the exact ranks are not stored"]
    exact, listed = arrays["exact_rank"], arrays["exact_shortlist_row"]
    if exact.dtype != np.int64 or exact.shape != ranks.rank.shape or listed.dtype != np.int64:
        raise ValueError("exact ranks must be int64, one for each labelled image")
    n_rows = card["dataset"]["database"] + card["distractors"]["count"]
    for query in range(len(ranks.offsets) - 1):
        places = exact[ranks.of_query(query)]
        if np.any((places < 0) | (places >= n_rows)) or len(np.unique(places)) < len(places):
            return [f"the exact ranks of query {query} are not those of one list"]
        rows, inside = ranks.row[ranks.of_query(query)], places < listed.shape[1]
        listed_too = np.count_nonzero(np.isin(rows, listed[query]))
        if np.any(listed[query][places[inside]] != rows[inside]) or listed_too != inside.sum():
            return [f"the exact ranks of query {query} contradict its exact shortlist"]
    return []


def _loss_differences(
    held: dict[str, Any],
    protocols: tuple[Protocol, ...],
    ranks: LabelledRanks,
    shortlist: Shortlist,
    arrays: record.Arrays,
) -> list[str]:
    """Compare the stored loss of an approximate search with what the stored ranks give."""
    if "approximate" not in held:
        return []
    n_rows = held["card"]["dataset"]["database"]
    exact, listed = arrays["exact_rank"], arrays["exact_shortlist_row"]
    gone = held["card"].get("missing", {}).get("queries", ())
    again = faiss_index.loss(protocols, n_rows, ranks, shortlist, exact, listed, gone)
    stored = {key: held["approximate"][key] for key in again}
    return _differences(stored, again, "approximate")


def _stage_faults(
    held: dict[str, Any], arrays: record.Arrays, protocols: tuple[Protocol, ...], n_seen: int
) -> list[str]:
    """Check that the arrays of every stage of a chain fit the card, and follow from one ranking."""
    card = held["card"]
    named = {int(found[1]) for key in arrays if (found := re.match(r"stage(\d+)_", key))}
    if named != set(range(len(card["stages"]))):
        return [f"arrays of {len(named)} stages are stored, and the card has {len(card['stages'])}"]
    if card["stages"] and "rerank" in card:
        return ["the card has stages, and a re-ranking beside them"]
    if not card["stages"]:
        return []
    made = replay.rankings(arrays, card, protocols)
    for place, entry in enumerate(card["stages"]):
        before, after = made[place], made[place + 1]
        faults, kept, searched = [], {}, f"stage{place}_labelled_rank" in arrays
        if searched:
            ranks, listed = after.ranks[0], after.shortlist[0]
            _check_form(ranks, listed)
            faults = _rank_faults(ranks, listed, card) or _area_faults(card, arrays, ranks, listed)
            faults = faults or missing.faults(card, held.get("missing", ()), ranks)
        else:
            kept = replay.of_stage(place, arrays, before, protocols)
        stage = stages.known(entry)
        if stage is not None:
            if stage.searches_again != searched:
                return [f"the arrays of stage {place + 1} are not those of {entry['stage']}"]
            least = min(n_seen, stage.depth(1, protocols))
            if any(one.row.shape[1] < least for one in before.shortlist):
                faults += [f"the list before it is shorter than {least}"]
            faults += stage.faults(kept, before, protocols)
        elif entry["stage"] in stages.STAGES:
            faults += ["its entry on the card is none of that stage"]
        if faults:
            return [f"stage {place + 1}, {entry['stage']}: {fault}" for fault in faults]
    return []


def _rerank_faults(
    card: cards.Card,
    ranks: LabelledRanks,
    shortlist: Shortlist,
    inliers: Rows | None,
    protocols: tuple[Protocol, ...],
    n_seen: int,
) -> list[str]:
    """Check that exactly the candidates of the card's rule were verified."""
    if "rerank" not in card:
        if inliers is not None:
            return ["inliers are stored, but the card is of no re-ranking"]
        chained = any(entry["stage"] == stages.VERIFICATION for entry in card["stages"])
        if card["candidates_rule"] != (cards.IN_STAGES if chained else cards.NO_RERANKING):
            return ["the card names a rule for candidates, but nothing of how they are re-ranked"]
        return []
    if inliers is None:
        return ["the card is of a re-ranking, but no inliers are stored"]
    stage = stages.known({"stage": stages.VERIFICATION, **card["rerank"]})
    listed_by = verification.listed_by(card["rerank"])
    if card["candidates_rule"] != listed_by.candidates:
        return ["the card names another rule for candidates than its re-ranking has"]
    if shortlist.row.shape[1] < min(n_seen, verification.depth_needed(listed_by, protocols)):
        return ["the shortlist is too short for its candidates"]
    if stage is None:
        return ["the card's re-ranking is none that this version knows"]
    before = one_list(ranks, shortlist, len(protocols))
    return stage.faults({"inliers": [inliers]}, before, protocols)


def _area_faults(
    card: cards.Card, arrays: record.Arrays, ranks: LabelledRanks, shortlist: Shortlist
) -> list[str]:
    """Check that every query was searched in its own area of the database."""
    database, queries = arrays.get("database_area"), arrays.get("query_area")
    if "areas" not in card:
        stored = database is not None or queries is not None
        return ["areas are stored, but the card names none"] if stored else []
    if database is None or queries is None:
        return ["the card names areas, but they are not stored"]
    if card["areas"]["rule"] != cards.AREA_RULE:
        return [f"the card's rule of areas is not {cards.AREA_RULE!r}"]
    sizes = len(database), len(queries)
    if sizes != (card["dataset"]["database"], card["dataset"]["queries"]):
        return ["the stored areas are of another number of images than the card's"]
    if cards.areas_sha256(database, queries) != card["areas"]["sha256"]:
        return ["the stored areas are not the card's"]
    for query, area in enumerate(queries):
        seen = np.concatenate([ranks.row[ranks.of_query(query)], shortlist.row[query]])
        seen = seen[(seen != NO_ROW) & (seen < len(database))]
        if np.any(database[seen] != area):
            return [f"the list of query {query} leaves its area"]
    return []


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


def _group_faults(
    card: cards.Card,
    groups: Rows | None,
    shortlist: Shortlist,
    protocols: tuple[Protocol, ...],
    n_seen: int,
) -> list[str]:
    """Check that the lists are deep enough for the suppression that the card names."""
    if "suppression" not in card:
        return (
            ["groups are stored, but the card names no suppression"] if groups is not None else []
        )
    if groups is None:
        return ["the card names a suppression, but no groups are stored"]
    if card["suppression"]["rule"] != cards.SUPPRESSION_RULE:
        return [f"the card's rule of suppression is not {cards.SUPPRESSION_RULE!r}"]
    if len(groups) != card["dataset"]["database"]:
        return ["the stored groups are of another number of images than the card's"]
    if sha256_json(groups.tolist()) != card["suppression"]["sha256"]:
        return ["the stored groups are not the card's"]
    if shortlist.row.shape[1] < min(n_seen, suppression.depth_needed(groups, protocols)):
        return ["the shortlist is too short for its suppression"]
    return []


def _ground_truth(card: cards.Card, own: str | None, where: str) -> tuple[list[str], list[str]]:
    """Compare what the card says of lists and labels with the data set here, if there is one."""
    name = card["dataset"]["name"]
    if "absent" in card:
        return [], ["ground truth not compared: it is that of the images that were there"]
    if own is None and not lists.is_known(card):
        return [], [f"ground truth not compared: no data set {name} is known here"]
    try:
        here = lists.dataset_of(card, own, where)
    except BenchError as error:
        if own is not None:
            raise
        return [], [f"ground truth not compared: {error}"]
    stated, fresh = cards.identity(card), cards.identity(cards.make(here, None, unit_norm=True))
    if any(stated[key] != fresh[key] for key in ("dataset", "protocols")):
        return [f"lists and ground truth are not those of {name} here"], []
    return [], [f"lists and ground truth are those of {name} here"]


def _differences(held: Any, again: Any, place: str) -> list[str]:
    """Return where two JSON values differ by more than the tolerance."""
    if isinstance(held, dict) and isinstance(again, dict) and held.keys() == again.keys():
        return [d for key in held for d in _differences(held[key], again[key], f"{place}.{key}")]
    if isinstance(held, list) and isinstance(again, list) and len(held) == len(again):
        return [
            d for i in range(len(held)) for d in _differences(held[i], again[i], f"{place}[{i}]")
        ]
    numbers = isinstance(held, int | float) and isinstance(again, int | float)
    if numbers and math.isclose(held, again, rel_tol=0, abs_tol=TOLERANCE):
        return []
    return [] if held == again else [f"{place} is {held} in the record, but {again} from its ranks"]
