"""Start-up: what cannot be run is refused before torch is imported."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from bench.errors import BenchError
from bench.methods._nets import timm_names

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision", "timm", "ray", "faiss", "matplotlib")

WITHOUT = f"""
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise AssertionError(f"{{name}} is imported")
sys.meta_path.insert(0, Forbidden())
from bench.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


def without(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that cannot import what takes long."""
    inputs = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(inputs, cwd=ROOT, capture_output=True, text=True, check=False)


def model_of_timm(name: str, expected: str) -> ParameterSet:
    """Return the parameter of a model that timm does not have: its names are those of the lock."""
    version, listed = importlib.metadata.version("timm"), timm_names.LIST.read_text().split()[0]
    mark = pytest.mark.skipif(version != listed, reason=f"names of timm {listed}, not {version}")
    return pytest.param(("run", "--method", name), expected, marks=mark)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--help",), None),
        (("run", "--help"), None),
        (("list",), None),
        (("run", "--method", "delgg"), "no method is called 'delgg'"),
        (("run", "--method", "delg.lite9"), "no variant of delg is called 'lite9'"),
        (("run", "--method", "delg", "--dataset", "minni"), "'minni'"),
        (("run", "--method", "delg", "--bogus"), "'--bogus'"),
        (("run", "--method", "delg", "--stage", "aqee"), "no stage is called 'aqee'"),
        (("run", "--method", "delg", "--rerank", "--local", "delgg"), "'delgg'"),
        (("run", "--method", "delg", "--dataset", "roxford5k"), "gnd_roxford5k.pkl is missing"),
        (("run", "--method", "delg.r101-token"), "R101-DELG.pth, which is not in the cache"),
        (("run", "--method", "delg.r50-gld"), "delg.r50-gld needs a converted file"),
        (("run", "--method", "delg", "--weights", "/no/such"), "/no/such does not exist"),
        model_of_timm("gem.resnet50xx", "has no model called 'resnet50xx'; did you mean"),
        model_of_timm("timm.resnet50xx-gem", "has no model called 'resnet50xx'"),
        (("extract", "--method", "delgg", "--dataset", "mini", "--output", "x.npz"), "'delgg'"),
    ],
)
def test_answers_that_need_no_network_import_no_torch(
    workspace, arguments: tuple[str, ...], expected: str | None
) -> None:
    done = without(*arguments)
    assert "is imported" not in done.stderr, done.stderr
    if expected is None:
        assert done.returncode == 0, done.stderr
        assert done.stdout
    else:
        assert done.returncode == 1, done.stderr
        assert expected in done.stderr


@pytest.mark.parametrize(
    ("command", "late"),
    [("--help", ("numpy", "pydantic")), ("list", ("pandas", "scipy", "torch"))],
)
def test_help_and_list_import_little(command: str, late: tuple[str, ...]) -> None:
    check = (
        "import sys; from bench.commands.main import main\n"
        f"try: main([{command!r}])\n"
        "except SystemExit: pass\n"
        f"assert not {{*{late!r}}} & sys.modules.keys(), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, capture_output=True)


def imported_at_once(tree: ast.Module) -> set[str]:
    """Return the top names of what a module imports when it is imported."""
    names: set[str] = set()
    waiting: list[Any] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
        waiting += list(ast.iter_child_nodes(node))
    return names


def test_plug_ins_import_torch_in_functions_only() -> None:
    for folder in ("methods", "datasets"):
        for path in sorted((ROOT / folder).glob("[!_]*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not imported_at_once(tree) & set(HEAVY), path
    modules = [f"bench.methods.{path.stem}" for path in (ROOT / "methods").glob("[!_]*.py")]
    check = f"import {', '.join(modules)}, sys; assert not {set(HEAVY)!r} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
    assert imported_at_once(ast.parse("import torch\nclass A:\n  import timm")) == {"torch", "timm"}


def test_the_names_of_timm_are_those_of_the_lock() -> None:
    """`python -m bench.methods._nets.timm_names` writes the list for the timm of the lock."""
    lines = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8").splitlines()
    (version,) = [line.split()[0].removeprefix("timm==") for line in lines if line[:6] == "timm=="]
    content = timm_names.LIST.read_text(encoding="ascii")
    assert content.split()[0] == version
    import timm

    if timm.__version__ == version:
        assert content == timm_names.text()


def test_names_of_timm_are_judged_from_the_list(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(timm_names.importlib.metadata, "version", lambda name: "9.9")
    monkeypatch.setattr(timm_names, "LIST", tmp_path / "list")
    (tmp_path / "list").write_text("9.9\nnet50\nnet50.a1\nnet50.a2\nother\n")
    timm_names.check("net50")
    timm_names.check("net50.a2")
    with pytest.raises(BenchError, match=r"timm 9.9 has no model called 'net5'; .* net50\?"):
        timm_names.check("net5")
    with pytest.raises(BenchError, match=r"'net50.a3'; did you mean net50.a\d or net50.a\d\?"):
        timm_names.check("net50.a3")
    with pytest.raises(BenchError, match="did you mean own"):
        timm_names.check("owm", ["own"])
    (tmp_path / "list").write_text("9.8\nnet50\n")
    timm_names.check("net51")
    (tmp_path / "list").unlink()
    timm_names.check("net51")
