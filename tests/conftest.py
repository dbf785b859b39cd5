"""What all tests share: folders of their own, the conformance data, the oracle, the command line.

No test may write into the checkout or the user's home: both roots point into a temporary folder
for the whole session, and `workspace` gives a test that runs something its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# As in bench/__main__.py, and before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.checkout import ROOT
from tests.support.costs import quick_costs
from tests.support.delg_models import files, variables
from tests.support.hosts import host, streets
from tests.support.remote import own, quick, remote
from tests.support.signed import recorded, specimen
from tests.support.town import official, town
from tests.support.truths import lay

# Fixtures of the modules beside this one, for every file.
__all__ = [
    "files", "host", "lay", "official", "own", "quick", "quick_costs", "recorded", "remote",
    "specimen", "streets", "town", "variables",
]  # fmt: skip

TEST_DATA = os.environ.get("RETRIEVAL_BENCH_TEST_DATA")


collect_ignore = ["support/delg_graph.py"]  # a program on TensorFlow, not for this process


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts clusters as slow, so that `-m "not slow"` leaves it out."""
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker("slow")


@dataclass(frozen=True)
class Said:
    """What a command said: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The lines of standard error that are errors of ours."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


@dataclass(frozen=True)
class Workspace:
    """Where one test works: the folders that the two variables name, and one for results."""

    folder: Path
    data: Path
    cache: Path
    results: Path

    def records(self) -> list[Path]:
        """Return the records written so far."""
        return sorted(self.results.glob("runs/*/*/*.json"))


@pytest.fixture(scope="session", autouse=True)
def _roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("roots")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETRIEVAL_BENCH_CACHE", str(folder / "cache"))
        patch.setenv("RETRIEVAL_BENCH_DATA", str(folder / "data"))
        patch.delenv("RETRIEVAL_BENCH_TRACEBACK", raising=False)
        yield


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    """Refuse what leaves torch with another number of threads: the next timing would be of it."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before, "the threads of torch are not put back"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Give the test its own roots."""
    place = Workspace(tmp_path, tmp_path / "data", tmp_path / "cache", tmp_path / "results")
    monkeypatch.setenv("RETRIEVAL_BENCH_CACHE", str(place.cache))
    monkeypatch.setenv("RETRIEVAL_BENCH_DATA", str(place.data))
    return place


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], workspace: Workspace) -> Callable[..., Said]:
    """Return a function that runs the command line in this process and gives what it said."""
    from bench.commands.main import main

    def run(*arguments: object) -> Said:
        inputs = [str(argument) for argument in arguments]
        elsewhere = {"--results", "--output"} & {*inputs}
        if inputs and inputs[0] in ("run", "evaluate") and not elsewhere:
            inputs += ["--results", str(workspace.results)]
        if inputs and inputs[0] == "run" and "--measure" not in inputs:
            inputs += ["--measure", "none"]  # it takes some seconds
        capsys.readouterr()
        try:
            status = main(inputs)
        except SystemExit as exit_:  # argparse ends the process for wrong usage
            status = int(exit_.code or 0)
        printed = capsys.readouterr()
        return Said(status, printed.out, printed.err)

    return run


@pytest.fixture
def process(workspace: Workspace) -> Callable[..., Said]:
    """Return a function that runs `python -m bench` as a process of its own."""

    def run(*arguments: object, **settings: Any) -> Said:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **settings.pop("env", {})}
        done = subprocess.run(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=ROOT, capture_output=True, text=True, env=environment, timeout=240,
            check=False, **settings,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def refused() -> Callable[[Said], str]:
    """Return a check of a failed command: one sentence, status 1, no traceback; gives it."""

    def check(expected: Said) -> str:
        assert expected.status == 1, expected
        assert "Traceback" not in expected.err
        assert len(expected.errors) == 1, expected.err
        assert expected.errors[0].endswith((".", "?"))
        return expected.errors[0].removeprefix("error: ")

    return check


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """Return tests/support/oracle.py, which imports nothing of the project."""
    spec = importlib.util.spec_from_file_location(
        "_test_oracle", ROOT / "tests" / "support" / "oracle.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """Return tests/support/reports.py, which makes records by hand."""
    return importlib.import_module("tests.support.reports")


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Return a function that finds a file of the conformance data, or skips the test."""

    def find(name: str) -> Path:
        if not TEST_DATA:
            pytest.skip(f"no {name}: RETRIEVAL_BENCH_TEST_DATA names no folder that has it")
        path = Path(TEST_DATA) / name
        if not path.exists():
            pytest.skip(f"no {name} in {TEST_DATA} (RETRIEVAL_BENCH_TEST_DATA names the folder)")
        return path

    return find


SMALL: dict[str, Any] = {
    "name": "small",
    "images": "jpg",
    "database": [f"d{i}.png" for i in range(8)],
    "queries": [{"file": f"q{i}.png"} for i in range(3)],
    "protocols": {
        "easy": [
            {"positive": [1, 3, 4], "ignored": [0]},
            {"positive": [], "ignored": [2]},
            {"positive": [7]},
        ],
        "hard": [
            {"positive": [5], "ignored": [1, 3, 4]},
            {"positive": [2, 6]},
            {"positive": [0], "ignored": [7]},
        ],
    },
}


@pytest.fixture
def small() -> dict[str, Any]:
    """Return a correct dataset.json of eight images, as data that a test may spoil."""
    copied: dict[str, Any] = json.loads(json.dumps(SMALL))
    return copied


@pytest.fixture
def small_file(small: dict[str, Any], tmp_path: Path) -> Path:
    """Return the path of that dataset.json."""
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(small), encoding="utf-8")
    return path


@pytest.fixture
def brought(tmp_path: Path) -> tuple[Path, Path]:
    """Return .npy files of unit descriptors for the small data set: database and queries."""
    draw = np.random.default_rng(5)
    paths = tmp_path / "db.npy", tmp_path / "q.npy"
    for path, count in zip(paths, (8, 3), strict=True):
        rows = draw.standard_normal((count, 6))
        np.save(path, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    return paths


HALVES = '''"""Mean colour of the halves of an image, slowly."""
import time
from pathlib import Path
from types import SimpleNamespace
import torch

VARIANTS = {"plain": "as it is"}


def load(variant, weights, device):
    def describe(batch):
        slow = Path(__file__).with_name("slow")
        time.sleep(float(slow.read_text()) if slow.exists() else 0)
        with Path(__file__).with_name("count").open("a") as file:
            file.write(len(batch) * ".")
        halves = torch.cat([batch[..., :4].mean((2, 3)), batch[..., 4:].mean((2, 3))], 1)
        return halves + 0.5

    facts = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": False}
    return SimpleNamespace(version="1", config={}, weights=facts, dim=6, describe=describe,
                           preprocess={"mean": (0, 0, 0), "std": (255, 255, 255)})
'''


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Make a data set of 605 images of eight pixels a side, and a method; return the folder.

    The queries are its first five images with a pixel of another colour.
    """
    folder = tmp_path / "tiny"
    (folder / "jpg").mkdir(parents=True)
    draw = np.random.default_rng(0)
    files = [f"{i:03}.png" for i in range(600)]
    for file in files:
        pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "jpg" / file, compress_level=0)
        if file < "005":
            pixels[0, 0] ^= 16
            Image.fromarray(pixels).save(folder / "jpg" / f"q{file}", compress_level=0)
    data = {
        "name": "tiny", "images": "jpg", "database": files,
        "queries": [{"file": f"q{file}"} for file in files[:5]],
        "protocols": {"p": [{"positive": [i, i + 50]} for i in range(5)]},
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "halves.py").write_text(HALVES, encoding="utf-8")
    return folder


@pytest.fixture
def described(tiny: Path) -> Callable[[], int]:
    """Return a function that says how many images the method was shown since it was last asked."""

    def count() -> int:
        file = tiny / "count"
        number = len(file.read_text()) if file.exists() else 0
        file.unlink(missing_ok=True)
        return number

    return count
