"""The ranks that a record's scores come from: the search's, after each stage on the card.

A record stores enough to repeat a stage without descriptors. A stage on descriptors comes before
the search and so keeps nothing. For a stage that reorders a list it
stores one number per place; for a stage that searches again it stores the ranks and the list. The
arrays are called `stage0_strength`, `stage1_labelled_rank` and so on; where lists differ by
protocol, the name of the protocol follows. Re-ranking alone keeps `shortlist_inliers`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from bench.ranking import one_list, reordered
from bench.records.record import Arrays, ranks_of
from bench.rerank import suppression, verification
from bench.scoring.card import Card
from bench.stage import Stage, Step
from bench.stages import VERIFICATION
from bench.types import LabelledRanks, Protocol, Ranking, Shortlist

SEARCHED = ("labelled_rank", "labelled_score", "labelled_tied", "shortlist_row", "shortlist_score")


def alone(stages: Sequence[Stage]) -> bool:
    """Return whether the only stage is geometric verification, which has fields of its own."""
    return [stage.name for stage in stages] == [VERIFICATION]


def entries(card: Card) -> list[Mapping[str, Any]]:
    """Return the stages of a card in order of application."""
    if "rerank" in card:
        return [{"stage": VERIFICATION, **card["rerank"]}]
    return list(card.get("stages", ()))


def arrays_of(
    place: int, step: Step, before: Ranking, names: Sequence[str], searched: bool
) -> Arrays:
    """Return what a record keeps of a stage; `names` are those of the protocols."""
    if searched:
        ranks, listed = step.ranking.ranks[0], step.ranking.shortlist[0]
        values = (ranks.rank, ranks.score, ranks.tied, listed.row, listed.score)
        return {f"stage{place}_{key}": value for key, value in zip(SEARCHED, values, strict=True)}
    out: Arrays = {}
    for name, arrays in step.arrays.items():
        for at, array in enumerate(arrays):
            out[_name(place, name, before, names, at)] = array
    return out


def _name(place: int, name: str, before: Ranking, names: Sequence[str], at: int) -> str:
    single = len(before.shortlist) == 1
    return f"stage{place}_{name}" + ("" if single else f"_{names[before.of.index(at)]}")


def rankings(arrays: Arrays, card: Card, protocols: Sequence[Protocol]) -> list[Ranking]:
    """Return the ranking of the search, and then that after each stage.

    Raises LookupError where an array is missing, ValueError where one has another shape.
    """
    out = [one_list(*ranks_of(arrays), len(protocols))]
    for place, entry in enumerate(entries(card)):
        after = out[-1]
        if "rerank" in card or has_arrays(place, arrays):
            after = _after(place, entry, arrays, after, protocols)
        out.append(after)
    return out


def has_arrays(place: int, arrays: Arrays) -> bool:
    """Return whether a record keeps anything of a stage: what comes before the search has none."""
    return any(key.startswith(f"stage{place}_") for key in arrays)


def of_stage(
    place: int, arrays: Arrays, before: Ranking, protocols: Sequence[Protocol]
) -> dict[str, list[NDArray[Any]]]:
    """Return the arrays of a stage that reorders, by name: one for every distinct list.

    Raises ValueError where one has not the shape of its list, LookupError where one is missing.
    """
    if "shortlist_inliers" in arrays:
        return {"inliers": [arrays["shortlist_inliers"]]}
    names, start = [protocol.name for protocol in protocols], f"stage{place}_"
    ends = [""] if len(before.shortlist) == 1 else [f"_{names[i]}" for i in _firsts(before)]
    keys = [key.removeprefix(start) for key in arrays if key.startswith(start)]
    longest = sorted(ends, key=len, reverse=True)  # one protocol's name may end another's
    stated = {key.removesuffix(next((e for e in longest if key.endswith(e)), "")) for key in keys}
    out = {name: [arrays[f"{start}{name}{end}"] for end in ends] for name in stated}
    for name, found in out.items():
        for array, listed in zip(found, before.shortlist, strict=True):
            if array.shape != listed.row.shape:
                raise ValueError(f"the {name} of stage {place} must be one number per place")
    return out


def _firsts(before: Ranking) -> list[int]:
    return [before.of.index(at) for at in range(len(before.shortlist))]


def _after(
    place: int,
    entry: Mapping[str, Any],
    arrays: Arrays,
    before: Ranking,
    protocols: Sequence[Protocol],
) -> Ranking:
    if f"stage{place}_labelled_rank" in arrays:
        rank, score, tied, row, listed = (arrays[f"stage{place}_{key}"] for key in SEARCHED)
        first = before.ranks[0]
        if rank.shape != first.rank.shape:
            raise ValueError(f"the ranks of stage {place} do not fit the labelled images")
        ranks = LabelledRanks(first.offsets, first.row, rank, score, tied)
        return one_list(ranks, Shortlist(row, listed), len(protocols))
    kept = of_stage(place, arrays, before, protocols)
    if entry["stage"] == VERIFICATION:
        return verification.verified(
            before, kept["inliers"], protocols, verification.listed_by(entry)
        )
    return reordered(before, kept["strength"])


def scored_ranks(
    arrays: Arrays, card: Card, protocols: Sequence[Protocol]
) -> tuple[LabelledRanks, ...]:
    """Return the ranks that are scored, one per protocol: after all stages, after suppression."""
    last = rankings(arrays, card, protocols)[-1]
    return suppression.scored(last, arrays.get("database_group"))
