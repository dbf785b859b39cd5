"""The rows that tables show: what of a record they are made of."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from bench.records import rows
from bench.scoring.card import is_compressed
from tests.support.checkout import ROOT
from tests.support.reports import make_record, results_of, store


def test_the_dimension_is_that_which_was_searched() -> None:
    """Four bytes a number, in every committed record that compresses nothing."""
    moved = 0
    for path in (ROOT / "results" / "stages" / "runs").rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        dim = rows.parse(content, rows.PurePosixPath(path.name)).dim
        if not is_compressed(content["card"]):
            assert 4 * dim == content["bytes_per_image"], path
        moved += dim != content["method"]["dim"]
    assert moved >= 6  # truncated, whitened and fused, of two methods


def test_a_record_whose_archive_is_damaged_is_left_out(tmp_path: Path) -> None:
    """Its checksum may be right all the same: who signs a record signs its archive."""
    packed = io.BytesIO()
    np.savez(packed, rank=np.arange(900))
    flipped = bytearray(packed.getvalue())
    flipped[4000] ^= 1
    results = results_of(tmp_path)
    contents = (packed.getvalue(), bytes(flipped), b"no archive")
    for number, content in enumerate(contents, 1):
        record = make_record("gem", f"n{number}", number=number)
        digest = hashlib.sha256(content).hexdigest()
        record["ranks"] = {"file": f"n{number}.npz", "sha256": digest}
        store(results, record).with_name(f"n{number}.npz").write_bytes(content)
    runs, left_out = rows.load(results)
    assert [run.variant for run in runs] == ["n1"]
    reasons = [reason for _, reason in left_out]
    assert "n2.npz cannot be read as .npz: Bad CRC-32 for file 'rank.npy'" in reasons[0]
    assert "n3.npz cannot be read as .npz" in reasons[1]
