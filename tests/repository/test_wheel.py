"""The package: a wheel in an environment that sees what it depends on, and not the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this checkout, built by way of a source distribution."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "copy"
    kept = shutil.ignore_patterns(".git", ".venv*", ".nox", "__pycache__", "runs")
    shutil.copytree(ROOT, copy, ignore=kept)
    build = "from hatchling.build import build_sdist, build_wheel"
    run = [sys.executable, "-c", f"{build}; print(build_sdist('dist')); print(build_wheel('dist'))"]
    subprocess.run(run, cwd=copy, check=True, capture_output=True)
    assert len(list((copy / "dist").glob("retrieval_bench-*.tar.gz"))) == 1
    (made,) = (copy / "dist").glob("retrieval_bench-*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment with the wheel, and another `datasets`."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / name / "site-packages"
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    other = packages / "datasets"
    other.mkdir()
    (other / "__init__.py").write_text("NAME = 'of somebody else'\n")
    return folder / "bin"


def run(installed: Path, tmp_path: Path, *words: str, program: str = "python") -> str:
    """Run a program of the environment outside of any checkout; return what it prints."""
    home = {"RETRIEVAL_BENCH_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RETRIEVAL_BENCH"))}
    done = subprocess.run(
        [installed / program, *words], cwd=tmp_path, env=kept | home, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_main_job_runs_outside_of_a_checkout(installed: Path, tmp_path: Path) -> None:
    out = run(installed, tmp_path, "run", "--method", "delg", "--measure", "none",
              program="retrieval-bench")  # fmt: skip
    path = tmp_path / out.splitlines()[-1]
    assert path.is_relative_to(tmp_path / "results" / "runs" / "mini")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["source"]["version"] == run(installed, tmp_path, "-m", "bench", "--version"
                                              ).split()[1]  # fmt: skip
    assert "match" in run(installed, tmp_path, "-m", "bench", "verify", str(path))
    run(installed, tmp_path, "-m", "bench", "report")
    assert (tmp_path / "results" / "report.md").is_file()


def test_the_example_of_the_readme_runs_outside_of_a_checkout(
    installed: Path, tmp_path: Path
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert "bench.load_method" in example
    assert "medium" in run(installed, tmp_path, "-c", example)
    assert len(list((tmp_path / "results").rglob("*.json"))) == 1


def test_both_names_are_one_package_beside_other_datasets(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise RuntimeError('another bench')\n")
    program = (
        "import retrieval_bench, bench, datasets; from retrieval_bench import methods\n"
        "assert bench is retrieval_bench and 'gem' in methods.names()\n"
        "print(datasets.NAME)"
    )
    assert run(installed, tmp_path, "-c", program) == "of somebody else\n"
    assert (Path(installed).parent / "lib").exists()


def test_types_and_the_console_script_are_shipped(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        (points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "retrieval-bench = bench.__main__:main" in packed.read(points).decode()
    assert "bench/py.typed" in names
    assert "bench/_shipped/datasets/mini-data/dataset.json" in names
    assert not [name for name in names if name.startswith(("tests/", "results/"))]
