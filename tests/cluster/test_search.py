"""Search in pieces: what workers count adds up to the very ranks, scores and lists of one machine.

Here without Ray: pieces are cut, pickled and counted as on a cluster, in any order. The same on a
real cluster is in `test_cluster_searching.py`.
"""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cluster import search as cluster
from bench.errors import BenchError
from bench.search import compress, exact
from bench.search.block import Asked, Counted
from bench.store.matrix import Matrix, check_all, count_rows, from_array

DIM = 6


def same(first: exact.Found, other: exact.Found) -> None:
    """Fail unless two searches found the same to the last bit."""
    for part, fields in (
        ("ranks", ("offsets", "row", "rank", "score", "tied")),
        ("shortlist", ("row", "score")),
    ):
        for name in fields:
            a, b = (getattr(getattr(found, part), name) for found in (first, other))
            assert a.dtype == b.dtype
            assert a.tobytes() == b.tobytes(), f"{part}.{name}"
    assert first.norms == other.norms


def in_pieces(rows: int, order: random.Random, *, carry: bool = False) -> exact.HandOut:
    """Return what counts pieces of so many rows, in any order, as if a worker had got each."""

    def hand_out(
        parts: list[Matrix],
        asked: Asked,
        lasts: Callable[[], Any],
        advance: Callable[[int], None],
    ) -> Iterator[Counted]:
        decodes = list({id(part.decode): part.decode for part in parts if part.decode}.values())
        starts = list(range(0, count_rows(parts), rows))
        order.shuffle(starts)
        for low in starts:
            high = min(low + rows, count_rows(parts))
            piece = cluster.cut(parts, low, high, decodes, carry=carry)
            sent = pickle.loads(pickle.dumps(((asked, decodes), piece, lasts())))
            found = cluster._count(*sent)
            if isinstance(found, str):
                check_all(parts)
            assert isinstance(found, Counted)
            yield pickle.loads(pickle.dumps(found))
            advance(high - low)

    return hand_out


def drawn(seed: int, n_rows: int, n_queries: int, few: int) -> tuple[Any, Any, list[Any]]:
    """Return rows, queries and labels; with `few` distinct rows, whose scores tie everywhere."""
    draw = np.random.default_rng(seed)
    kinds = draw.integers(-2, 3, (few, DIM)).astype(np.float32)
    kinds[~kinds.any(axis=1)] = 1
    database = kinds[draw.integers(0, few, n_rows)]
    loose = draw.random(n_rows) < 0.3
    database[loose] += draw.standard_normal((int(loose.sum()), DIM)).astype(np.float32)
    queries = draw.integers(-2, 3, (n_queries, DIM)).astype(np.float64)
    queries[~queries.any(axis=1)] = 1
    labels = [
        np.flatnonzero(draw.random(n_rows) < draw.choice([0, 0.05, 0.6])) for _ in range(n_queries)
    ]
    return database, queries, labels


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_rows=st.integers(1, 300),
    n_queries=st.integers(1, 4),
    few=st.integers(1, 12),
    depth=st.sampled_from([0, 1, 3, 20, 1000]),
    rows=st.integers(1, 120),
    cuts=st.integers(1, 4),
)
def test_any_pieces_in_any_order_add_up_to_the_whole(
    seed: int, n_rows: int, n_queries: int, few: int, depth: int, rows: int, cuts: int
) -> None:
    database, queries, labels = drawn(seed, n_rows, n_queries, few)
    whole = exact.search([from_array(database, "all")], queries, labels, depth)
    parts = [
        from_array(part, f"part{i}")
        for i, part in enumerate(np.array_split(database, cuts))
        if len(part)
    ]
    hand_out = in_pieces(rows, random.Random(seed))
    same(whole, exact.search(parts, queries, labels, depth, threads=1, hand_out=hand_out))


@pytest.mark.parametrize("carry", [False, True])
def test_files_memory_and_codes_side_by_side(tmp_path: Path, carry: bool) -> None:
    database, queries, labels = drawn(3, 400, 5, 30)
    files = []
    for i, (low, high) in enumerate([(0, 90), (90, 91), (200, 330)]):
        np.save(tmp_path / f"{i}.npy", database[low:high])
        files.append(Matrix(f"file {i}", (high - low, DIM), path=tmp_path / f"{i}.npy"))
    codes = np.arange(70, dtype=np.uint8)[:, None]
    np.save(tmp_path / "codes.npy", codes)
    decode = partial(looked_up, database[330:])
    parts = [
        files[0],
        files[1],
        from_array(database[91:200], "memory"),
        files[2],
        Matrix("codes", (70, DIM), path=tmp_path / "codes.npy", decode=decode),
    ]
    whole = exact.search([from_array(database, "all")], queries, labels, 50)
    same(whole, exact.search(parts, queries, labels, 50))
    for rows in (7, 64, 150, 400):
        hand_out = in_pieces(rows, random.Random(rows), carry=carry)
        same(whole, exact.search(parts, queries, labels, 50, threads=1, hand_out=hand_out))


def looked_up(table: Any, codes: Any) -> Any:
    """Return the rows that codes (n, 1) name."""
    return table[codes[:, 0]]


def test_a_piece_names_files_and_carries_what_is_in_memory(tmp_path: Path) -> None:
    rows = np.ones((50, DIM), np.float32)
    np.save(tmp_path / "a.npy", rows)
    parts = [
        Matrix("a", (50, DIM), path=tmp_path / "a.npy"),
        from_array(rows, "b"),
        Matrix("c", (50, DIM), path=tmp_path / "a.npy"),
    ]
    piece = cluster.cut(parts, 40, 120)
    assert [part.label for part in piece.parts] == ["a", "b", "c"]
    assert (piece.low, piece.high, piece.first) == (40, 120, 0)
    assert len(piece.files) == 2
    inside = cluster.cut(parts, 60, 70)
    assert (inside.low, inside.high, inside.first) == (0, 10, 60)
    assert inside.parts[0].array is not None
    assert inside.parts[0].array.shape == (10, DIM)
    assert inside.files == ()
    file = cluster.cut(parts, 110, 120)
    assert (file.low, file.high, file.first) == (10, 20, 100)
    assert len(pickle.dumps(file)) < 1000


def test_another_file_of_that_path_is_not_searched(tmp_path: Path) -> None:
    database, queries, labels = drawn(5, 60, 2, 9)
    np.save(tmp_path / "a.npy", database)
    part = Matrix("a", (60, DIM), path=tmp_path / "a.npy")
    kept = {}

    def keep(parts: Any, asked: Asked, lasts: Any, advance: Any) -> Any:
        kept["asked"] = asked
        return exact.here(parts, asked, lasts, advance)

    exact.search([part], queries, labels, 5, hand_out=keep)
    shared, lasts = (kept["asked"], []), np.full(2, -np.inf)
    piece = cluster.cut([part], 0, 60)
    assert cluster._count(shared, piece, lasts) is not None
    changed = (tmp_path / "a.npy").stat().st_mtime_ns
    os.utime(tmp_path / "a.npy", ns=(changed, changed + 1))
    assert cluster._count(shared, piece, lasts) is None
    (tmp_path / "a.npy").unlink()
    assert cluster._count(shared, piece, lasts) is None


def test_a_bad_row_is_named_as_one_machine_names_it(tmp_path: Path) -> None:
    database, queries, labels = drawn(6, 90, 2, 9)
    database[[41, 77]] = np.nan
    np.save(tmp_path / "a.npy", database[:40])
    parts = [
        Matrix("some.npy", (40, DIM), path=tmp_path / "a.npy"),
        from_array(database[40:], "others"),
    ]
    with pytest.raises(BenchError) as here:
        exact.search(parts, queries, labels, 5)
    assert str(here.value).startswith("row 1 of others contains NaN")
    for seed in range(4):
        hand_out = in_pieces(7, random.Random(seed))
        with pytest.raises(BenchError) as there:
            exact.search(parts, queries, labels, 5, threads=1, hand_out=hand_out)
        assert str(there.value) == str(here.value)


def test_a_lost_piece_is_noticed() -> None:
    database, queries, labels = drawn(7, 90, 2, 9)

    def lossy(*arguments: Any) -> Iterator[Counted]:
        for number, counted in enumerate(in_pieces(10, random.Random(0))(*arguments)):
            if number != 4:
                yield counted

    with pytest.raises(BenchError, match="80 of 90 rows were counted"):
        exact.search([from_array(database, "a")], queries, labels, 5, hand_out=lossy)


def test_later_pieces_list_only_what_may_enter_the_list() -> None:
    """The best rows are in the first piece: the others have nothing to send."""
    draw = np.random.default_rng(0)
    database = draw.standard_normal((2000, DIM)).astype(np.float32)
    query = draw.standard_normal(DIM)
    database = database[np.argsort(-(database @ query))]
    lengths = []

    def watched(*arguments: Any) -> Iterator[Counted]:
        parts, asked, lasts, _ = arguments
        for low in range(0, 2000, 100):
            counted = cluster._count((asked, []), cluster.cut(parts, low, low + 100), lasts())
            assert isinstance(counted, Counted)
            lengths.append(len(counted.added.row))
            yield counted

    labels = [np.array([5, 700])]
    parts = [from_array(database, "a")]
    found = exact.search(parts, query[None], labels, 20, hand_out=watched)
    same(exact.search(parts, query[None], labels, 20), found)
    assert lengths[0] >= 20
    assert sum(lengths[1:]) == 0


def test_pieces_are_of_a_size_that_keeps_all_cores_busy_to_the_end() -> None:
    def rows(n_rows: int, cores: int, dim: int = 512) -> int:
        return cluster.piece_rows([Matrix("a", (n_rows, dim))], cores)

    assert rows(10**8, 64) == cluster.PIECE_BYTES // (4 * 512)
    assert rows(10**6, 64) * 64 * cluster.PIECES_PER_CORE >= 10**6
    assert rows(10**6, 64) < rows(10**8, 64)
    assert rows(49, 64) == cluster.LEAST_ROWS
    assert rows(10**8, 64, dim=1 << 26) == 1
    small = cluster.piece_rows([Matrix("a", (10**8, 512))], 64, 10 << 20)
    assert small * 4 * 512 <= 10 << 20


def test_the_decoder_of_codes_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path))
    draw = np.random.default_rng(1)
    rows = draw.standard_normal((300, 8)).astype(np.float32)
    queries = draw.standard_normal((3, 8))
    labels = [np.arange(0, 300, 7)] * 3
    choice = compress.parse("pq4x4")
    assert choice is not None
    parts = compress.compress([from_array(rows, "rows")], choice)
    whole = exact.search(parts, queries, labels, 30)
    hand_out = in_pieces(64, random.Random(0))
    same(whole, exact.search(parts, queries, labels, 30, threads=1, hand_out=hand_out))
