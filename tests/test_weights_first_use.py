"""Weights whose hash nobody publishes are trusted on first use by name, in a committed list."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench import methods, published_weights
from bench.errors import BenchError
from bench.system import trust
from bench.types import Checkpoint

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_the_list_names_exactly_the_files_without_a_known_hash() -> None:
    unknown = {
        (f"{file.method}.{file.owner}", file.file)
        for entry in methods.entries()
        for file in entry.files.values()
        if file.sha256 is None
    }
    assert unknown
    assert set(published_weights.first_use()) == unknown


@pytest.fixture
def file(tmp_path: Path, workspace) -> Checkpoint:
    """Return a file that a person has put into the cache."""
    made = Checkpoint(
        "net", "big", "big", file="net.pth", licence="x", training_set="y",
        url="https://host.example/net.pth",
    )  # fmt: skip
    path = published_weights.path_of(made)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    return made


@pytest.mark.parametrize(("known", "state"), [(DIGEST, "ok"), ("0" * 64, "changed")])
def test_a_contributed_hash_must_hold(
    file: Checkpoint, monkeypatch: pytest.MonkeyPatch, known: str, state: str
) -> None:
    monkeypatch.setattr(published_weights, "first_use", lambda: {("net.big", "net.pth"): known})
    assert published_weights.state(file) == state
    if state == "changed":
        with pytest.raises(BenchError, match=r"net\.pth differs from the downloaded file"):
            published_weights.get(file)


def test_a_downloaded_file_must_have_the_contributed_hash(
    file: Checkpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(published_weights, "first_use", lambda: {("net.big", "net.pth"): "0" * 64})
    path, part = published_weights.path_of(file), tmp_path / "part"
    path.unlink()
    part.write_bytes(CONTENT)
    with pytest.raises(BenchError, match=r"instead of 0{64} \(methods/first-use\.tsv\)"):
        published_weights._accept(file, part, path, "net.big", "https://host.example", None)
    assert not path.exists()
    assert not part.exists()


def test_the_first_download_is_told_and_holds(
    file: Checkpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.setattr(published_weights, "first_use", lambda: {("net.big", "net.pth"): None})
    path, part = published_weights.path_of(file), tmp_path / "part"
    path.unlink()
    part.write_bytes(CONTENT)
    published_weights._accept(file, part, path, "net.big", "https://host.example", None)
    assert f"sha256 {DIGEST} is trusted on first use" in capsys.readouterr().err
    assert published_weights.state(file) == "ok"
    path.write_bytes(b"others")
    assert published_weights.state(file) == "changed"


@pytest.mark.parametrize("line", ["a\tb", "a\tb\tc", "a\tb\t-\td", f"a b {'0' * 64}", ""])
def test_a_wrong_line_of_a_list_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(f"titles\na\tb\t-\n{line}\n")
    with pytest.raises(BenchError, match=r"list\.tsv, line 3"):
        trust.read(path)
