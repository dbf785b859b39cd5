"""The shape of the project: imports point one way, and the README's tree is the tree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def test_metrics_imports_numpy_and_nothing_of_ours() -> None:
    foreign = {name.split(".")[0] for name in imported(ROOT / "bench" / "scoring" / "metrics.py")}
    assert "bench" not in foreign
    assert foreign - set(sys.stdlib_module_names) == {"numpy"}


def test_plug_ins_do_not_import_each_other() -> None:
    for folder in ("methods", "datasets"):
        for path in (ROOT / folder).glob("[!_]*.py"):
            for name in imported(path):
                for other in ("methods", "datasets"):
                    plug_in = re.match(rf"bench\.{other}\.([a-z].*)", name)
                    assert not plug_in, f"{path.name} imports {name}"


def test_import_does_nothing_and_commands_without_a_network_need_no_torch() -> None:
    modules = "bench.commands.main, bench.pipeline.score, bench.records.verify"
    check = f"import {modules}, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", check], cwd=ROOT, check=True)


def test_files_stay_short() -> None:
    for folder in ("bench", "methods", "datasets", "report"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 400, f"{path} has {lines} lines"


def test_the_metric_table_of_the_readme_is_the_table() -> None:
    from bench.scoring import metrics

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("## What exactly is measured")[1]
    listed = re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE)
    assert set(listed) == {family.replace("{k}", "k") for family in metrics.families()}


def test_the_sessions_of_the_readme_are_those_of_the_noxfile() -> None:
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r"@(?:nox\.)?session.*\ndef (\w+)", source))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.search(r"sessions: ([a-z ]+)", readme)
    assert listed is not None
    assert set(listed.group(1).split()) == sessions
