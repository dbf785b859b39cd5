"""Stores of version 0.1: found under the same keys, and made again with the same bytes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import datasets, methods
from bench.describe import engine, extract, loading, local_store
from bench.search import compress
from bench.settings import Settings
from bench.system import machine
from bench.types import LocalRule

pytestmark = pytest.mark.slow

# Written by version 0.1 (commit b95d624): sha256 of every file, by folder and name in the cache.
FIRST = json.loads(Path(__file__).with_name("first_stores.json").read_text(encoding="utf-8"))


def loaded(name: str) -> engine.Loaded:
    """Return a method that is ready to run."""
    info, method, rule = methods.load(name)
    return loading.ready(method, info, rule, "cpu", Settings())


def here() -> dict[str, str]:
    """Return what descriptors depend on besides the code, as far as bits go."""
    packages = ("torch", "faiss-cpu", "pillow", "numpy")
    about = Path("/proc/cpuinfo")
    flags = set(about.read_text(encoding="utf-8").split()) if about.is_file() else set()
    return {
        "instructions": " ".join(sorted(f for f in flags if f.startswith(("avx", "amx", "fma")))),
        "processor": machine.describe(None)["processor"],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "system": f"{platform.system()} {platform.machine()}",
    } | {name: importlib.metadata.version(name) for name in packages}


def make() -> None:
    """Describe mini with three methods; local features of one shard; codes."""
    mini = datasets.load("mini")
    for name in ("random-unit", "gem.lite0", "delg.lite0"):
        of = loaded(name)
        parts, _ = extract.extract(of, mini.folder, mini.database, "database")
        extract.extract(of, mini.folder, mini.queries, "queries")
        if name == "random-unit":
            choice = compress.parse("pq4x4")
            assert choice is not None
            compress.compress(parts, choice)
    rule = LocalRule(**dict(of.method.local_rule))
    local_store.extract_local(
        of, mini.folder, mini.database, np.arange(3), rule, "float32", "local features"
    )


def files(cache: Path) -> dict[str, str]:
    """Return the sha256 of every file of the stores: keys, lists, shards, codes."""
    paths = [path for path in cache.glob("*/*/*") if path.suffix in (".npy", ".jsonl", ".json")]
    return {
        path.relative_to(cache).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the files that this version makes."""
    cache = tmp_path_factory.mktemp("first") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RETRIEVAL_BENCH_CACHE", str(cache))
        make()
        return files(cache)


def test_the_keys_are_those_of_version_0_1(made: dict[str, str]) -> None:
    def keys(of: dict[str, str]) -> dict[str, str]:
        named = ("key.json", "images.jsonl")
        codes = "compressed/" if here()["faiss-cpu"] != FIRST["here"]["faiss-cpu"] else "-"
        return {k: v for k, v in of.items() if k.endswith(named) and not k.startswith(codes)}

    assert keys(made) == keys(FIRST["files"])


def test_the_bytes_are_those_of_version_0_1(made: dict[str, str]) -> None:
    if here() != FIRST["here"]:
        pytest.skip(f"the bits were made with {FIRST['here']}, and this is {here()}")
    assert made == FIRST["files"]
