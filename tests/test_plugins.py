"""Plug-ins: listing imports nothing, a broken one is reported alone, names are never ambiguous."""

from __future__ import annotations

import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from bench import methods, plugins
from bench.errors import BenchError

GOOD = '"""A good one.\n\nMore."""\nVALUE = 1\n'


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> plugins.Kind:
    """Return the kind "toy" of a checkout in a temporary folder, with files of every sort."""
    (tmp_path / "noxfile.py").touch()
    folder = tmp_path / "toys"
    folder.mkdir()
    for name, text in {
        "good.py": GOOD,
        "two_words.py": "VALUE = 2\n",
        "_helper.py": "raise RuntimeError('never imported')\n",
        ".hidden.py": "raise RuntimeError('never imported')\n",
        "not.a.name.py": GOOD,
        "missing.py": "x = 1\nimport no_such_library_here\n",
        "typo.py": "def broken(:\n",
        "leaves.py": "raise SystemExit(3)\n",
        "notes.txt": "no plug-in",
    }.items():
        (folder / name).write_text(text)
    package = types.ModuleType("toy_package")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "toy_package", package)
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    yield plugins.Kind("toy", folder, "toy_package", "toy.group")
    for name in [n for n in sys.modules if n.startswith(("toy_package.", "_bench_toy_"))]:
        del sys.modules[name]


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, entry_points: str) -> None:
    """Pretend that a package with these entry points is installed."""
    info = folder / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[toy.group]\n{entry_points}\n")
    (folder / "other_toy.py").write_text(GOOD.replace("good one", "toy from outside"))
    monkeypatch.syspath_prepend(str(folder))


def test_listing_reads_names_only(kind: plugins.Kind) -> None:
    found = plugins.find(kind)
    assert list(found) == ["good", "leaves", "missing", "not.a.name", "two-words", "typo"]
    assert not [name for name in sys.modules if name.startswith("toy_package.")]


def test_import_by_name(kind: plugins.Kind) -> None:
    assert plugins.import_one(kind, "good").VALUE == 1
    assert plugins.import_one(kind, "two-words").VALUE == 2
    with pytest.raises(BenchError, match="no toy is called 'two_words'; did you mean two-words"):
        plugins.import_one(kind, "two_words")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "missing",
            r"ModuleNotFoundError: No module .*no_such_library_here.* \(missing.py, line 2\)",
        ),
        ("typo", r"SyntaxError: .* \(typo.py, line 1\)"),
        ("leaves", r"SystemExit: 3 \(leaves.py, line 1\)"),
        ("not.a.name", "letters, digits and underscores"),
    ],
)
def test_a_broken_plug_in_is_one_sentence(kind: plugins.Kind, name: str, says: str) -> None:
    with pytest.raises(BenchError, match=says) as caught:
        plugins.import_one(kind, name)
    assert "\n" not in str(caught.value)
    assert f"{name}" in str(caught.value)


def test_summaries_report_the_broken_beside_the_good(kind: plugins.Kind) -> None:
    lines = {line.name: line for line in plugins.summaries(kind)}
    assert lines["good"].description == "A good one."
    assert lines["good"].error is None
    assert lines["two-words"].description == ""
    assert [name for name, line in lines.items() if line.error] == [
        "leaves", "missing", "not.a.name", "typo"
    ]  # fmt: skip


def test_one_way_to_take_what_a_user_named(kind: plugins.Kind, tmp_path: Path) -> None:
    outside = tmp_path / "my_own.py"
    outside.write_text("")
    for text, name, variant in (
        ("good", "good", None),
        ("two-words.large", "two-words", "large"),
        ("good.a.b", "good", "a.b"),
        (str(outside), "my-own", None),
        (f"{outside}:large", "my-own", "large"),
    ):
        chosen = plugins.resolve(kind, text)
        assert (chosen.name, chosen.variant) == (name, variant)
    with pytest.raises(BenchError, match="'god'; did you mean good"):
        plugins.resolve(kind, "god.large")


def test_a_file_by_path(kind: plugins.Kind, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere" / "my_own.py"
    outside.parent.mkdir()
    outside.write_text(GOOD)
    module = plugins.import_one(kind, str(outside))
    assert module.VALUE == 1
    assert plugins.import_one(kind, str(outside)) is module
    inside = plugins.import_one(kind, str(kind.folder / "good.py"))
    assert inside is plugins.import_one(kind, "good")
    with pytest.raises(BenchError, match=r"no_file\.py does not exist"):
        plugins.import_one(kind, str(tmp_path / "no_file.py"))
    (outside.parent / "good.py").write_text(GOOD)
    with pytest.raises(BenchError, match=r"has the name of the toy 'good'.*rename the file"):
        plugins.import_one(kind, str(outside.parent / "good.py"))
    (outside.parent / "bad.py").write_text("1 / 0\n")
    for _ in range(2):  # a failed import leaves nothing behind that looks imported
        with pytest.raises(BenchError, match=r"ZeroDivisionError.*bad.py, line 1"):
            plugins.import_one(kind, str(outside.parent / "bad.py"))


def test_entry_points(kind: plugins.Kind, tmp_path: Path, monkeypatch) -> None:
    text = "outside = other_toy\nbroken = no_such_module\nvalue = other_toy:VALUE\ngood = other_toy"
    installed(tmp_path / "site", monkeypatch, text)
    assert {"outside", "broken", "value"} < set(plugins.find(kind))
    assert plugins.import_one(kind, "outside").__doc__.startswith("A toy from outside.")
    with pytest.raises(BenchError, match="entry point no_such_module of other"):
        plugins.import_one(kind, "broken")
    with pytest.raises(BenchError, match="not a module but int"):
        plugins.import_one(kind, "value")
    with pytest.raises(BenchError, match=r"two toys .* 'good', toys.good\.py and entry"):
        plugins.import_one(kind, "good")


def test_an_installation_that_is_not_whole_is_said_when_it_is_used(tmp_path: Path) -> None:
    kind = replace(methods.KIND, folder=tmp_path / "methods")
    with pytest.raises(BenchError, match="methods"):
        plugins.find(kind)


def test_importing_and_listing_methods_stays_light() -> None:
    code = (
        "import sys; from bench import methods; names = methods.names(); "
        "assert 'gem' in names and 'random-unit' in names, names; "
        "bad = {'torch', 'timm', 'bench.methods.gem'} & set(sys.modules); assert not bad, bad; "
        "entries = methods.entries(); assert not [e for e in entries if e.error], entries; "
        "bad = {'torch', 'timm'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=methods.ROOT)
