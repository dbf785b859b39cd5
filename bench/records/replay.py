"""The ranks that a record's scores come from: the search's, after each stage on the card."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records.record import Arrays, ranks_of
from bench.rerank import suppression, verification
from bench.scoring.card import Card
from bench.types import LabelledRanks, Protocol, Rows, Shortlist


def scored_ranks(
    arrays: Arrays, card: Card, protocols: tuple[Protocol, ...]
) -> list[LabelledRanks]:
    """Return the ranks that are scored, one per protocol: see `final_ranks`."""
    reranked = (stage_of(card), arrays["shortlist_inliers"]) if "rerank" in card else None
    return final_ranks(*ranks_of(arrays), protocols, reranked, arrays.get("database_group"))


def final_ranks(
    ranks: LabelledRanks,
    shortlist: Shortlist,
    protocols: Sequence[Protocol],
    reranked: tuple[verification.Stage, Rows] | None,
    groups: Rows | None,
) -> list[LabelledRanks]:
    """Return the ranks that are scored, one per protocol: after re-ranking, after suppression.

    `ranks` and `shortlist` are those of the search, `reranked` is a stage and its inliers, `groups`
    are those of the data set.
    """
    lists, out = [shortlist] * len(protocols), [ranks] * len(protocols)
    if reranked is not None:
        stage, inliers = reranked
        lists = verification.lists_under(shortlist, inliers, protocols, stage)
        out = [verification.follow(ranks, one) for one in lists]
    if groups is not None:
        pairs = zip(out, lists, strict=True)
        out = [suppression.follow(one, listed, groups) for one, listed in pairs]
    return out


def stage_of(card: Card) -> verification.Stage:
    """Return which images of a list a re-ranked card says were re-ranked, and how."""
    said = card["rerank"]
    fields = {"least_inliers", "inlier_weight"} & set(said["local"])
    chosen = {field: said["local"][field] for field in fields}
    return verification.Stage(said["candidates"], said["depth"], **chosen)
