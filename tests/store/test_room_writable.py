"""A folder that is not writable is noticed before anything is described."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.store import room


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a folder that this user, who may be root, is told not to write to."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    usual = os.access

    def access(path: object, mode: int, **more: bool) -> bool:
        inside = str(path).startswith(str(folder)) and mode & os.W_OK
        return False if inside else usual(path, mode, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "access", access)
    return folder


def test_results_that_cannot_be_kept_are_refused_first(
    cli, refused, workspace, read_only: Path, small_file: Path, brought
) -> None:
    for arguments in (("run", "--method", "random-unit"),
                  ("evaluate", "--dataset", small_file, "--database", brought[0],
                   "--queries", brought[1])):  # fmt: skip
        message = refused(cli(*arguments, "--results", read_only / "new" / "results"))
        assert f"{read_only} is not writable" in message
        assert "--results" in message
    assert list(workspace.cache.glob("descriptors/*/*.npy")) == [], "nothing was described"


def test_a_folder_to_be_made_is_judged_by_the_one_above(tmp_path: Path, read_only: Path) -> None:
    room.check_writable(tmp_path / "not" / "yet")
    room.check_room([room.Need(read_only, 0, "nothing")])
    with pytest.raises(room.BenchError, match="is not writable"):
        room.check_room([room.Need(read_only / "x", 1, "a byte")])
