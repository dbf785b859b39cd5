"""Approximate search by an index of faiss, and what it costs in quality.

An index gives each query a list: the `k` rows it finds, scored by float64 dot products with the
vectors that the index holds, score descending and then database row ascending. A row that is not
in the list is not retrieved: its rank is infinite, so a positive among them is missed, and counts
in no numerator and every denominator. The same descriptors are searched exactly in the same run,
so that a record has both scores, and how much of the exact shortlist was found.

Sources: inverted file and product quantisation of residuals, Jégou, Douze and Schmid, PAMI 2011;
HNSW, Malkov and Yashunin, PAMI 2020; Douze et al., The Faiss library, 2024.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.scoring.scores import positive_ranks, score
from bench.search import quantise
from bench.search.pairs import exact_scores
from bench.store.matrix import Matrix, blocks, check_block, count_rows
from bench.system import machine
from bench.system.progress import Progress
from bench.types import NOT_RETRIEVED, LabelledRanks, Protocol, Rows, Shortlist

PER_LIST = 64  # training rows for each list of an inverted file
BUILD_DEPTH = 200  # efConstruction of HNSW
DEFAULT_K, DEFAULT_PROBES, DEFAULT_EF = 1000, 16, 128

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Index:
    """An index by its parameters.

    lists        lists of an inverted file; 0: HNSW
    sub_vectors  of the product quantiser, with `bits` each; 0: vectors are kept as they are
    probes       lists looked into per query
    links        neighbours of a node of HNSW (M); the lowest layer has twice as many
    ef           candidates HNSW keeps while it searches (efSearch), at least k
    k            length of a query's list
    """

    lists: int
    sub_vectors: int
    bits: int
    probes: int
    links: int
    ef: int
    k: int

    @property
    def name(self) -> str:
        """Return the name, with every parameter."""
        if self.links:
            return f"hnsw{self.links},ef{self.ef},k{self.k}"
        coding = f"pq{self.sub_vectors}x{self.bits}" if self.sub_vectors else "flat"
        return f"ivf{self.lists},{coding},nprobe{self.probes},k{self.k}"


@dataclass(frozen=True, eq=False)
class Retrieved:
    """What an index found: rows and scores of each query's list, best first, and what it took.

    `query_ms` is what each query took alone, in one thread.
    """

    lists: list[tuple[Rows, Float64]]
    index_bytes: int
    seconds: dict[str, float]
    query_ms: list[float]


def parse(name: str) -> Index | None:
    """Return the index of a name such as "ivf1024,flat,nprobe16,k1000"; None for "exact"."""
    if name == "exact":
        return None
    words = [word for word in re.split(r"[,\s]+", name) if word]
    first, numbers = words[0] if words else "", {"nprobe": 0, "ef": 0, "k": DEFAULT_K}
    kind = re.fullmatch(r"(ivf|hnsw)([1-9][0-9]{0,6})", first)
    coding = None
    known = kind is not None
    for word in words[1:]:
        number = re.fullmatch(r"(nprobe|ef|k)([1-9][0-9]{0,6})", word)
        if number is not None:
            numbers[number.group(1)] = int(number.group(2))
        elif coding is None and re.fullmatch(r"flat|pq[1-9][0-9]{0,4}x(?:4|8)", word):
            coding = word
        else:
            known = False
    if kind is None or not known or (kind.group(1) == "hnsw" and (coding or numbers["nprobe"])):
        raise BenchError(
            f"--search {name!r} is unknown; use exact, or a faiss index with its parameters: "
            "ivfN,flat,nprobeP or ivfN,pqMxB,nprobeP (N cells, of which P are searched, M "
            "sub-vectors of B = 4 or 8 bits), or hnswN,efE (N links); each may end with ,kL for "
            f"the length of a list (default: k{DEFAULT_K})."
        )
    count = int(kind.group(2))
    if kind.group(1) == "hnsw":
        ef = max(numbers["ef"] or DEFAULT_EF, numbers["k"])
        return Index(0, 0, 0, 0, count, ef, numbers["k"])
    coded = re.fullmatch(r"pq(\d+)x(\d)", coding or "flat")
    sub_vectors, bits = (int(coded.group(1)), int(coded.group(2))) if coded else (0, 0)
    probes = min(numbers["nprobe"] or DEFAULT_PROBES, count)
    return Index(count, sub_vectors, bits, probes, 0, 0, numbers["k"])


def code(index: Index | None, dim: int, n_rows: int) -> str | dict[str, Any]:
    """Return the code of a card; refuse an index that does not fit the descriptors.

    `n_rows` counts database and distractors.
    """
    if index is None:
        return "exact"
    listed = {"name": index.name, "list": min(index.k, n_rows)}
    if index.links:
        return listed | {"build_depth": BUILD_DEPTH}
    if index.lists > n_rows:
        raise BenchError(
            f"--search {index.name} has {index.lists} cells for {n_rows} database rows; use "
            "fewer cells than rows."
        )
    if index.sub_vectors:
        name = f"--search {index.name}"
        quantise.check_sub_vectors(name, index.sub_vectors, index.bits, dim, n_rows)
    return listed | {
        "trained_rows": min(n_rows, _training_rows(index)),
        "rows": n_rows,
        "seed": quantise.SEED,
        "kmeans_seed": quantise.KMEANS_SEED,
    }


@dataclass(frozen=True, eq=False)
class Built:
    """An index over `rows` rows of `dim` numbers, and the seconds that building it took."""

    index: Index
    faiss: Any
    rows: int
    dim: int
    seconds: Mapping[str, float]


def retrieve(index: Index, parts: Sequence[Matrix], queries: Float64) -> Retrieved:
    """Build the index over the parts, search it, and return a list per query, (rows, scores)."""
    return ask(build(index, parts), queries)


def build(index: Index, parts: Sequence[Matrix]) -> Built:
    """Return the index over the parts; one that would not fit into memory is refused.

    Everything runs in one thread, so that the same rows give the same lists.
    """
    import faiss

    dim, n_rows = parts[0].shape[1], count_rows(parts)
    _check_memory(index, dim, n_rows)
    built, seconds = _empty(faiss, index, dim), {}
    with quantise.one_thread():
        start = time.perf_counter()
        if not built.is_trained:
            built.train(quantise.training_rows(parts, _training_rows(index)))
        seconds["train"] = time.perf_counter() - start
        with Progress("build the index", n_rows, "rows") as progress:
            for low, stored in blocks(parts, 2048):
                rows, _ = check_block(parts, low, stored)
                built.add(rows)
                progress.advance(len(rows))
        seconds["add"] = progress.seconds
    return Built(index, built, n_rows, dim, seconds)


def ask(built: Built, queries: Float64) -> Retrieved:
    """Return a list per query, (rows, scores); each query is asked alone, in one thread."""
    index, lists, query_ms = built.index, [], []
    with (
        quantise.one_thread(),
        Progress("search the index", len(queries), "queries") as progress,
    ):
        for query in queries:
            start = time.perf_counter()
            lists.append(_ask(built.faiss, query, min(index.k, built.rows)))
            query_ms.append(1e3 * (time.perf_counter() - start))
            progress.advance()
    seconds = {**built.seconds, "search": progress.seconds}
    return Retrieved(lists, _index_bytes(index, built.dim, built.rows), seconds, query_ms)


def _empty(faiss: Any, index: Index, dim: int) -> Any:
    if index.links:
        built = faiss.IndexHNSWFlat(dim, index.links, faiss.METRIC_INNER_PRODUCT)
        built.hnsw.efConstruction, built.hnsw.efSearch = BUILD_DEPTH, index.ef
        return built
    # The index owns the coarse quantiser here: nothing else holds it once this function ends.
    coarse = faiss.IndexFlatIP(dim)
    coarse.this.disown()
    if index.sub_vectors:
        built = faiss.IndexIVFPQ(
            coarse, dim, index.lists, index.sub_vectors, index.bits, faiss.METRIC_INNER_PRODUCT
        )
        quantise.set_clustering(built.pq.cp)
    else:
        built = faiss.IndexIVFFlat(coarse, dim, index.lists, faiss.METRIC_INNER_PRODUCT)
    built.own_fields = True
    built.nprobe = index.probes
    quantise.set_clustering(built.cp)
    return built


def _ask(built: Any, query: Float64, k: int) -> tuple[Rows, Float64]:
    """Return one query's list; its scores are float64 products with what the index holds."""
    _, found, decoded = built.search_and_reconstruct(query.astype(np.float32)[None], k)
    there = found[0] >= 0
    rows = found[0][there].astype(np.int64)
    scores = exact_scores(decoded[0][there], query)
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]


def _training_rows(index: Index) -> int:
    return max(PER_LIST * index.lists, 1 << 14)


def _index_bytes(index: Index, dim: int, n_rows: int) -> int:
    """Return what the rows take in the index: vectors or codes, ids, links and centroids."""
    if index.links:
        return n_rows * (4 * dim + 8 * index.links)
    row = -(-index.sub_vectors * index.bits // 8) if index.sub_vectors else 4 * dim
    centroids = index.lists + ((1 << index.bits) if index.sub_vectors else 0)
    return n_rows * (row + 8) + 4 * dim * centroids


def _check_memory(index: Index, dim: int, n_rows: int) -> None:
    needed, free = _index_bytes(index, dim, n_rows), machine.available_bytes()
    if free is not None and needed > free:
        raise BenchError(
            f"--search {index.name} needs {needed / 2**30:.1f} GiB of memory for its index, "
            f"but {free / 2**30:.1f} GiB are free; use ivf with pq, or --search exact."
        )


def ranks_of(
    lists: Sequence[tuple[Rows, Float64]], labelled: Sequence[Rows], depth: int
) -> tuple[LabelledRanks, Shortlist]:
    """Return the ranks of the labelled rows in their lists, and the first `depth` of every list.

    The shortlist is cut to the shortest list. A labelled row that was not retrieved has the rank
    NOT_RETRIEVED, the score -inf, and no ties.
    """
    rank, score, tied = [], [], []
    for (rows, scores), wanted in zip(lists, labelled, strict=True):
        place = {row: at for at, row in enumerate(rows.tolist())}
        at = np.array([place.get(row, -1) for row in wanted.tolist()], dtype=np.int64)
        inside = at >= 0
        rank.append(np.where(inside, at, NOT_RETRIEVED))
        mine = np.full(len(wanted), -np.inf)
        mine[inside] = scores[at[inside]]
        score.append(mine)
        _, group, size = np.unique(scores, return_inverse=True, return_counts=True)
        others = np.zeros(len(wanted), dtype=np.int64)
        others[inside] = size[group[at[inside]]] - 1
        tied.append(others)
    ranks = LabelledRanks(
        np.cumsum([0, *map(len, labelled)], dtype=np.int64),
        np.concatenate(list(labelled)).astype(np.int64),
        np.concatenate(rank).astype(np.int64),
        np.concatenate(score).astype(np.float64),
        np.concatenate(tied).astype(np.int64),
    )
    depth = min([depth, *(len(rows) for rows, _ in lists)])
    return ranks, Shortlist(
        np.array([rows[:depth] for rows, _ in lists], dtype=np.int64).reshape(len(lists), depth),
        np.array([scores[:depth] for _, scores in lists]).reshape(len(lists), depth),
    )


def recall(found: Rows, exact: Rows, unanswered: Collection[int] = ()) -> float | None:
    """Return the fraction of the exact shortlists (n_queries, depth) that is in those found.

    Where `found` is shorter, only as much of the exact lists is looked at. The lists of queries
    `unanswered`, which have no descriptor, are left out; one in which the index found nothing is
    not. None where nothing is left.
    """
    asked = ~np.isin(np.arange(len(found)), list(unanswered))
    found, exact = found[asked], exact[asked]
    if found.size == 0:
        return None
    exact = exact[:, : found.shape[1]]
    both = [len(np.intersect1d(mine, true)) for mine, true in zip(found, exact, strict=True)]
    return float(np.sum(both) / found.size)


def loss(
    protocols: Sequence[Protocol],
    n_rows: int,
    ranks: LabelledRanks,
    shortlist: Shortlist,
    exact_rank: Rows,
    exact_listed: Rows,
    unanswered: Collection[int] = (),
) -> dict[str, Any]:
    """Return what a record says of the quality lost; everything follows from the stored arrays.

    `ranks` and `shortlist` are those of the index, before any re-ranking; `exact_rank` has the
    exact rank of every entry of `ranks`; `exact_listed` (n_queries, depth) has the exact lists.
    `n_rows` is the number of database rows, distractors left out. Queries `unanswered`, which have
    no descriptor, count as 0.
    """
    found = _means(ranks, protocols, n_rows, unanswered)
    exact = _means(replace(ranks, rank=exact_rank), protocols, n_rows, unanswered)
    return {
        "scores": found,
        "exact_scores": exact,
        "shortlist_recall": {
            "depth": shortlist.row.shape[1],
            "fraction": recall(shortlist.row, exact_listed, unanswered),
        },
        "positives_missed": {
            protocol.name: sum(
                len(truth.positive) - len(places)
                for truth, places in zip(
                    protocol.truth, positive_ranks(ranks, protocol), strict=True
                )
            )
            for protocol in protocols
        },
    }


def _means(
    ranks: LabelledRanks, protocols: Sequence[Protocol], n_rows: int, unanswered: Collection[int]
) -> dict[str, dict[str, float | None]]:
    scores = score(ranks, protocols, n_rows, unanswered=unanswered)
    return {
        protocol: {
            metric_id: None if np.isnan(score.mean) else score.mean
            for metric_id, score in table.items()
        }
        for protocol, table in scores.items()
    }


def faults(ranks: LabelledRanks, exact: Rows, listed: Rows, n_rows: int) -> list[str]:
    """Return faults of the exact ranks and lists that are stored beside those of an index.

    `exact` has a rank for each labelled image of `ranks`, `listed` a list for each query.
    """
    if exact.dtype != np.int64 or exact.shape != ranks.rank.shape or listed.dtype != np.int64:
        raise ValueError("exact ranks must be int64, one number per labelled image")
    for query in range(len(ranks.offsets) - 1):
        places = exact[ranks.of_query(query)]
        if np.any((places < 0) | (places >= n_rows)) or len(np.unique(places)) < len(places):
            return [f"the exact ranks of query {query} do not form one list"]
        rows, inside = ranks.row[ranks.of_query(query)], places < listed.shape[1]
        listed_too = np.count_nonzero(np.isin(rows, listed[query]))
        if np.any(listed[query][places[inside]] != rows[inside]) or listed_too != inside.sum():
            return [f"the exact ranks of query {query} contradict its exact shortlist"]
    return []
