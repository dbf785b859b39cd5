"""What a record names is looked up by name; a path comes from the user alone, as an option."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import datasets, methods, plugins
from bench.commands.main import main
from bench.errors import BenchError
from bench.records import lists, record, rows
from tests.support.commands import only
from tests.support.signed import sign

pytestmark = pytest.mark.slow

EVIL = 'from pathlib import Path\nPath(__file__).with_name("ran").touch()\n'


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Lay Python files about that names of records may lead to; tell whether one of them ran."""
    for folder in ("", "mini.", "random-unit."):
        (tmp_path / folder).mkdir(exist_ok=True)
        for file in ("evil.py", "evil.PY", "random-unit.py", "mini.py"):
            (tmp_path / folder / file).write_text(EVIL, encoding="ascii")
    monkeypatch.chdir(tmp_path)
    return lambda: bool(list(tmp_path.rglob("ran")))


@pytest.fixture(scope="module")
def reranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a record of a method with local features, whose matches a sheet can draw."""
    folder = tmp_path_factory.mktemp("reranked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETRIEVAL_BENCH_CACHE", str(folder / "cache"))
        assert main(["run", "--method", "delg.untrained", "--limit", "6", "--rerank",
                     "--measure", "none", "--results", str(folder)]) == 0  # fmt: skip
    (path,) = folder.glob("runs/*/*/*.json")
    return path


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("evil", "py"),
        ("evil", "PY:fast"),
        ("evil.py", "fast"),
        ("random-unit", "py"),
        ("./evil", "default"),
        ("random-unit./evil", "py"),
        ("..\\evil", "default"),
        (".evil", "default"),
        ("evil", "a/b"),
        ("evil", "a\nb"),
    ],
)
def test_a_record_that_names_a_file_as_its_method_is_refused_everywhere(
    cli, refused, reranked: Path, evil, tmp_path: Path, name: str, variant: str
) -> None:
    content = record.read(reranked)
    arrays = record.read_arrays(reranked, content)
    content["method"] |= {"name": name, "variant": variant}
    place = tmp_path / "R" / "runs" / "mini" / "m" / reranked.name
    place.parent.mkdir(parents=True)
    forged = sign(content, arrays, place)
    shown = ("sheet", forged, "--worst", "1", "--matches", "1", "--output", tmp_path / "s.html")
    for command in (
        ("verify", forged),
        ("verify", "--descriptors", forged),
        shown,
        ("compare", forged, reranked),
    ):
        assert "which is a path instead of a name" in refused(cli(*command)), command
    _, left_out = rows.load(tmp_path / "R")
    assert "a path instead of a name" in left_out[0][1]
    assert not evil()


@pytest.mark.parametrize("name", ["mini./evil.py", "evil.py", "./mini", "mini.py:x", "~/mini"])
def test_a_record_that_names_a_file_as_its_data_set_is_refused(
    cli, refused, specimen, evil, tmp_path: Path, name: str
) -> None:
    content, arrays = specimen
    content["card"]["dataset"]["name"] = name
    forged = sign(content, arrays, tmp_path / "forged.json")
    for command in (("verify", forged), ("sheet", forged, "--output", tmp_path / "s.html")):
        assert "card.dataset.name" in refused(cli(*command))
    assert not evil()


def test_a_folder_with_the_name_of_a_data_set_is_not_read_for_a_record(
    cli, specimen, evil, tmp_path: Path
) -> None:
    (tmp_path / "mini.json").write_text("{}", encoding="ascii")
    content, arrays = specimen
    content["card"]["dataset"]["name"] = "mini.json"
    forged = sign(content, arrays, tmp_path / "forged.json")
    result = cli("verify", forged)
    assert result.status == 0
    assert "not compared: no variant of mini is called 'json'" in result.out


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ("--distractors ./evil.py", "evil.py"),
        ("--distractors dataset.json", "dataset.json"),
        ("--weights evil.bin", "--weights"),
    ],
)
def test_paths_in_the_command_of_a_record_are_not_followed(
    cli, refused, workspace, evil, tmp_path: Path, more: str, word: str
) -> None:
    cli("run", "--method", "random-unit")
    path, _ = only(workspace.records())
    content = record.read(path)
    content["command"] += f" {more}"
    forged = sign(content, record.read_arrays(path, content), tmp_path / "forged.json")
    assert word in refused(cli("verify", "--descriptors", forged))
    assert not evil()


def test_own_data_are_given_by_path_and_must_have_the_revision_of_the_record(
    cli, refused, workspace, small, small_file: Path, brought, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        cli("evaluate", "--dataset", small_file, "--database", brought[0],
            "--queries", brought[1], "--name", name)  # fmt: skip
    first, second = workspace.records()
    result = cli("verify", first, "--dataset", small_file)
    assert result.status == 0
    assert "lists and ground truth are those of small on this machine" in result.out
    assert cli("compare", first, second, "--dataset", small_file).status == 0
    by_name = cli("compare", "brought.one", "brought.two", "--dataset", small_file,
                  "--results", workspace.results)  # fmt: skip
    assert by_name.status == 0, by_name.err

    small["protocols"]["hard"][0]["positive"] = [6]
    other = tmp_path / "other.json"
    other.write_text(json.dumps(small), encoding="utf-8")
    for command in (("verify", first), ("compare", first, second)):
        assert "revision" in refused(cli(*command, "--dataset", other))


def test_known_names_alone_are_looked_up(evil) -> None:
    assert plugins.known(methods.KIND, "random-unit.default") == "random-unit.default"
    assert datasets.load_known("mini").name == "mini"
    for text in ("evil.py", "./mini", "nobody", "mini\x1b[2J"):
        with pytest.raises(BenchError):
            datasets.load_known(text)
    with pytest.raises(BenchError, match="name and variant"):
        methods.known("random-unit.a", "b")
    assert not evil()


@pytest.mark.parametrize("name", ["gem.pyramid", "a.pyx", "gem.resnet50.a1_in1k", "x+y_1"])
def test_names_that_merely_look_like_code_are_names(name: str) -> None:
    assert plugins.is_name(name)


def test_a_study_names_records_below_it_alone(cli, refused, specimen, tmp_path: Path) -> None:
    from bench.system.hashing import sha256_json

    content, arrays = specimen
    sign(content, arrays, tmp_path / "outside.json")
    study = {
        "study": 1,
        "formulas": ["map.trapezoid.junk-removed"],
        "configurations": [{"record": "../outside.json", "card_id": "", "scores": {}}],
    }
    study["sha256"] = sha256_json(study)
    path = tmp_path / "sensitivity" / "mini" / "m.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(study), encoding="ascii")
    assert "../outside.json" in refused(cli("verify", path))


def test_the_name_of_the_data_set_that_the_user_gives(small_file: Path) -> None:
    assert lists.named(None) == (None, None)
    assert lists.named("mini") == ("mini", None)
    assert lists.named(str(small_file)) == ("small", str(small_file))
