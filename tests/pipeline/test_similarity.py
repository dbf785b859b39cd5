"""Descriptors of any length and type: said, and compared by dot product, cosine or distance."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.places import R1


def own(folder: Path, count: int, asked: int, positive: list[int]) -> Path:
    """Write a data set without images."""
    made = {
        "name": "own", "images": "jpg", "database": [f"d{i}.png" for i in range(count)],
        "queries": [{"file": f"q{i}.png"} for i in range(asked)],
        "protocols": {"all": [{"positive": [row]} for row in positive]}, "metrics": [R1],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(made))
    return folder


def scored(workspace, cli: Callable, db: np.ndarray, asked: np.ndarray, *more: str):
    """Score arrays whose query i should find row i; return what was said, and the record."""
    folder = own(workspace.folder / "set", len(db), len(asked), list(range(len(asked))))
    np.save(folder / "db.npy", db)
    np.save(folder / "q.npy", asked)
    result = cli("evaluate", "--dataset", folder, "--database", folder / "db.npy", "--queries",
               folder / "q.npy", *more)  # fmt: skip
    assert result.status == 0, result.err
    path = Path(result.out.splitlines()[-1])
    return result, json.loads(path.read_text()), path


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Return rows of norms from 1 to 30, and queries near the first of them."""
    draw = np.random.default_rng(11)
    db = draw.normal(size=(40, 8))
    db *= draw.uniform(1, 30, size=(40, 1)) / np.linalg.norm(db, axis=1, keepdims=True)
    return db.astype(np.float32), (db[:6] + draw.normal(size=(6, 8)) * 1e-3).astype(np.float32)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
def test_ranks_are_those_of_the_similarity(similarity: str, rows, workspace, cli: Callable) -> None:
    db, asked = rows
    text, record, path = scored(workspace, cli, db, asked, "--similarity", similarity)
    exact, other = db.astype(np.float64), asked.astype(np.float64)
    strength = {
        "dot": other @ exact.T,
        "cosine": (other / np.linalg.norm(other, axis=1)[:, None])
        @ (exact / np.linalg.norm(exact, axis=1)[:, None]).T,
        "euclidean": -np.linalg.norm(other[:, None] - exact[None], axis=2),
    }[similarity]
    order = np.argsort(-strength, axis=1, kind="stable")
    with np.load(path.with_suffix(".npz")) as arrays:
        assert arrays["shortlist_row"].tolist() == order.tolist()
    assert ("norms from 1" in text.err) == (similarity == "dot")
    code = {"dot": "as-given"}.get(similarity, similarity)
    assert record["card"]["descriptors"] == code
    assert record["scores"]["all"][R1]["mean"] == (1.0 if similarity != "dot" else pytest.approx(
        float((order[:, 0] == np.arange(6)).mean())
    ))  # fmt: skip
    assert cli("verify", path).status == 0


def test_nothing_is_said_of_unit_rows(rows, workspace, cli: Callable) -> None:
    unit = [row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows]
    text, record, _ = scored(workspace, cli, *unit)
    assert "lengths" not in text.err
    assert record["card"]["descriptors"] == "unit-norm"


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int64"])
def test_whole_numbers_are_scored(kind: str, workspace, cli: Callable) -> None:
    draw = np.random.default_rng(2)
    db = draw.integers(0, 100, (20, 6)).astype(kind)
    _, record, path = scored(workspace, cli, db, db[:4], "--similarity", "euclidean")
    assert record["scores"]["all"][R1]["mean"] == 1.0
    _, _, floats = scored(
        workspace, cli, db.astype(np.float32), db[:4].astype(np.float32),
        "--similarity", "euclidean",
    )  # fmt: skip
    with np.load(path.with_suffix(".npz")) as item, np.load(floats.with_suffix(".npz")) as other:
        assert item["shortlist_row"].tolist() == other["shortlist_row"].tolist()


@pytest.mark.parametrize("kind", ["bool", "complex64", "int64"])
def test_what_cannot_be_compared_is_to_be_converted(kind: str, workspace, cli: Callable) -> None:
    folder = own(workspace.folder / "set", 3, 1, [0])
    np.save(folder / "db.npy", np.full((3, 2), 1 << 40).astype(kind))
    np.save(folder / "q.npy", np.ones((1, 2), dtype=np.float32))
    result = cli("evaluate", "--dataset", folder, "--database", folder / "db.npy", "--queries",
               folder / "q.npy")  # fmt: skip
    assert result.status == 1
    assert "convert" in result.err


@pytest.mark.parametrize(("value", "what"), [(np.nan, "contains NaN"), (1e300, "norm of 1e+300")])
def test_a_bad_row_is_named_with_its_image(
    rows, workspace, cli: Callable, value: float, what: str
) -> None:
    db, asked = rows
    db = db.astype(np.float64)
    db[17, 3] = value
    folder = own(workspace.folder / "set", len(db), len(asked), list(range(6)))
    np.save(folder / "db.npy", db)
    np.save(folder / "q.npy", asked)
    result = cli("evaluate", "--dataset", folder, "--database", folder / "db.npy", "--queries",
               folder / "q.npy")  # fmt: skip
    assert result.status == 1
    assert "row 17 (d17.png) of" in result.err
    assert what in result.err


def test_the_order_of_bytes_is_on_no_card(workspace, cli, rows) -> None:
    database, queries = rows
    _, first, _ = scored(workspace, cli, database.astype("<f4"), queries)
    for kind, same in ((">f4", True), ("<f2", False)):
        _, again, _ = scored(workspace, cli, database.astype(kind), queries, "--metric", "dot")
        assert (again["card_id"] == first["card_id"]) == same, kind
