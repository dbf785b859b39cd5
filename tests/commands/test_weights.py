"""The command `weights`: files fetched, verified and listed, and the facts of plug-ins."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from bench import contract, methods, published_weights
from bench.errors import BenchError
from bench.types import Checkpoint
from tests.support.checkout import ROOT
from tests.support.remote import (
    CONTENT,
    OTHER,
    PAGE,
    Remote,
    kept,
    write_method,
)

pytestmark = pytest.mark.usefixtures("quick")

# --- use ----------------------------------------------------------------------------------------


def test_a_run_uses_the_file_of_the_cache(
    workspace, cli, refused, own: Path, remote: Remote
) -> None:
    arguments = ("run", "--method", own, "--limit", "2", "--device", "cpu")
    text = refused(cli(*arguments))
    assert f"`python -m bench weights get {own}` downloads it from {remote.url}; or" in text
    assert cli("weights", "get", own).status == 0
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    for variant in (own, f"{own}:b"):
        result = cli("run", "--method", variant, "--limit", "2", "--dry-run")
        assert f", {path}, 1500000 bytes\n" in result.out
    assert cli(*arguments).status == 0

    mine = workspace.folder / "mine.pth"
    mine.write_bytes(b"x")
    result = cli(*arguments, "--weights", mine, "--dry-run")
    assert f", {mine}, 1 bytes\n" in result.out
    assert ", none\n" in cli("run", "--method", f"{own}:plain", "--dry-run").out
    output = workspace.folder / "x.npz"
    images = ROOT / "datasets" / "mini-data" / "jpg"
    extract = ("extract", "--method", own, "--images", images, "--output", output)
    assert cli(*extract).status == 0

    path.write_bytes(OTHER)
    assert "differs from the downloaded file" in refused(cli(*arguments))
    assert "differs from the downloaded file" in refused(cli(*extract, "--force"))
    assert "differs from the downloaded file" in refused(cli("weights", "get", own))
    path.unlink()
    assert cli("weights", "get", own).status == 0
    assert cli(*arguments).status == 0


def test_a_file_saved_by_hand_is_used_after_its_hash_is_recorded(workspace, cli, refused) -> None:
    own = write_method(workspace.folder, manual="Baidu, code abcd", size_bytes=len(CONTENT))
    text = refused(cli("run", "--method", own))
    assert text.endswith(
        "it cannot be downloaded by a program: download it in a browser from Baidu, code abcd, "
        "and give --weights PATH."
    )
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    text = refused(cli("weights", "get", own))
    assert (
        f"download it in a browser from Baidu, code abcd, save it as {path} and run the same "
        "command again"
    ) in text
    path.write_bytes(PAGE)
    assert "is a web page instead of the file" in refused(cli("weights", "get", own))
    path.write_bytes(CONTENT[:-1])
    assert "has 1499999 bytes instead of 1500000" in refused(cli("weights", "get", own))
    path.write_bytes(CONTENT)
    assert "has no recorded hash yet" in refused(cli("run", "--method", own))
    assert (
        cli("weights", "verify", own).out == f"{own}: no hash recorded; `weights get` records it\n"
    )
    assert cli("weights", "get", own).status == 0
    assert kept(workspace.cache) == CONTENT
    assert cli("run", "--method", own, "--dry-run").status == 0
    assert cli("weights", "verify", own).status == 0


def test_several_are_fetched_though_one_fails(workspace, cli, own: Path, remote: Remote) -> None:
    result = cli("weights", "get", f"{own}:plain", "gem", own)
    assert result.status == 1
    assert result.errors == [
        "error: own.plain needs no published file; variants of own that do: own.a, own.b.",
        "error: gem.lite0 needs no published file; variants of gem that do: none.",
    ]
    assert kept(workspace.cache) == CONTENT


# --- verify and list ----------------------------------------------------------------------------


def test_verify_says_what_became_of_the_files(workspace, cli, own: Path, remote: Remote) -> None:
    path = workspace.cache / "weights" / "own" / "a" / "net.pth"
    result = cli("weights", "verify", own)
    assert (result.status, result.out) == (1, f"{own}: missing\n")
    assert cli("weights", "get", own).status == 0
    result = cli("weights", "verify", own)
    assert (result.status, result.out) == (0, f"{own}: ok\n")
    path.write_bytes(CONTENT[:-1] + b"x")
    result = cli("weights", "verify", own, f"{own}:b", "gem")
    assert result.status == 1
    changed = "CHANGED: differs from the downloaded file"
    assert result.out == f"{own}: {changed}\n{own}:b: {changed}\n"
    assert len(result.errors) == 1
    path.with_name("net.pth.json").write_text("{}")
    result = cli("weights", "verify", own)
    assert result.status == 1
    assert result.errors == [
        f"error: {path}.json is damaged; delete it to have the hash recorded again."
    ]


def test_verify_without_names_takes_what_is_in_the_cache(workspace, cli) -> None:
    result = cli("weights", "verify")
    assert (result.status, result.out) == (0, "no weights are in the cache\n")
    file = methods.published("dolg.r101-storedp")
    path = published_weights.path_of(file)
    assert path == workspace.cache / "weights" / "dolg" / "r101" / "r101_dolg_512.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    published_weights.get(file)
    result = cli("weights", "verify")
    assert (result.status, result.out) == (0, "dolg.r101: ok\n")
    path.unlink()
    result = cli("weights", "verify")
    assert (result.status, result.out) == (1, "dolg.r101: missing\n")


def test_the_listing_of_what_is_published(workspace, cli) -> None:
    result = cli("weights", "list")
    assert result.status == 0
    blocks = dict(re.findall(r"^(\S+)\n((?:  .*\n)+)", result.out, flags=re.MULTILINE))
    assert set(blocks) == {
        f"{entry.name}.{variant}" for entry in methods.entries() for variant in entry.files
    }
    for facts in blocks.values():
        for key in ("file", "licence", "training set", "sha256: not published", "in the cache: no"):
            assert f"  {key}" in facts
        assert "  from: http" in facts or "  manual download: " in facts
    path = published_weights.path_of(methods.published("token.r50"))
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    published_weights.get(methods.published("token.r50"))
    listed = cli("weights", "list").out
    assert f"  in the cache: {path}\n" in listed
    assert f"  sha256: {hashlib.sha256(CONTENT).hexdigest()}, of the first download\n" in listed
    path.with_name(f"{path.name}.json").write_text("[")
    result = cli("weights", "list")
    assert result.status == 0
    assert "is damaged" in result.out


@pytest.mark.parametrize("arguments", [[], ["nope"], ["get"], ["list", "x"]])
def test_wrong_usage(workspace, cli, refused, arguments: list[str]) -> None:
    text = refused(cli("weights", *arguments))
    assert " --help`." in text or "convert, get, list, verify" in text


# --- the facts of plug-ins ----------------------------------------------------------------------


def test_what_the_shipped_methods_publish() -> None:
    found = {f"{e.name}.{v}": file for e in methods.entries() for v, file in e.files.items()}
    assert {"dolg.r101", "dolg.r50", "token.r101", "solar.r101-token", "delg.r50-port"} <= set(
        found
    )
    assert not {"gem.lite0", "delg.lite0", "random-unit.seed0"} & set(found)
    paths: dict[Path, Checkpoint] = {}
    for file in found.values():
        other = paths.setdefault(published_weights.path_of(file), file)
        assert (other.url, other.manual) == (file.url, file.manual), "two files in one place"
        plain = "http://cmp.felk.cvut.cz/"  # whose host offers nothing else
        assert file.url is None or file.url.startswith(("https://", plain))


FACTS = {"file": "a.pth", "licence": "MIT", "training_set": "x", "url": "https://x.org/a"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a"], r'WEIGHTS: must be a mapping, but is \["a"\]'),
        ({"b": FACTS}, "WEIGHTS: no variant is called 'b'"),
        ({"a": "x"}, 'WEIGHTS.a: must be a mapping, but is "x"'),
        ({"a": {**FACTS, "urls": "x"}}, "no key is called 'urls'; did you mean url"),
        ({"a": {**FACTS, "file": None}}, "file: must be a plain file name, but is null"),
        ({"a": {**FACTS, "file": "../a.pth"}}, 'file: must be a plain .*"../a.pth"'),
        ({"a": {**FACTS, "file": ".hidden"}}, "must be a plain file name"),
        ({"a": {**FACTS, "licence": ""}}, "licence: must not be empty"),
        ({"a": {k: v for k, v in FACTS.items() if k != "licence"}}, "the key 'licence' is missing"),
        ({"a": {**FACTS, "url": "file:///etc/passwd"}}, 'url: .*"file:///etc/passwd"'),
        ({"a": {**FACTS, "url": "https://x.org/a b"}}, "must be an address"),
        ({"a": {**FACTS, "url": "https://x.org/ä"}}, "must be an address"),
        ({"a": {**FACTS, "url": None}}, "needs 'url', 'hub' or 'manual'"),
        ({"a": {**FACTS, "size_bytes": "12"}}, 'size_bytes: must be a whole .*"12"'),
        ({"a": {**FACTS, "size_bytes": True}}, "size_bytes: .* is true"),
        ({"a": {**FACTS, "sha256": "A" * 64}}, 'sha256: .*"AAA'),
        ({"../a": FACTS}, 'WEIGHTS: must be the name of a folder, but is "../a"'),
    ],
)
def test_wrong_facts_are_one_sentence(arguments: Any, says: str) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        contract.checkpoints(arguments, "own", ["a", "../a"])
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("the method 'own'")


def test_a_method_with_wrong_facts_is_named_in_the_listing(
    workspace, monkeypatch: pytest.MonkeyPatch, cli
) -> None:
    from bench.methods import token

    monkeypatch.setattr(token, "WEIGHTS", {"r101": {}})
    result = cli("weights", "list")
    assert result.status == 0
    assert "token: the method 'token': WEIGHTS.r101: the key 'file' is missing" in result.out
    assert "dolg.r101\n" in result.out
    assert re.search("token +broken .*the method 'token': WEIGHTS", cli("list").out)
