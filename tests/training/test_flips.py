"""One flipped bit in what training reads again is found: in views, checkpoints, their checksums."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.system import checksums
from bench.training import checkpoint, views

FLIPS = 40


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Return a folder with a checkpoint, as a training leaves it."""
    state = {"first.weight": torch.arange(12.0).reshape(3, 4)}
    checkpoint.write(tmp_path, {"step": 3, "network": state})
    return tmp_path


def test_a_checkpoint_is_read_as_it_was_written(written: Path) -> None:
    read = checkpoint.read(written, "cpu")
    assert read is not None
    assert read["step"] == 3
    assert torch.equal(read["network"]["first.weight"], torch.arange(12.0).reshape(3, 4))


@pytest.mark.parametrize("file", ["checkpoint.pt", "checkpoint.pt.sha256"])
def test_a_flipped_checkpoint_is_refused_or_the_same(written: Path, file: str) -> None:
    """A bit of the checksum's file may be one that says nothing, as the end of its line."""
    draw, path = random.Random(file), written / file
    right = path.read_bytes()
    refused = 0
    for _ in range(FLIPS):
        flip(path, draw)
        try:
            read = checkpoint.read(written, "cpu")
        except BenchError as error:
            refused += "checkpoint.pt" in str(error)
            path.write_bytes(right)
            continue
        assert read is not None
        assert torch.equal(read["network"]["first.weight"], torch.arange(12.0).reshape(3, 4))
        assert read["step"] == 3
        path.write_bytes(right)
    assert refused == FLIPS if file == "checkpoint.pt" else refused > FLIPS // 2


def test_a_flipped_view_is_made_again(tmp_path: Path) -> None:
    draw, path = random.Random(4), tmp_path / "view-000.npy"
    np.save(path, np.arange(60, dtype=np.float16).reshape(5, 12))
    assert not views._whole(path), "no checksum: nobody knows whether it is whole"
    checksums.keep(path, checksums.of(path))
    assert views._whole(path)
    right = path.read_bytes()
    for _ in range(FLIPS):
        flip(path, draw)
        assert not views._whole(path)
        path.write_bytes(right)
    path.write_bytes(right[:-1])
    assert not views._whole(path)
