"""What the READMEs show is what works: their examples are run as they stand."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow


def text(folder: str) -> str:
    return (ROOT / folder / "README.md").read_text(encoding="utf-8")


def block(folder: str, section: str, language: str) -> str:
    after = text(folder).split(f"\n{section}\n")[1]
    found = re.search(rf"```{language}\n(.*?)```", after, flags=re.DOTALL)
    assert found is not None
    return found.group(1)


def bench(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(tmp_path / "data"))
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def photographs(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    shades = {"hall": 60, "mill": 160}
    for i, name in enumerate(names):
        shade = shades[name.split("_")[0]]
        Image.new("RGB", (640, 480), (shade, 255 - shade, 10 * i)).save(folder / name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the code, to which a plug-in may be added."""
    copy = tmp_path / "checkout"
    for folder in ("bench", "methods", "datasets", "report"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "results").mkdir()
    for file in ("noxfile.py", "results/record.schema.json"):
        shutil.copy(ROOT / file, copy / file)
    return copy


def test_the_method_of_the_readme_runs_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = block("methods", "## Add a method", "python")
    assert len(source.splitlines()) <= 30
    file = tmp_path / "mean_colour.py"
    file.write_text(source, encoding="utf-8")
    done = bench(
        ["run", "--method", f"{file}:grid2", "--results", str(tmp_path)], tmp_path, monkeypatch
    )
    assert done.returncode == 0, done.stderr
    assert re.match(
        r"latency: .*\n>> mini: mAP E: \d+\.\d\d, M: \d+\.\d\d, H: \d+\.\d\d\n", done.stdout
    )
    record = json.loads(Path(done.stdout.splitlines()[-1]).read_text(encoding="utf-8"))
    assert (record["method"]["name"], record["method"]["variant"]) == ("mean-colour", "grid2")


def test_plug_ins_of_the_readme_run_from_the_folders_beside_a_broken_one(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = block("methods", "## Add a method", "python")
    (checkout / "methods" / "mean_colour.py").write_text(method, encoding="utf-8")
    dataset = block("datasets", "## Add a data set", "python")
    assert len(dataset.splitlines()) <= 30
    (checkout / "datasets" / "streets.py").write_text(dataset, encoding="utf-8")
    (checkout / "methods" / "broken.py").write_text("import nothing_of_this_name\n")
    names = ["hall_0.png", "hall_1.png", "mill_0.png", "mill_1.png", "mill_2.png"]
    photographs(tmp_path / "data" / "streets", [name.replace("png", "jpg") for name in names])

    listed = bench(["list"], tmp_path, monkeypatch, checkout)
    assert listed.returncode == 0, listed.stderr
    assert re.search(r"broken +broken .*nothing_of_this_name", listed.stdout)
    assert {"mean-colour", "gem", "streets"} < {
        line.split()[0] for line in listed.stdout.split("\n") if line
    }
    named = bench(["list", "mean-colour"], tmp_path, monkeypatch, checkout)
    assert "mean-colour.grid4" in named.stdout

    arguments = ["run", "--method", "mean-colour", "--dataset", "streets"]
    done = bench([*arguments, "--results", str(tmp_path)], tmp_path, monkeypatch, checkout)
    assert done.returncode == 0, done.stderr
    assert ">> streets: mAP all: 100.00" in done.stdout

    refused = bench(["run", "--method", "broken"], tmp_path, monkeypatch, checkout)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert "Traceback" not in refused.stderr


def test_the_dataset_json_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "town"
    names = ["hall_0.jpg", "hall_1.jpg", "hall_2.jpg", "mill_0.jpg", "mill_1.jpg"]
    photographs(folder / "jpg", names)
    (folder / "dataset.json").write_text(block("datasets", "## Your own folder", "json"))
    file = tmp_path / "mean_colour.py"
    file.write_text(block("methods", "## Add a method", "python"), encoding="utf-8")
    arguments = ["run", "--method", str(file), "--dataset", str(folder / "dataset.json")]
    done = bench([*arguments, "--results", str(tmp_path)], tmp_path, monkeypatch)
    assert done.returncode == 0, done.stderr
    assert ">> my-town: mAP E: 100.00, H: 100.00" in done.stdout


def test_the_table_of_commands_is_the_commands() -> None:
    from bench.commands import main

    table = text("bench/commands").split("| command | what it does |")[1].split("\n\n")[0]
    listed = {line.split("`")[1].split()[0] for line in table.splitlines() if "`" in line}
    assert listed == set(main.COMMANDS)


def test_the_table_of_recipes_is_the_recipes() -> None:
    from bench.training.recipes import RECIPES

    table = text("bench/training").split("| recipe | what |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    listed = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert listed == set(RECIPES)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = block(".", "## From Python", "python")
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<mini, brought.descriptors: mAP easy ")
    assert len(list(tmp_path.glob("results/runs/mini/*/*.json"))) == 1
