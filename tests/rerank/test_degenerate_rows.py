"""Stages on rows that are all the same, opposite, copies or long; defaults above the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records import record
from bench.records.verify import verify
from tests.support.town import path_of

GRAPHS = ["k-reciprocal:3,k2=2", "diffusion:joint,n=8,kd=3", "diffusion:paper,n=8,kd=3,kq=2"]


def brought(town: Any, tmp_path: Path, database: np.ndarray, queries: np.ndarray) -> list[Any]:
    """Return the arguments of `evaluate` for 24 rows and 4 queries."""
    arguments: list[Any] = town(50, n=24, nq=4, dim=3)
    np.save(tmp_path / "db.npy", database.astype(np.float32))
    np.save(tmp_path / "q.npy", queries.astype(np.float32))
    return arguments


@pytest.mark.parametrize("scope", ["all", "list"])
@pytest.mark.parametrize("stage", GRAPHS)
def test_rows_that_are_all_the_same_are_ranked(
    cli, town, tmp_path: Path, stage: str, scope: str
) -> None:
    arguments = brought(town, tmp_path, np.tile([1, 0, 0], (24, 1)), np.tile([1, 0, 0], (4, 1)))
    out = tmp_path / "out.npz"
    path = path_of(cli(*arguments, "--stage", f"{stage},scope={scope}", "--export", out))
    assert verify(path)[0] == []
    listed = np.load(out)
    assert np.isfinite(listed["stage0_scores"]).all()
    assert np.array_equal(np.sort(listed["stage0_rows"]), np.tile(np.arange(24), (4, 1)))


@pytest.mark.parametrize(
    ("length", "stage", "words"),
    [
        (-1, "aqe:1,alpha=2", "query 0"),
        (1e4, "aqe:3,alpha=100", "query 0"),
        (1e4, "dba:3,alpha=100", "row 0 of dba"),
        (1e4, "diffusion:joint,n=8,kd=3,gamma=100", "unit norm"),
        (1e4, "diffusion:paper,n=8,kd=3,gamma=100", "unit norm"),
        (1e4, "diffusion:paper,n=8,kd=3,gamma=100,scope=list", "unit norm"),
    ],
)
def test_numbers_that_overflow_or_vanish_are_one_sentence(
    cli, refused, town, tmp_path: Path, length: float, stage: str, words: str
) -> None:
    rows = np.tile([length, 0, 0], (24, 1))
    arguments = brought(town, tmp_path, rows, np.tile([abs(length), 0, 0], (4, 1)))
    assert words in refused(cli(*arguments, "--stage", stage))


def test_weights_of_opposite_rows_that_vanish_are_refused(cli, refused, town, tmp_path) -> None:
    rows = np.where(np.arange(24)[:, None] % 2, [1.0, 0, 0], [-1.0, 0, 0])
    arguments = brought(town, tmp_path, rows, np.tile([1, 0, 0], (4, 1)))
    words = refused(cli(*arguments, "--stage", "superglobal:24,k=23,beta=1"))
    assert "beta" in words


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("k-reciprocal", {"k1": 5, "k2": 5}),
        ("k-reciprocal:2", {"k1": 2, "k2": 5}),
        ("superglobal", {"rows": 6, "k": 5}),
        ("superglobal:4", {"rows": 4, "k": 3}),
    ],
)
def test_a_default_above_the_rows_becomes_their_number(
    cli, town, tmp_path: Path, stage: str, expected: dict[str, int]
) -> None:
    entry = record.read(path_of(cli(*town(51, n=6, nq=1), "--stage", stage)))["card"]["stages"][0]
    assert {name: entry[name] for name in expected} == expected
