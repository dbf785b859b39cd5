"""The doctor says which installed versions are not those of the lock."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from bench.commands import doctor


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a lock that stands for the project's."""
    (tmp_path / "requirements").mkdir()
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    return tmp_path / "requirements" / "core.txt"


def test_versions_that_differ_from_the_lock_are_named(lock: Path) -> None:
    here = metadata.version("numpy")
    lock.write_text(
        f"numpy==0.1 ; python_full_version >= '99'\n"
        f"numpy=={here} \\\n    --hash=sha256:00\n    # via scipy\n"
        "pillow==0.0.1\nno-such-package==1.0\n"
    )
    [(state, _, text, advice)] = doctor._lock()
    assert state == doctor.NOTE
    assert f"pillow {metadata.version('pillow')} (lock: 0.0.1)" in text
    assert "1 of 2" in text
    assert "numpy" not in text
    assert "requirements/core.txt" in advice


def test_versions_of_the_lock_are_right_and_no_lock_says_nothing(lock: Path) -> None:
    assert doctor._lock() == []
    lock.write_text(f"numpy=={metadata.version('numpy')}\n")
    [(state, _, text, _)] = doctor._lock()
    assert (state, "1 packages" in text) == (doctor.OK, True)
