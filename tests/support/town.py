"""Small data sets with descriptors, for `evaluate`: a town of places, and the official rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def unit(rows: np.ndarray) -> np.ndarray:
    """Bring rows to unit norm, float32."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def path_of(expected: Any) -> Path:
    """Return the path of the record that a command wrote."""
    assert expected.status == 0, expected.err
    return Path(expected.out.splitlines()[-1])


@pytest.fixture
def town(tmp_path: Path) -> Callable[..., list[Any]]:
    """Return a function that writes a data set with descriptors; it gives the arguments."""

    def make(seed: int = 0, n: int = 120, nq: int = 6, dim: int = 12, **more: Any) -> list[Any]:
        draw = np.random.default_rng(seed)
        centres = draw.standard_normal((n // 6, dim))
        database = centres[np.arange(n) % len(centres)] + 0.5 * draw.standard_normal((n, dim))
        queries = centres[:nq] + 0.5 * draw.standard_normal((nq, dim))
        truth = [{"positive": list(range(i, n, len(centres)))} for i in range(nq)]
        data = {
            "name": "town", "images": "jpg", "database": [f"d{i}.png" for i in range(n)],
            "queries": [{"file": f"q{i}.png"} for i in range(nq)], "protocols": {"all": truth},
            **more,
        }  # fmt: skip
        (tmp_path / "town.json").write_text(json.dumps(data), encoding="utf-8")
        for name, rows in (("db", database), ("q", queries)):
            np.save(tmp_path / f"{name}.npy", unit(rows))
        return ["evaluate", "--dataset", tmp_path / "town.json", "--database", tmp_path / "db.npy",
                "--queries", tmp_path / "q.npy"]  # fmt: skip

    return make


@pytest.fixture
def official(shared: Callable[[str], Path], tmp_path: Path) -> tuple[list[Any], Any]:
    """Return the arguments of `evaluate` for the rows of the official answers, and the answers."""
    about = json.loads(shared("parity2/post_processing.json").read_text(encoding="utf-8"))
    answers = np.load(shared("parity2/post_processing.npz"))
    n, nq, dim, places = (about[key] for key in ("n", "nq", "dim", "places"))
    draw = np.random.Generator(np.random.PCG64(about["seed"]))
    centres = draw.standard_normal((places, dim))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    database = centres[np.arange(n) % places] + 0.9 / dim**0.5 * draw.standard_normal((n, dim))
    queries = centres[np.arange(nq)] + 0.9 / dim**0.5 * draw.standard_normal((nq, dim))
    assert np.abs(unit(database)[0] - answers["check"][0]).max() < 1e-6, "the rows are those"
    np.save(tmp_path / "db.npy", unit(database))
    np.save(tmp_path / "q.npy", unit(queries))
    data = {"name": "post", "images": "x", "database": [f"d{i}" for i in range(n)],
            "queries": [{"file": f"q{i}"} for i in range(nq)],
            "protocols": {"all": [{"positive": [i]} for i in range(nq)]}}  # fmt: skip
    (tmp_path / "post.json").write_text(json.dumps(data), encoding="utf-8")
    return ["evaluate", "--dataset", tmp_path / "post.json", "--database", tmp_path / "db.npy",
            "--queries", tmp_path / "q.npy", "--shortlist", n], answers  # fmt: skip
