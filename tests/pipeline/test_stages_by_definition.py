"""Stages on rows of other seeds and sizes than the official answers, against their definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import post_processing as by_definition
from tests.support.town import path_of

pytestmark = pytest.mark.slow

SIZES = [(3, 90, 4, 16), (11, 138, 7, 25)]  # seed, database, queries, dimension


@pytest.mark.parametrize(("seed", "n", "nq", "dim"), SIZES)
def test_every_stage_is_its_definition(
    cli: Any, town: Any, tmp_path: Path, seed: int, n: int, nq: int, dim: int
) -> None:
    given = [*town(seed, n, nq, dim), "--shortlist", n]
    database, queries = (np.load(tmp_path / f"{of}.npy").astype(np.float64) for of in ("db", "q"))

    def run(*stages: str) -> Any:
        words = [word for stage in stages for word in ("--stage", stage)]
        path_of(cli(*given, *words, "--export", tmp_path / "out.npz"))
        return np.load(tmp_path / "out.npz")

    def scores(out: Any, stage: int = 0) -> np.ndarray:
        made = np.empty((nq, n))
        np.put_along_axis(made, out[f"stage{stage}_rows"], out[f"stage{stage}_scores"], 1)
        return made

    def products(out: Any) -> np.ndarray:
        made: np.ndarray = out["stage0_queries"].astype(float) @ out["stage0_database"].T
        return made

    wide = by_definition.augmented(database, 5, 3)
    near = np.float32(wide).astype(float)
    pairs = np.stack([np.arange(n - n // 6), np.arange(n // 6, n)], axis=1)
    np.savez(tmp_path / "learn.npz", vectors=np.float32(database), pairs=pairs)
    white = by_definition.pca(database, dim // 2, 0.25)
    apart = by_definition.learned(database, pairs, dim // 2)
    listed, refined = by_definition.superglobal(queries, database, 40, 6, 0.3)
    super_out = run("superglobal:40,k=6,beta=0.3")
    found = {
        "aqe": (scores(run("aqe:7,alpha=2")),
                by_definition.expanded(queries, database, 7, 2) @ database.T),
        "dba, aqe": (scores(run("dba:5,alpha=3", "aqe:4,alpha=1"), 1),
                     by_definition.expanded(queries, near, 4, 1) @ wide.T),
        "pca-whiten": (products(run(f"pca-whiten:{dim // 2},power=0.25")),
                       white(queries) @ white(database).T),
        "lw-whiten": (products(run(f"lw-whiten:{dim // 2},on={tmp_path / 'learn.npz'}")),
                      apart(queries) @ apart(database).T),
        "k-reciprocal": (-scores(run("k-reciprocal:9,k2=4,weight=0.4")),
                         by_definition.k_reciprocal(queries, database, 9, 4, 0.4)),
        "joint": (scores(run("diffusion:joint,n=50,kd=11")),
                  by_definition.diffusion_joint(queries, database, 50, 11)),
        "paper": (scores(run("diffusion:paper,n=50,kd=11,kq=6")),
                  by_definition.diffusion_paper(queries, database, 50, 11, 6)),
        "superglobal": (super_out["stage0_refined"][:, :40], refined),
    }  # fmt: skip
    apart_by = {name: float(np.abs(one - other).max()) for name, (one, other) in found.items()}
    assert max(apart_by.values()) < 2e-6, apart_by
    assert np.array_equal(super_out["stage0_rows"][:, :40], listed)
