"""The second set of conformance data: checkpoints that follow from a formula, and answers to them.

A test rebuilds a checkpoint, writes it in a layout of published files, and describes the images of
all cases by the command `extract`: a dataset.json with boxes, a rule of `--resize`, `--weights`.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from bench.commands.main import main

TOLERANCE = 2e-5  # of unit vectors, float32 on a processor
State = dict[str, torch.Tensor]
Find = Callable[[str], Path]

# What an option says of the rule by which a case became a tensor; None: the method's own rule.
OPTIONS = {
    "pillow bilinear": "pillow-bilinear",
    "pillow bicubic": "pillow-bicubic",
    "tensor bilinear antialias": "bilinear",
    "tensor bilinear no antialias": "bilinear-no-antialias",
    "tensor bicubic antialias": "bicubic",
    "resized": "bilinear",
}
OWN = ("native", "thumbnail 1024 (Lanczos), query cap relative", "crop truncated, BGR")


@dataclass(frozen=True)
class Set:
    """One pair of files: what the json says, the arrays, and the folder of the images."""

    name: str
    facts: dict[str, Any]
    answers: dict[str, np.ndarray]
    images: Path
    recipe: ModuleType

    def state(self) -> State:
        """Return the checkpoint, which must have the hash that the json states."""
        state = self.recipe.state(self.facts)
        assert self.recipe.sha256(state) == self.facts["state_sha256"]
        return {name: torch.from_numpy(value) for name, value in state.items()}

    def drawn(self, key: str, shape: Sequence[int]) -> np.ndarray:
        """Return an array of the formula that is not an entry of the checkpoint."""
        return np.asarray(self.recipe.tensor(self.facts["seed"], key, tuple(shape)))


def read(find: Find, name: str) -> Set:
    """Return one set; `find` is the fixture `shared`, which skips where there are none."""
    facts = json.loads(find(f"parity2/{name}.json").read_text(encoding="utf-8"))
    spec = importlib.util.spec_from_file_location("_recipe2", find("parity2/recipe.py"))
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    with np.load(find(f"parity2/{name}.npz"), allow_pickle=False) as stored:
        answers = dict(stored)
    return Set(name, facts, answers, find("parity/images"), recipe)


def option(rule: str, size: Sequence[Any] = ()) -> str | None:
    """Return the value of `--resize` for the rule of a case, or None for the method's own.

    `size` is (height, width) of what the network sees.

    >>> option("pillow bilinear 320 320"), option("nearest multiple of 14"), option("native")
    ('pillow-bilinear:320x320', 'multiple-of-14', None)
    """
    if rule in OWN:
        return None
    if rule.startswith("centre crop"):
        return f"centre-crop:{size[0]}x{size[1]}"
    if "nearest multiple of 14" in rule:
        return "multiple-of-14"
    words, height, width = rule.replace(",", "").rsplit(" ", 2)
    return f"{OPTIONS[words]}:{int(height)}x{int(width)}"


def described(
    conformance: Set, method: str, weights: Path, folder: Path, options: Iterable[str] = ()
) -> np.ndarray:
    """Return the descriptors of all cases, by the command line, in the order of the cases."""
    cases = conformance.facts["cases"]
    rows: list[np.ndarray | None] = [None] * len(cases)
    groups: dict[str | None, list[int]] = {}
    for i, case in enumerate(cases):
        groups.setdefault(option(case["rule"], case["input"]), []).append(i)
    for number, (resize, members) in enumerate(groups.items()):
        chosen = [*options, *(["--resize", resize] if resize else [])]
        wanted = [cases[i]["image"] for i in members]
        found = _extracted(
            conformance.images, wanted, method, weights, folder / str(number), chosen
        )
        for i, row in zip(members, found, strict=True):
            rows[i] = row
    return np.stack([row for row in rows if row is not None])


def _extracted(
    images: Path,
    cases: Sequence[str],
    method: str,
    weights: Path,
    folder: Path,
    options: Sequence[str],
) -> list[np.ndarray]:
    """Return the descriptors of "a" as a database image, of "a@1x2x3x4" as a query with a box."""
    folder.mkdir(parents=True)
    files = sorted({f"{case.partition('@')[0]}.png" for case in cases})
    boxes = [case.partition("@") for case in cases if "@" in case]
    queries: list[dict[str, Any]] = [
        {"file": f"{name}.png", "box": [float(x) for x in box.split("x")]} for name, _, box in boxes
    ]
    described = {
        "name": "conformance",
        "images": str(images),
        "database": files,
        "queries": queries or [{"file": files[0]}],
        "protocols": {"any": [{"positive": [0]}] * max(1, len(queries))},
    }
    data = folder / "dataset.json"
    data.write_text(json.dumps(described), encoding="utf-8")
    vectors = {}
    for which in ("database", "queries") if boxes else ("database",):
        out = folder / f"{which}.npz"
        command = ["extract", "--method", method, "--weights", str(weights), "--device", "cpu"]
        command += ["--dataset", str(data), "--which", which, "--output", str(out), *options]
        assert main(command) == 0, command
        with np.load(out, allow_pickle=False) as stored:
            vectors[which] = stored["vectors"]
    order = [case for case in cases if "@" in case]
    return [
        vectors["queries"][order.index(case)]
        if "@" in case
        else vectors["database"][files.index(f"{case}.png")]
        for case in cases
    ]


def differences(rows: np.ndarray, official: np.ndarray) -> np.ndarray:
    """Return the largest difference of every row from its answer, after bringing that to norm 1."""
    assert rows.shape == official.shape
    unit = official / np.linalg.norm(official.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(np.abs(rows - unit).max(axis=1))
