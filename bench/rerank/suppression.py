"""Suppression: of each group of near-identical database images a list keeps the first.

The cut-outs of one panorama are such a group (Torii et al., 24/7 place recognition by view
synthesis, CVPR 2015; NetVLAD's program for Tokyo 24/7). Recall@k is counted after it.

The place of an image in the suppressed list is the number of groups that come before it in the
full list. So the first k places follow exactly from the first k · (largest group) rows of the full
list: k groups have no more rows than that, and no row behind them can come before them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.system.hashing import sha256_json
from bench.types import NOT_RETRIEVED, LabelledRanks, Protocol, Ranking, Rows, Shortlist

PLACES = 1 << 20  # of lists looked at at a time


def depth_needed(groups: Rows, protocols: Sequence[Protocol]) -> int:
    """Return how long a list must be for every Recall@k of the protocols to be exact.

    `groups` is int64, one number per database row; ignored images stand in the list as well.
    """
    ks = [int(re.split(r"[@.]", name)[1]) for p in protocols for name in p.metrics]
    ignored = max((len(truth.ignored) for p in protocols for truth in p.truth), default=0)
    return int(np.unique(groups, return_counts=True)[1].max()) * (max(ks) + ignored)


def places_kept(rows: Rows, groups: Rows) -> Rows:
    """Return the places of a list, ascending, that hold the first row of a group.

    `rows` is the list of one query; where it ends with NO_ROW, one of these may be among them.
    """
    return np.flatnonzero(_first_of_group(rows[None], groups)[0]).astype(np.int64)


def _first_of_group(rows: Rows, groups: Rows) -> NDArray[np.bool_]:
    """Return which places (n, depth) of the lists of n queries hold the first row of a group."""
    inside = rows < len(groups)
    group = np.where(inside, groups[np.where(inside, rows, 0)], groups.max() + 1 + rows)
    order = np.argsort(group, axis=1, kind="stable")
    group = np.take_along_axis(group, order, axis=1)
    new = np.ones(rows.shape, dtype=np.bool_)
    new[:, 1:] = group[:, 1:] != group[:, :-1]
    first = np.empty_like(new)
    np.put_along_axis(first, order, new, axis=1)
    return first


def faults(
    stated: Mapping[str, Any] | None,
    groups: Rows | None,
    n_rows: int,
    shortlists: Sequence[Shortlist],
    protocols: Sequence[Protocol],
    n_seen: int,
) -> list[str]:
    """Return contradictions between a record and the suppression that its card states (None: none).

    `groups` are those stored; `n_rows` counts the database, `n_seen` the rows of the longest list.
    """
    if stated is None:
        named = "groups are stored, but the card lacks a suppression"
        return [named] if groups is not None else []
    if groups is None:
        return ["the card names a suppression, but no groups are stored"]
    if len(groups) != n_rows:
        return ["the stored groups and the card's have different numbers of images"]
    if sha256_json(groups.tolist()) != stated["sha256"]:
        return ["the stored groups differ from the card's"]
    least = min(n_seen, depth_needed(groups, protocols))
    if any(listed.row.shape[1] < least for listed in shortlists):
        return ["the shortlist is too short for its suppression"]
    return []


def scored(last: Ranking, groups: Rows | None) -> tuple[LabelledRanks, ...]:
    """Return the ranks that are scored, one per protocol: those of a ranking, suppressed."""
    pairs = [(last.ranks[at], last.shortlist[at]) for at in last.of]
    if groups is None:
        return tuple(ranks for ranks, _ in pairs)
    return tuple(follow(ranks, listed, groups) for ranks, listed in pairs)


def follow(ranks: LabelledRanks, listed: Shortlist, groups: Rows) -> LabelledRanks:
    """Return the ranks of the labelled images once only the first row of each group is kept.

    `listed` is the list as it is before that. Rows beyond `groups` (distractors) are groups of one.
    An image that is suppressed, or that is not in the list, gets the rank `NOT_RETRIEVED`.
    """
    rank = np.full_like(ranks.rank, NOT_RETRIEVED)
    n, depth = listed.row.shape
    step = max(1, PLACES // max(1, depth))
    for low in range(0, n if depth else 0, step):
        rows, offsets = listed.row[low : low + step], ranks.offsets[low : low + step + 1]
        first = _first_of_group(rows, groups)
        place = np.where(first, np.cumsum(first, axis=1) - 1, NOT_RETRIEVED).ravel()
        mine = slice(int(offsets[0]), int(offsets[-1]))
        of = np.repeat(np.arange(len(rows)), np.diff(offsets))
        width = 2 + max(int(rows.max()), int(ranks.row[mine].max(initial=0)))
        number, order = np.arange(len(rows))[:, None], np.argsort(rows, axis=1)
        keys = (number * width + np.take_along_axis(rows, order, axis=1) + 1).ravel()  # NO_ROW: 0
        order, wanted = (number * depth + order).ravel(), of * width + ranks.row[mine] + 1
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        rank[mine] = np.where(keys[at] == wanted, place[order[at]], NOT_RETRIEVED)
    return replace(ranks, rank=rank)
