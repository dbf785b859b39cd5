"""Warm starts: a run with everything in the store builds no network and imports no torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.describe import engine, loading, warm
from bench.errors import BenchError
from bench.records import record
from bench.settings import Settings
from bench.store import remembered
from bench.system import machine

ROOT = Path(__file__).resolve().parents[2]

# Runs the command line where nothing of torch's can be imported.
WITHOUT_TORCH = """
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm"):
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Forbidden())
from bench.commands.main import main
sys.exit(main(sys.argv[1:]))
"""


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that cannot import torch."""
    inputs = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(inputs, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def views(tmp_path: Path) -> Path:
    """Make a data set of four small photographs and a query; return its folder."""
    folder = tmp_path / "views"
    (folder / "jpg").mkdir(parents=True)
    draw = np.random.default_rng(3)
    for name in (*"0123", "q"):
        small = Image.fromarray(draw.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        small.resize((96, 72)).save(folder / "jpg" / f"{name}.png")
    data = {"name": "views", "images": "jpg", "database": [f"{i}.png" for i in range(4)],
            "queries": [{"file": "q.png"}], "protocols": {"p": [{"positive": [2]}]}}  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(data))
    return folder


@pytest.mark.slow
def test_a_warm_run_imports_no_torch_and_has_the_costs_of_the_first(
    workspace, cli, views: Path, quick_costs
) -> None:
    arguments = ("run", "--method", "delg.untrained", "--dataset", views, "--rerank",
             "--measure", "sample")  # fmt: skip
    assert cli(*arguments).status == 0
    done = without_torch(*arguments, "--output", workspace.results)
    assert done.returncode == 0, done.stderr
    assert "measured 20" in done.stdout
    first, again = (record.read(path) for path in workspace.records())
    for part in ("latency", "search"):
        day = again["timing"][part].pop("measured")
        assert day == first["created"][:10]
        assert again["timing"][part] == first["timing"][part]
    for part in ("card", "method", "scores", "ranks", "libraries"):
        left, other = dict(first[part]), dict(again[part])
        assert left.pop("file", None) is None or other.pop("file")
        assert left == other, part
    assert first["timing"]["extraction"] == again["timing"]["extraction"]
    assert again["timing"]["images_from_store"] == 5
    assert [of.local for of in quick_costs] == ["too"]
    for key in ("networks", "parameters"):
        assert again["memory"][key] == first["memory"][key]
    assert again["memory"]["peak_resident_bytes"] >= first["memory"]["peak_resident_bytes"]
    assert {k: again["machine"][k] for k in ("threads", "interop_threads", "tf32")} == {
        k: first["machine"][k] for k in ("threads", "interop_threads", "tf32")
    }


@pytest.mark.slow
def test_what_is_not_in_the_store_is_described_by_the_network(workspace, cli, views: Path) -> None:
    arguments = ("run", "--method", "delg.untrained", "--dataset", views)
    assert cli(*arguments).status == 0
    before = {p: p.read_bytes() for p in workspace.cache.rglob("shard-*.npy")}
    for path in before:
        path.unlink()
    assert cli(*arguments).status == 0
    assert {p: p.read_bytes() for p in before} == before
    done = without_torch(*arguments, "--force", "--measure", "none", "--output", workspace.results)
    assert done.returncode != 0, "the test can fail"


COUNTED = '''"""Counts how often it is loaded."""
from pathlib import Path
from types import SimpleNamespace

VARIANTS = {"a": "first", "b": "second"}


def load(variant, weights, device):
    import numpy as np

    with Path(__file__).with_name("loads").open("a") as file:
        file.write(".")
    facts = {"source": "none", "licence": "none", "sha256": None, "training_set": "none",
             "trained": TRAINED}
    return SimpleNamespace(version="1", config={"variant": variant}, weights=facts, dim=2,
                           preprocess={}, describe=lambda batch: batch[:, :2, 0, 0])
'''


@pytest.fixture
def plug_in(tmp_path: Path, workspace: Any) -> Path:
    """Write a method that has no weights; return its file."""
    path = tmp_path / "counted.py"
    path.write_text(COUNTED.replace("TRAINED", "False"))
    return path


@pytest.fixture
def loads(tmp_path: Path) -> Callable[[], int]:
    """Return a function that says how often the method was loaded since it was last asked."""

    def count() -> int:
        path = tmp_path / "loads"
        number = len(path.read_text()) if path.exists() else 0
        path.unlink(missing_ok=True)
        return number

    return count


def again(plug_in: Path, text: str) -> None:
    """Write another source, and forget the module that was imported."""
    plug_in.write_text(text)
    for name in [name for name in sys.modules if name.startswith("_bench_method_")]:
        del sys.modules[name]


def test_what_it_follows_from_is_what_it_is_remembered_under(
    plug_in: Path, loads, tmp_path: Path, monkeypatch
) -> None:
    def load(variant: str = "a", weights: str | None = None, **settings: Any) -> engine.Loaded:
        return warm.load(f"{plug_in}:{variant}", weights, "cpu", Settings(**settings))

    first = load()
    assert loads() == 1
    known = load()
    assert loads() == 0
    assert (known.info, known.rule, known.parameters) == (first.info, first.rule, first.parameters)
    assert isinstance(known.method, warm.Deferred)
    assert not hasattr(known.method, "local")
    pixels = [np.zeros((4, 4, 3), np.uint8)]
    pixels[0][0, 0] = (30, 40, 50)
    assert engine.describe(known, pixels).tobytes() == engine.describe(first, pixels).tobytes()
    assert loads() == 1, "built when it is asked to describe"

    for change in (
        lambda: load("b"),
        lambda: load(batch_size=3),  # what was done to the network may depend on any setting
        lambda: load(weights=str(tmp_path / "w.npz")),
    ):
        (tmp_path / "w.npz").write_bytes(b"weights")
        change()
        assert loads() == 1
        change()
        assert loads() == 0
    (tmp_path / "w.npz").write_bytes(b"other weights")
    load(weights=str(tmp_path / "w.npz"))
    assert loads() == 1

    text = plug_in.read_text()
    again(plug_in, f"{text}\nNAMED = 'beside.json'\n")
    load()
    assert loads() == 1, "its source"
    (tmp_path / "beside.json").write_text("1")
    load()
    assert loads() == 1, "a file that its source names"
    load()
    assert loads() == 0
    (tmp_path / "beside.json").write_text("2")
    load()
    assert loads() == 1
    again(plug_in, f"import helper_of_a_test as helper\n{text}")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helper_of_a_test.py").write_text("X = 1\n")
    load()
    assert loads() == 1
    (tmp_path / "helper_of_a_test.py").write_text("X = 22\n")
    load()
    assert loads() == 1, "a module beside it"
    versions = {**machine.libraries(), "torch": "0.0"}
    monkeypatch.setattr(machine, "libraries", lambda: versions)
    load()
    assert loads() == 1, "the version of a library"
    load()
    assert loads() == 0


def test_of_weights_of_which_nobody_knows_the_file_nothing_is_remembered(
    plug_in: Path, loads
) -> None:
    again(plug_in, COUNTED.replace("TRAINED", "True"))
    for _ in range(2):
        warm.load(str(plug_in), None, "cpu")
        assert loads() == 1
    assert not list((plug_in.parent / "cache" / "stated").glob("*"))


def test_weights_that_the_method_chose_are_compared(plug_in: Path, loads, tmp_path: Path) -> None:
    """As the demonstration weights of lite0, which are read without an option."""
    from safetensors.numpy import save_file

    file = tmp_path / "own.safetensors"
    text = COUNTED.replace("TRAINED", "True").replace(
        "    import numpy as np\n",
        "    from bench.weights import read_state\n"
        f"    read_state(Path({str(tmp_path)!r}) / ('own' + '.safetensors'))\n",
    )
    again(plug_in, text)
    save_file({"a": np.zeros(2, np.float32)}, file)
    for expected in (1, 0):
        warm.load(str(plug_in), None, "cpu")
        assert loads() == expected
    save_file({"a": np.ones(2, np.float32)}, file)
    for expected in (1, 0):
        warm.load(str(plug_in), None, "cpu")
        assert loads() == expected


def test_a_method_that_says_other_things_than_before_is_refused(
    plug_in: Path, loads, tmp_path: Path
) -> None:
    text = COUNTED.replace("TRAINED", "False").replace(
        '{"variant": variant}', "{'day': Path(__file__).with_name('day' + '.txt').read_text()}"
    )
    again(plug_in, text)
    (tmp_path / "day.txt").write_text("Monday")
    warm.load(str(plug_in), None, "cpu")
    loads()
    (tmp_path / "day.txt").write_text("Tuesday")
    known = warm.load(str(plug_in), None, "cpu")
    assert known.info.config == {"day": "Monday"}
    with pytest.raises(BenchError, match=r"counted\.a describes itself differently than on 20"):
        known.method.describe(None)
    assert warm.load(str(plug_in), None, "cpu").info.config == {"day": "Tuesday"}


def test_damage_costs_loading_and_nothing_else(plug_in: Path, loads, workspace) -> None:
    warm.load(str(plug_in), None, "cpu")
    (path,) = (workspace.cache / "stated").glob("*.json")
    kept = json.loads(path.read_text())
    for text in ("", "[]", json.dumps({**kept, "content": {}}), json.dumps({**kept, "about": 1})):
        path.write_text(text)
        loads()
        warm.load(str(plug_in), None, "cpu")
        assert loads() == 1
        warm.load(str(plug_in), None, "cpu")
        assert loads() == 0


@pytest.mark.slow
def test_local_features_and_pixels_are_those_of_the_network(workspace) -> None:
    real = loading.load("delg.lite0", None, "cpu")
    for _ in range(2):
        found = warm.load("delg.lite0", None, "cpu")
    assert isinstance(found.method, warm.Deferred)
    method: Any = real.method
    from bench import methods

    assert methods.local_of(found.method, found.info) == methods.local_of(method, real.info)
    assert (found.info, found.rule) == (real.info, real.rule)
    assert engine.about(found) == engine.about(real)
    assert engine.about(found)["fused_convolutions"] > 0


def test_facts_are_kept_under_what_they_follow_from(workspace) -> None:
    about = {"of": "a test", "sizes": (1, 2)}
    assert remembered.read("costs", about) is None
    remembered.write("costs", about, {"x": 1.5})
    fact = remembered.read("costs", {"sizes": [1, 2], "of": "a test"})
    assert fact is not None
    assert fact.content == {"x": 1.5}
    assert len(fact.date) == len("2026-01-31")
    assert remembered.read("costs", {**about, "sizes": (1, 3)}) is None
    (path,) = (workspace.cache / "costs").iterdir()
    path.write_text(path.read_text().replace("1.5", "1.6"))
    assert remembered.read("costs", about) is None, "every number is checked"
    remembered.write("costs", about, {"x": 2})
    remembered.forget("costs", about)
    remembered.forget("costs", about)
    assert remembered.read("costs", about) is None
    (workspace.cache / "costs").rmdir()
    (workspace.cache / "costs").write_text("a file where a folder would be")
    remembered.write("costs", about, {"x": 2})


@pytest.mark.slow
def test_torch_is_asked_once_for_a_machine(workspace) -> None:
    """Its answers are kept under the environment and the devices that they depend on."""
    ask = (
        "import json, sys, dataclasses; from bench.system import torch_facts\n"
        "found = torch_facts.facts()\n"
        "print(json.dumps([dataclasses.asdict(found), 'torch' in sys.modules]))"
    )

    def facts(threads: str) -> Any:
        chosen = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True,
                              check=True, env={**os.environ, **chosen})  # fmt: skip
        return json.loads(done.stdout)

    first, imported = facts("1")
    assert imported
    assert first["threads"] == 1
    assert facts("1") == [first, False]
    other, imported = facts("2")
    assert imported
    assert other["threads"] == 2
    (workspace.cache / "torch.json").write_text("{}")
    assert facts("2") == [other, True]
