"""Files whose hash nobody publishes are trusted on first use by name, in a committed list."""

from __future__ import annotations

import hashlib

import pytest

from bench import datasets
from bench.acquire import downloads
from bench.facts import Download


def test_the_list_names_exactly_the_files_without_a_known_hash() -> None:
    unknown = {
        (name, download.file)
        for name in datasets.names()
        if (facts := datasets.entry_of(name).facts) is not None
        for download in facts.downloads
        if not (download.sha256 or download.md5 or download.reported)
    }
    assert set(downloads.first_use()) == unknown


@pytest.mark.parametrize(("known", "kept"), [(None, True), ("right", True), ("0" * 64, False)])
def test_a_contributed_hash_must_hold(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys, known: str | None, kept: bool
) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"photographs")
    digest = hashlib.sha256(b"photographs").hexdigest()
    listed = digest if known == "right" else known
    monkeypatch.setattr(downloads, "first_use", lambda: {("town", "a.tgz"): listed})
    place = downloads.Place("town", tmp_path / "town")
    wanted = Download("a.tgz", ("https://x.example/a.tgz",))
    if kept:
        about = downloads._accepted(place, wanted, part, wanted.urls[0], "town: a.tgz")
        assert about["sha256"] == digest
        assert ("first use" in capsys.readouterr().err) == (known is None)
    else:
        with pytest.raises(downloads.BenchError, match="instead of 0000"):
            downloads._accepted(place, wanted, part, wanted.urls[0], "town: a.tgz")
        assert not part.exists()
