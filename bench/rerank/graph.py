"""What graphs of images share: their scope, the rows that take part, nearest neighbours by block.

With the scope "all" a graph has all rows that a query searches, as the methods define it; with
"list" it has the rows of the query's own list, which is another number and another card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.stage import Float64, Shape, Space
from bench.types import NO_ROW, Ranking, Rows

Scope = Literal["all", "list"]
SCOPES: tuple[Scope, ...] = ("all", "list")
BLOCK = 512  # rows whose products with all others are in memory at a time
T = TypeVar("T")


def scope_of(where: str, text: str) -> Scope:
    """Return the scope that a user wrote."""
    for scope in SCOPES:
        if scope == text:
            return scope
    raise BenchError(f"{where}: scope is {text!r}; it must be one of {', '.join(SCOPES)}.")


def rows_of(scope: Scope, shape: Shape, depth: int) -> int:
    """Return the most rows of a graph."""
    return shape.most_rows if scope == "all" else depth


def products(rows: Float64, block: int = BLOCK) -> Iterator[tuple[int, Float64]]:
    """Yield the number of a first row, and products of it and those behind it with all rows."""
    for low in range(0, len(rows), block):
        yield low, rows[low : low + block] @ rows.T


def nearest(scores: Float64, k: int, own: Rows) -> tuple[Rows, Float64]:
    """Return the `k` columns of largest score of each row, itself first; and their scores.

    `own` is the column of each row itself. Of equal scores the smaller column comes first.
    """
    keyed = scores.copy()
    keyed[np.arange(len(keyed)), own] = np.inf
    k = min(k, keyed.shape[1])
    kept = np.argpartition(-keyed, k - 1, axis=1)[:, :k] if k < keyed.shape[1] else None
    if kept is None:
        order = np.argsort(-keyed, axis=1, kind="stable")
    else:  # rows that tie with the last are looked at together, so that the first of them stay
        last = np.take_along_axis(keyed, kept, axis=1).min(axis=1, keepdims=True)
        order = np.stack(
            [_first(row, limit, k) for row, limit in zip(keyed, last[:, 0], strict=True)]
        )
    return order, np.take_along_axis(scores, order, axis=1)


def _first(row: Float64, limit: float, k: int) -> Rows:
    inside = np.flatnonzero(row >= limit)
    return inside[np.argsort(-row[inside], kind="stable")[:k]]


def per_query(
    before: Ranking, space: Space, score: Callable[[Float64, Float64], Float64]
) -> list[NDArray[np.float64]]:
    """Return strengths of every list: `score` gets a query (dim) and the rows of its list."""
    out = []
    for listed in before.shortlist:
        strength = np.full(listed.row.shape, np.nan)
        for query, vector in enumerate(space.queries):
            inside = listed.row[query] != NO_ROW
            with np.errstate(over="ignore", invalid="ignore"):
                found = score(vector, space.rows(listed.row[query, inside]))
            strength[query, inside] = _checked(found)
        out.append(strength)
    return out


def per_group(
    space: Space, score: Callable[[Float64, Float64], Float64]
) -> list[NDArray[np.float64]]:
    """Return per query a score of each row of its group: `score` gets queries and rows."""
    out: list[NDArray[np.float64]] = [np.empty(0)] * len(space.queries)
    for group in space.groups:
        with np.errstate(over="ignore", invalid="ignore"):
            found = _checked(score(space.queries[group.queries], space.rows(group.rows)))
        for place, query in enumerate(group.queries.tolist()):
            out[query] = found[place]
    return out


def _checked(scores: Float64) -> Float64:
    """Return scores, or refuse what is infinite or no number."""
    if not np.isfinite(scores).all():
        raise BenchError(
            "the graph of these rows gives infinite or undefined scores; use descriptors of unit "
            "norm (--similarity cosine), or a smaller exponent."
        )
    return scores


def finite(strengths: Sequence[NDArray[np.float64]], listed: Sequence[Rows]) -> bool:
    """Return whether exactly the places of lists that hold a row have a strength."""
    return all(
        np.array_equal(np.isfinite(strength), row != NO_ROW)
        for strength, row in zip(strengths, listed, strict=True)
    )
