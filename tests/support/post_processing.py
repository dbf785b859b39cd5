"""What stages on descriptors and lists give, written again from their definitions, densely.

Arrays are float64: queries (n_queries, dim), database (n, dim), unit rows. Every query has a score
of every row. The definitions are those of the papers and of the official programs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import cg

Rows = NDArray[np.float64]
Map = Callable[[Rows], Rows]


def unit(rows: Rows) -> Rows:
    """Bring rows to unit norm."""
    out: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return out


def largest(scores: Rows, k: int) -> NDArray[np.int64]:
    """Return the numbers of the k largest of every row, the largest first."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def _added(rows: Rows, similar: Rows, database: Rows, k: int, alpha: float) -> Rows:
    near = largest(similar, k)
    weight = np.take_along_axis(similar, near, 1) ** alpha
    return unit(rows + np.einsum("ij,ijd->id", weight, database[near]))


def expanded(queries: Rows, database: Rows, k: int, alpha: float) -> Rows:
    """Return queries after α-query expansion (Radenović, Tolias, Chum, PAMI 2019)."""
    return _added(queries, queries @ database.T, database, k, alpha)


def augmented(database: Rows, k: int, alpha: float) -> Rows:
    """Return rows after database augmentation: the same with a row's k nearest others."""
    similar = database @ database.T
    np.fill_diagonal(similar, 0)
    return _added(database, similar, database, k, alpha)


def _through(mean: Rows, projection: Rows) -> Map:
    def apply(rows: Rows) -> Rows:
        made = (rows - mean) @ projection.T
        out: Rows = made / (np.linalg.norm(made, axis=1, keepdims=True) + 1e-6)
        return out

    return apply


def pca(database: Rows, dim: int, power: float) -> Map:
    """Return PCA whitening learned on the database."""
    mean = database.mean(axis=0)
    value, vector = np.linalg.eigh((database - mean).T @ (database - mean) / len(database))
    return _through(mean, (vector * value**-power)[:, ::-1].T[:dim])


def learned(rows: Rows, pairs: NDArray[np.int64], dim: int) -> Map:
    """Return whitening learned from pairs (Mikolajczyk, Matas, ICCV 2007; cirtorch)."""
    first, second = rows[pairs[:, 0]], rows[pairs[:, 1]]
    mean, apart = first.mean(axis=0), first - second
    inverse = np.linalg.inv(np.linalg.cholesky(apart.T @ apart / len(pairs)))
    white = (rows - mean) @ inverse.T
    _, vector = np.linalg.eigh(white.T @ white)
    return _through(mean, vector[:, ::-1].T[:dim] @ inverse)


def k_reciprocal(queries: Rows, database: Rows, k1: int, k2: int, weight: float) -> Rows:
    """Return distances after k-reciprocal re-ranking (Zhong et al., CVPR 2017)."""
    rows = np.concatenate([queries, database])
    square = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    distance = (square / square.max(axis=0)).T
    order = np.argsort(distance, axis=1, kind="stable")

    def reciprocal(row: int, k: int) -> set[int]:
        return {int(j) for j in order[row, : k + 1] if row in order[j, : k + 1]}

    encoded = np.zeros_like(distance)
    for row in range(len(rows)):
        own = reciprocal(row, k1)
        halves = [reciprocal(j, round(k1 / 2)) for j in own]
        wide = own.union(*(half for half in halves if 3 * len(half & own) > 2 * len(half)))
        members = sorted(wide)
        encoded[row, members] = np.exp(-distance[row, members])
    encoded /= encoded.sum(axis=1, keepdims=True)
    if k2 > 1:
        encoded = np.stack([encoded[near].mean(axis=0) for near in order[:, :k2]])
    asked, listed = encoded[: len(queries)], encoded[len(queries) :]
    common = np.minimum(asked[:, None], listed[None]).sum(axis=2)
    jaccard = 1 - common / (2 - common)
    out: Rows = (1 - weight) * jaccard + weight * distance[: len(queries), len(queries) :]
    return out


def _diffused(rows: Rows, n: int, kd: int, gamma: float, alpha: float) -> Rows:
    """Return what every row reaches (n_rows, n_rows): truncated, by conjugate gradients."""
    similar = rows @ rows.T
    apart = similar - 9 * np.eye(len(rows))
    near = np.zeros(similar.shape, dtype=bool)
    np.put_along_axis(near, largest(apart, kd - 1), True, 1)
    weight = np.where(near & near.T, np.maximum(similar, 0) ** gamma, 0)
    scale = (weight.sum(axis=1) + 1e-12) ** -0.5
    system = np.eye(len(rows)) - alpha * weight * np.outer(scale, scale)
    out = np.zeros_like(similar)
    for row, members in enumerate(largest(similar + 9 * np.eye(len(rows)), n)):
        start = (members == row).astype(float)
        inside = np.ix_(members, members)
        out[row, members] = cg(system[inside], start, rtol=1e-6, maxiter=20)[0]
    return out


def diffusion_joint(queries: Rows, database: Rows, n: int, kd: int) -> Rows:
    """Return scores of diffusion over queries and database (Yang et al., AAAI 2019)."""
    reached = unit(_diffused(np.concatenate([queries, database]), n, kd, 3, 0.99))
    scores: Rows = reached[: len(queries)] @ reached[len(queries) :].T
    return scores


def diffusion_paper(queries: Rows, database: Rows, n: int, kd: int, kq: int) -> Rows:
    """Return scores of diffusion over the database, entered at the kq nearest rows."""
    similar, reached = queries @ database.T, _diffused(database, n, kd, 3, 0.99)
    near = largest(similar, kq)
    scores: Rows = np.einsum("ij,ijk->ik", np.take_along_axis(similar, near, 1) ** 3, reached[near])
    return scores


def superglobal(
    queries: Rows, database: Rows, count: int, k: int, beta: float
) -> tuple[NDArray[np.int64], Rows]:
    """Return the first `count` rows re-ranked (Shao et al., ICCV 2023), and their s1."""
    listed = largest(queries @ database.T, count)
    ranked, refined = [], []
    for query, rows in zip(queries, listed, strict=True):
        among = database[rows] @ database[rows].T
        near = largest(among, k + 1)
        weight = beta * np.take_along_axis(among, near, 1)
        weight[:, 0] = 1
        made = np.einsum("ij,ijd->id", weight, database[rows][near])
        made /= weight.sum(axis=1, keepdims=True)
        first = made @ query
        best = made[np.argsort(-first, kind="stable")[: k + 1]].max(axis=0)
        ranked.append(rows[np.argsort(-(first + made @ best) / 2, kind="stable")])
        refined.append(first)
    return np.stack(ranked), np.stack(refined)
