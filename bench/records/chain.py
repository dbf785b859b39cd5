"""Contradictions of a record's stages with its card: arrays, list lengths, order, candidates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from bench import stages
from bench.records import replay
from bench.records.record import Arrays
from bench.scoring.card import IN_STAGES, NO_RERANKING, Card
from bench.search import areas, consistency, missing
from bench.stage import ListStage, Stage
from bench.types import LabelledRanks, Protocol, Ranking, Shortlist


@dataclass(frozen=True)
class Stored:
    """What a record keeps: its card, its arrays, its missing images; and its ground truth.

    `n_seen` is the most rows that a list can have.
    """

    card: Card
    arrays: Arrays
    missing: Sequence[Any]
    protocols: tuple[Protocol, ...]
    n_seen: int

    def search_faults(self, ranks: LabelledRanks, shortlist: Shortlist) -> list[str]:
        """Return faults of ranks and lists against the search that the card states."""
        card = self.card
        n_rows = card["dataset"]["database"] + card["distractors"]["count"]
        exact = card["search"] == "exact"
        return consistency.faults(ranks, shortlist, n_rows, exact=exact) or missing.faults(
            card, self.missing, ranks
        )

    def area_faults(self, ranks: LabelledRanks, shortlist: Shortlist) -> list[str]:
        """Return ranks and lists with images outside the area of their query."""
        lists = self.card["dataset"]
        return areas.faults(
            self.card.get("areas"),
            (self.arrays.get("database_area"), self.arrays.get("query_area")),
            (lists["database"], lists["queries"]),
            ranks,
            shortlist,
        )


def faults(stored: Stored, first: Ranking) -> list[str]:
    """Return what contradicts the stages of the card; `first` is the ranking of the search."""
    card, arrays = stored.card, stored.arrays
    if "rerank" in card:
        if card["stages"]:
            return ["the card has both stages and a separate re-ranking"]
        return _reranked_alone(stored, first)
    if "shortlist_inliers" in arrays:
        return ["inliers are stored, but the card names no re-ranking"]
    chained = any(entry["stage"] == stages.VERIFICATION for entry in card["stages"])
    if card["candidates_rule"] != (IN_STAGES if chained else NO_RERANKING):
        return ["the card names a rule for candidates, but no re-ranking"]
    named = {int(found[1]) for key in arrays if (found := re.match(r"stage(\d+)_", key))}
    if not named <= set(range(len(card["stages"]))):
        return [f"arrays of stage {max(named) + 1} are stored, but the card lacks this stage"]
    return _chained(stored, named) if card["stages"] else []


def _reranked_alone(stored: Stored, first: Ranking) -> list[str]:
    """Check that exactly the candidates of the card's rule were verified."""
    card, inliers = stored.card, stored.arrays.get("shortlist_inliers")
    if inliers is None:
        return ["the card names a re-ranking, but no inliers are stored"]
    stage = _list_stage({"stage": stages.VERIFICATION, **card["rerank"]})
    if stage is None:
        return ["this version does not know the card's re-ranking"]
    if card["candidates_rule"] != card["rerank"]["candidates"]:
        return ["the card and its re-ranking have different rules for candidates"]
    return _too_short(stored, stage, first) or stage.faults(
        {"inliers": [inliers]}, first, stored.protocols
    )


def _chained(stored: Stored, named: set[int]) -> list[str]:
    """Check every stage of the card on the rankings that the arrays give; `named` have some."""
    made = replay.rankings(stored.arrays, stored.card, stored.protocols)
    for place, entry in enumerate(stored.card["stages"]):
        stage, name = stages.known(entry), f"stage {place + 1}, {entry['stage']}"
        if stage is None and entry["stage"] in stages.STAGES:
            return [f"{name}: its entry on the card does not belong to this stage"]
        if stage is not None and sorted(entry.get("uses", ())) != _uses(stage, entry):
            return [f"{name}: the card lacks what the stage uses"]
        if stage is not None and (stage.place == "list") != (place in named):
            return [f"{name}: the arrays do not belong to this stage"]
        if place not in named:  # before the search
            if any(before < place for before in named):
                return [f"{name}: it must come before the stages on lists"]
            continue
        found = _of_lists(stored, place, entry, (made[place], made[place + 1]))
        if found:
            return [f"{name}: {fault}" for fault in found]
    return []


def _of_lists(
    stored: Stored, place: int, entry: dict[str, Any], rankings: tuple[Ranking, Ranking]
) -> list[str]:
    """Check a stage on lists: the ranking `before` it and that after."""
    before, after = rankings
    stage, kept = _list_stage(entry), {}
    searched = f"stage{place}_labelled_rank" in stored.arrays
    if stage is not None and stage.searches_again != searched:
        return ["the arrays do not belong to this stage"]
    out = []
    if searched:
        pair = after.ranks[0], after.shortlist[0]
        consistency.check_form(*pair)
        out = stored.search_faults(*pair) or stored.area_faults(*pair)
    else:
        kept = replay.of_stage(place, stored.arrays, before, stored.protocols)
    if stage is not None:
        out += _too_short(stored, stage, before) or stage.faults(kept, before, stored.protocols)
    return out


def _too_short(stored: Stored, stage: ListStage, before: Ranking) -> list[str]:
    least = min(stored.n_seen, stage.depth(1, stored.protocols))
    short = any(listed.row.shape[1] < least for listed in before.shortlist)
    return (
        [f"the shortlist before it is too short: the stage needs {least} places"] if short else []
    )


def _list_stage(entry: dict[str, Any]) -> ListStage | None:
    return cast("ListStage | None", stages.known(entry))


def _uses(stage: Stage, entry: dict[str, Any]) -> list[str]:
    return [] if "candidates" in entry else sorted(stage.uses)
