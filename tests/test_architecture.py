"""The shape of the project: imports point one way, and the README's tree is the tree."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Layers from the top; a module imports from its own layer or below, never from above. A folder
# inside of bench/ is one name here, whatever files it has.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"sensitivity", "training"},
    {"arguments"},
    {"options"},
    {"doctor", "verify", "run", "export", "official", "convert", "check", "verdict"},
    {"compare", "data", "cache", "sheets", "contribution"},
    {"sheet_figure", "sheet_html", "sheet_matches"},
    {"sheet_content"},
    {"scoring", "golden", "latency", "acquire", "datacheck"},
    {"throughput", "costs", "missing"},
    {"cluster"},
    {"distractors", "loading"},
    {"approximate"},
    {"extract", "local_store", "methods", "datasets", "record", "summary", "report", "areas"},
    {"held"},
    {"compress", "estimate", "adopt"},
    {"engine", "checkpoints", "card", "contract", "folder", "bring", "store", "search", "machine"},
    {"sources", "pictures", "suppression", "batches", "decoding", "graphs", "network"},
    {"thumbnails", "piece"},
    {"listing"},
    {"pyramid", "local", "rerank", "fetch", "evaluate", "counting", "images", "weights", "plugins"},
    {"archives", "quantise", "footprint", "flops", "fingerprint"},
    {"truth", "layout", "first_sentences", "identity"},
    {"interval", "descriptors", "paths", "canonical", "geometry", "progress", "web"},
    {"timing", "memory", "parsing"},
    {"types", "metrics", "errors", "facts", "stopping"},
]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def ours(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("bench.")}


def test_every_module_has_a_layer_and_imports_downwards() -> None:
    level = {module: i for i, layer in enumerate(LAYERS) for module in layer}
    modules = [
        (path.relative_to(ROOT / "bench").parts[0].removesuffix(".py"), path)
        for path in (ROOT / "bench").rglob("*.py")
        if path != ROOT / "bench" / "__init__.py"
    ]
    assert {module for module, _ in modules} == set(level)
    for module, path in modules:
        upwards = {name for name in ours(path) if name in level and level[name] < level[module]}
        assert not upwards, f"{path.name} imports {upwards} from above"


def test_methods_import_of_training_only_losses_and_heads() -> None:
    for path in (ROOT / "methods").glob("*.py"):
        used = {name.split(".")[2] for name in imported(path) if name.startswith("bench.training.")}
        assert used <= {"losses", "heads"}, path.name


def test_metrics_imports_numpy_and_nothing_of_ours() -> None:
    foreign = {name.split(".")[0] for name in imported(ROOT / "bench" / "metrics.py")}
    assert "bench" not in foreign
    assert foreign - set(sys.stdlib_module_names) == {"numpy"}


def test_plug_ins_do_not_import_each_other() -> None:
    for folder in ("methods", "datasets"):
        for path in (ROOT / folder).glob("[!_]*.py"):
            for name in imported(path):
                for other in ("methods", "datasets"):
                    plug_in = re.match(rf"bench\.{other}\.([a-z].*)", name)
                    assert not plug_in, f"{path.name} imports {name}"


def test_report_imports_records_and_types_only() -> None:
    allowed = {"record", "types", "errors", "canonical", "metrics", "paths", "report"}
    allowed |= {"card", "identity"}
    for path in (ROOT / "report").glob("*.py"):
        assert ours(path) <= allowed, path.name


def test_import_does_nothing_and_commands_without_a_network_need_no_torch() -> None:
    check = "import bench.cli, bench.scoring, bench.verify, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", check], cwd=ROOT, check=True)


def test_files_stay_short() -> None:
    for folder in ("bench", "methods", "datasets", "report"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 400, f"{path} has {lines} lines"


def test_the_tree_in_the_readme_is_the_tree() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = readme.split("## The tree")[1].split("```")[1]
    named = set(re.findall(r"([a-z_]+\.py)\b", tree.split("methods/  ")[0])) - {"noxfile.py"}
    there = {path.name for path in (ROOT / "bench").rglob("*.py")} - {"__init__.py", "__main__.py"}
    assert named == there
    for folder in re.findall(r"^([a-z]+)/", tree, flags=re.MULTILINE):
        assert (ROOT / folder).is_dir()


def test_the_metric_table_of_the_readme_is_the_table() -> None:
    from bench import metrics

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
