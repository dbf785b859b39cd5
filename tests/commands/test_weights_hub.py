"""Files of huggingface.co: fetched at a commit, which is kept; facts that `list` shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench import contract, methods
from bench.errors import BenchError
from tests.support.hosts import Page
from tests.support.remote import write_method

ONE, TWO = "1" * 40, "2" * 40
REPOSITORY = "owner/net"


def answer(commit: str) -> Page:
    texts = {"id": REPOSITORY, "modelId": REPOSITORY, "sha": commit, "siblings": [],
            "private": False, "downloads": 0, "tags": []}  # fmt: skip
    return Page(json.dumps(texts).encode(), kind="application/json")


@pytest.fixture
def site(host: Any) -> Any:
    """Serve the hub's two addresses of a repository, whose newest commit is ONE."""
    made = host()
    made.pages[f"/api/models/{REPOSITORY}"] = answer(ONE)
    for commit, content in ((ONE, b"first" * 99), (TWO, b"second" * 99)):
        made.pages[f"/{REPOSITORY}/resolve/{commit}/net.pth"] = Page(content)
    return made


def environment(site: Any) -> dict[str, str]:
    local = "127.0.0.1,localhost"
    return {"HF_ENDPOINT": site.url, "no_proxy": local, "NO_PROXY": local}


@pytest.mark.slow
def test_the_first_download_pins_the_commit(site: Any, workspace: Any, process: Any) -> None:
    own = write_method(workspace.folder, hub=REPOSITORY)
    text = process("weights", "get", own, env=environment(site))
    assert text.status == 0, text
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    assert path.read_bytes() == b"first" * 99
    kept = json.loads(path.with_name("net.pth.json").read_text())
    assert kept["commit"] == ONE
    assert kept["source"] == f"{site.url}/{REPOSITORY}/resolve/{ONE}/net.pth"

    site.pages[f"/api/models/{REPOSITORY}"] = answer(TWO)
    path.unlink()
    assert process("weights", "get", own, env=environment(site)).status == 0
    assert path.read_bytes() == b"first" * 99, "the commit of the first download holds"


def test_a_commit_that_a_plug_in_names_is_not_asked_for(
    site: Any, workspace: Any, process: Any
) -> None:
    own = write_method(workspace.folder, hub=f"{REPOSITORY}@{TWO}")
    del site.pages[f"/api/models/{REPOSITORY}"]
    assert process("weights", "get", own, env=environment(site)).status == 0
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    assert path.read_bytes() == b"second" * 99


def test_a_repository_that_cannot_be_asked(
    site: Any, workspace: Any, process: Any, refused: Any
) -> None:
    own = write_method(workspace.folder, hub="owner/absent")
    text = refused(process("weights", "get", own, env=environment(site)))
    assert "https://huggingface.co/owner/absent" in text
    assert "--weights PATH" in text


def test_a_run_without_the_file_names_the_command(workspace: Any, cli: Any, refused: Any) -> None:
    own = write_method(workspace.folder, hub=REPOSITORY)
    text = refused(cli("run", "--method", own))
    assert f"`python -m bench weights get {own}` downloads it from https://huggingface.co/" in text


@pytest.mark.parametrize(
    ("facts", "part"),
    [
        ({"hub": "owner"}, "OWNER/NAME"),
        ({"hub": f"{REPOSITORY}@main"}, "OWNER/NAME@COMMIT"),
        ({"hub": REPOSITORY, "url": "https://example.org/x"}, "'hub' without 'url'"),
        ({"url": "https://example.org/x", "dim": 0}, "dim"),
        ({"url": "https://example.org/x", "licence_code": ""}, "licence_code"),
        ({}, "'url', 'hub' or 'manual'"),
    ],
)
def test_wrong_facts_of_a_file(facts: dict[str, Any], part: str) -> None:
    whole = {"file": "net.pth", "licence": "MIT", "training_set": "photographs", **facts}
    with pytest.raises(BenchError) as raised:
        contract.checkpoints({"a": whole}, "own", ["a"])
    assert part in str(raised.value)


def test_a_group_is_one_of_three() -> None:
    assert contract.group(None, "own") is None
    assert contract.group("landmarks", "own") == "landmarks"
    with pytest.raises(BenchError, match="GROUP is 'faces'"):
        contract.group("faces", "own")


def test_list_shows_groups_and_facts(cli: Any) -> None:
    table = cli("list").out.partition("\n\n")[0].splitlines()
    groups = [
        line[table[0].index("group") : table[0].index("variants")].strip() for line in table[1:]
    ]
    assert list(dict.fromkeys(groups)) == list(contract.GROUPS)
    assert len(table) == 1 + len(methods.names())
    (line,) = [line for line in table if line.startswith("megaloc ")]
    assert line.split("  ")[0] == "megaloc"
    assert re.search(r"place recognition +1 +8,448  0 of 1 +MegaLoc: ", line)
    megaloc = cli("list", "megaloc").out.splitlines()
    assert megaloc[1].startswith("  megaloc.dinov2-8448: ")
    for fact in ("8,448-d", "training set: ", "licence of the weights: not stated",
                 "of the program: MIT", "`weights get megaloc.dinov2-8448`"):  # fmt: skip
        assert fact in megaloc[2]


def test_of_every_published_file_both_licences_and_the_dimension_are_stated() -> None:
    groups = ("place recognition",)
    for entry in methods.entries():
        assert entry.error is None
        assert entry.group in contract.GROUPS
        for file in entry.files.values() if entry.group in groups else ():
            assert file.dim, file
            assert file.licence_code, file
    assert Path(methods.file_of("megaloc")).name == "megaloc.py"
