"""A record of the small data set, and records that are changed and signed again."""

from __future__ import annotations

import copy
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.pipeline import brought
from bench.pipeline.options import Options
from bench.records import record
from bench.scoring.card import card_id
from bench.system.hashing import sha256_json

Record = dict[str, Any]
Arrays = dict[str, np.ndarray]
HEADLINE = "map.trapezoid.junk-removed"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a record of random descriptors on the bundled data set."""
    folder = tmp_path_factory.mktemp("record")
    draw = np.random.default_rng(0)
    np.save(folder / "db.npy", draw.standard_normal((49, 16)).astype(np.float32))
    np.save(folder / "q.npy", draw.standard_normal((15, 16)).astype(np.float32))
    options = Options(results=folder / "results", shortlist=20, command="by hand")
    return brought.score_brought("mini", folder / "db.npy", folder / "q.npy", [], "mine", options)


@pytest.fixture
def specimen(recorded: Path) -> tuple[Record, Arrays]:
    """Return that record and its arrays, to be changed at will."""
    content = record.read(recorded)
    arrays = record.read_arrays(recorded, content)
    return copy.deepcopy(content), {key: value.copy() for key, value in arrays.items()}


def sign(content: Record, arrays: Arrays, path: Path) -> Path:
    """Write a record with every checksum right, whatever it says."""
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    path.with_suffix(".npz").write_bytes(packed.getvalue())
    content["ranks"] = {"file": f"{path.stem}.npz", "sha256": digest}
    content["card_sha256"] = sha256_json(content["card"])
    content["card_id"] = card_id(content["card"])
    content.pop("sha256")
    content["sha256"] = sha256_json(content)
    path.write_text(json.dumps(content), encoding="ascii")
    return path
