"""Older records of place recognition: intervals over landmarks are made anew, or in doubt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import datasets
from bench.records import blocks, lists, record, rows
from bench.scoring import intervals
from tests.support.places import R1, score_places

STAMPED = ("schema", "card_sha256", "card_id", "ranks", "sha256")


@pytest.fixture
def older(cli: Callable[..., Any], workspace: Any, brought: tuple[Path, Path]) -> tuple[Path, Any]:
    """Return a record along a route as it was written before blocks, and the one of today."""
    right = np.repeat(np.random.default_rng(0).random(20) < 0.6, 3)
    at, database = np.arange(60) % 8, np.eye(8, dtype=np.float32)
    np.save(brought[0], database)
    np.save(brought[1], database[np.where(right, at, (at + 1) % 8)])
    change = {
        "queries": [{"file": f"q{i}.png"} for i in range(60)],
        "protocols": {"all": [{"positive": [int(row)]} for row in at]},
        "order": [[0, i] for i in range(60)],
        "rules": {"positive": "frame-order", "threshold_frames": 0},
        "areas": {"database": [0] * 8, "queries": [0] * 60},
        "groups": [*range(8)],
    }
    path = score_places(cli, workspace, brought, **change)
    today = record.read(path)
    arrays = record.read_arrays(path, today)
    landmarks = intervals.landmarks(record.protocols_of(arrays, today["card"]), 8)
    values = np.array(today["scores"]["all"][R1]["per_query"])
    score = today["scores"]["all"][R1] | {
        "interval": list(intervals.of_mean(values, landmarks, today["seed"]) or ())
    }
    content = {key: value for key, value in today.items() if key not in STAMPED} | {
        "intervals": {"method": intervals.METHOD, "level": 0.95, "landmarks": landmarks.count},
        "scores": {"all": {R1: score}},
    }
    kept = {key: value for key, value in arrays.items() if key != blocks.ARRAY}
    return record.write(workspace.folder / "older", content, kept), today


def test_an_older_record_is_in_doubt_where_its_places_are_not_here(older: Any) -> None:
    path, _ = older
    before = path.read_bytes()
    (run,), left_out = rows.load(path.parents[3])
    assert left_out == []
    assert run.blocks == (blocks.IN_DOUBT, 8)
    assert "doubt" in blocks.in_words(*run.blocks)
    stated = record.read(path)
    assert run.score("all", R1).interval == pytest.approx(stated["scores"]["all"][R1]["interval"])
    assert path.read_bytes() == before


def test_an_older_record_has_the_intervals_of_today_where_its_places_are_here(
    older: Any, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, today = older
    before = path.read_bytes()
    own = str(workspace.folder / "places" / "dataset.json")
    monkeypatch.setattr(lists, "is_known", lambda card: True)
    monkeypatch.setattr(datasets, "load_known", lambda name: datasets.load(own))
    (run,), _ = rows.load(path.parents[3])
    assert run.blocks == ("order", today["intervals"]["blocks"])
    renewed = run.score("all", R1)
    assert renewed.interval == pytest.approx(today["scores"]["all"][R1]["interval"])
    assert renewed.mean == today["scores"]["all"][R1]["mean"]
    assert path.read_bytes() == before


def test_places_of_another_revision_renew_nothing(
    older: Any, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = older
    own = workspace.folder / "places" / "dataset.json"
    own.write_text(own.read_text(encoding="utf-8").replace("q59.png", "q60.png"), encoding="utf-8")
    monkeypatch.setattr(lists, "is_known", lambda card: True)
    monkeypatch.setattr(datasets, "load_known", lambda name: datasets.load(str(own)))
    (run,), _ = rows.load(path.parents[3])
    assert run.blocks == (blocks.IN_DOUBT, 8)


def test_verify_reads_an_older_record(older: Any, cli: Callable[..., Any]) -> None:
    """`verify` checks intervals over landmarks as what they are: those of the record's method."""
    assert cli("verify", older[0]).status == 0
