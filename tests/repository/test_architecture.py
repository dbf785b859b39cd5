"""The shape of the project: imports point one way, and the README's tree is the tree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from tests.support.checkout import ROOT

# Packages from the top; one imports from those below, and nothing of its own floor. `methods/`,
# `datasets/` and `report/` are the folders, `methods` and `datasets` their front doors in bench/.
FLOORS = [
    "__main__",
    "commands api",
    "training result",
    "pipeline sheets report/",
    "methods/ cluster measure records",
    "describe datasets/ acquire",
    "datasets",
    "methods search data stages",
    "contract store published_weights rerank whitening scoring",
    "weights nn plugins system",
    "images",
    "stage",
    "ranking",
    "report alias quiet",
    "errors types facts settings",
    "option root",
]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def package_of(module: str) -> str:
    """Return the package of a module such as "bench.report.tables.main"."""
    _, first, *rest = module.split(".")
    inside = rest and (
        (ROOT / first / rest[0]).is_dir() or (ROOT / first / f"{rest[0]}.py").exists()
    )
    return f"{first}/" if inside and first in ("methods", "datasets", "report") else first


def test_imports_point_one_way_package_by_package() -> None:
    floor = {package: i for i, packages in enumerate(FLOORS) for package in packages.split()}
    files = [(package_of(".".join(path.relative_to(ROOT).with_suffix("").parts)), path)
             for path in (ROOT / "bench").rglob("*.py")]  # fmt: skip
    for folder in ("methods", "datasets", "report"):
        files += [(f"{folder}/", path) for path in (ROOT / folder).rglob("*.py")]
    assert {package for package, _ in files} == {*floor, "__init__"}
    for package, path in files:
        if package == "__init__":  # of bench: names of the front door, imported when asked for
            continue
        named = {name for name in imported(path) if name.startswith("bench.")}
        for other in {package_of(name) for name in named} & floor.keys() - {package}:
            assert floor[other] > floor[package], f"{path} imports {other} from above or beside"


def test_only_the_command_line_knows_most_packages() -> None:
    every = " ".join(FLOORS).split()
    for package in {path.parent for path in (ROOT / "bench").rglob("*.py")}:
        known = {package_of(n) for path in package.rglob("*.py") for n in imported(path)
                 if n.startswith("bench.")}  # fmt: skip
        if package.name not in ("bench", "commands"):
            assert len(known) < 0.6 * len(every), package


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


def test_the_help_and_the_lists_import_nothing_slow() -> None:
    """What takes 0.05 s and more to import, of what the table of methods does not need."""
    slow = "{'torch', 'pandas', 'scipy', 'matplotlib', 'faiss', 'timm', 'sklearn', 'tqdm'}"
    run = "from bench.commands.main import main; main(['list'])"
    check = f"import sys; {run}; found = {slow} & set(sys.modules); assert not found, found"
    done = subprocess.run([sys.executable, "-W", "error", "-c", check], cwd=ROOT, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_files_stay_short() -> None:
    for folder in ("bench", "methods", "datasets", "report"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 400, f"{path} has {lines} lines"
