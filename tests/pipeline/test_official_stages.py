"""Every stage gives what the official program gives, through `evaluate --stage … --export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records.verify import verify
from tests.support.town import path_of


@pytest.fixture
def exported(cli, official, tmp_path: Path) -> Any:
    """Return a function from stages to what they export, and the answers."""
    arguments, answers = official

    def run(*stages: str) -> tuple[Any, Any]:
        words = [word for stage in stages for word in ("--stage", stage)]
        path = path_of(cli(*arguments, *words, "--export", tmp_path / "out.npz"))
        assert verify(path)[0] == []
        return np.load(tmp_path / "out.npz"), answers

    return run


def by_row(out: Any, stage: int) -> np.ndarray:
    """Return the scores of a list of all rows, in the order of the rows."""
    rows, scores = out[f"stage{stage}_rows"], out[f"stage{stage}_scores"]
    made = np.empty_like(scores)
    np.put_along_axis(made, rows, scores, axis=1)
    return made


def near(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and bool(np.abs(found - expected).max() < 2e-5)


def test_database_augmentation(exported) -> None:
    out, answers = exported("dba:10,alpha=3")
    assert near(out["stage0_database"][:40], answers["dba_k10_a3"])


def test_database_augmentation_and_query_expansion(exported) -> None:
    out, answers = exported("dba:20,alpha=3", "aqe:10,alpha=3")
    assert near(by_row(out, 1), answers["dba_k20_a3_then_aqe_k10_a3_scores"])


@pytest.mark.parametrize("dim", [48, 16])
def test_learned_whitening(exported, tmp_path: Path, dim: int) -> None:
    database = np.load(tmp_path / "db.npy")
    pairs = np.stack([np.arange(360), np.arange(360) + 40], axis=1)
    np.savez(tmp_path / "learn.npz", vectors=database, pairs=pairs)
    out, answers = exported(f"lw-whiten:{dim},on={tmp_path / 'learn.npz'}")
    products = out["stage0_queries"] @ out["stage0_database"].T
    assert near(products, answers[f"learned_whitening_{dim}_scores"])


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (7, 3, 0.85)])
def test_k_reciprocal(exported, k1: int, k2: int, weight: float) -> None:
    out, answers = exported(f"k-reciprocal:{k1},k2={k2},weight={weight}")
    assert near(-by_row(out, 0), answers[f"k_reciprocal_{k1}_{k2}_{weight}"])


def test_diffusion(exported) -> None:
    out, answers = exported("diffusion:joint,n=150,kd=20")
    assert near(by_row(out, 0), answers["diffusion_joint_150_20"])
    out, answers = exported("diffusion:paper,n=150,kd=20,kq=10")
    assert near(by_row(out, 0), answers["diffusion_paper_150_20_10"])


@pytest.mark.parametrize(("rows", "k", "beta"), [(100, 9, 0.15), (60, 5, 0.4)])
def test_superglobal(exported, rows: int, k: int, beta: float) -> None:
    out, answers = exported(f"superglobal:{rows},k={k},beta={beta}")
    name = f"superglobal_{rows}_{k}_{beta}"
    assert np.array_equal(out["stage0_rows"][:, :rows], answers[f"{name}_ranks"])
    assert near(out["stage0_refined"][:, :rows], answers[f"{name}_refined_scores"])
