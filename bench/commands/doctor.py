"""One look at an installation: what is right, what is missing, and what to do about it."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import sys
from importlib import metadata

import numpy as np

from bench import datasets
from bench.commands.parser import Command, Nothing
from bench.errors import BenchError, MissingDataError, first_few
from bench.root import ROOT
from bench.scoring import known_answers, metrics
from bench.system import machine, reading
from bench.system.paths import cache_root, data_root
from bench.types import Dataset

LEAST_FREE_BYTES = 5 << 30
OK, NOTE, WRONG = "ok", "note", "WRONG"
Finding = tuple[str, str, str]

# One ranking, eight images, positives at places 1, 3 and 4, computed by hand.
HAND = (
    ("map.trapezoid.junk-removed", (0 + 1 / 2 + 1 / 3 + 1 / 2 + 2 / 4 + 3 / 5) / 6),
    ("map.finite-sum.junk-removed", (1 / 2 + 2 / 4 + 3 / 5) / 3),
    ("map@4.finite-sum.over-min-k-positives.junk-removed", (1 / 2 + 2 / 4) / 3),
    ("mp@10.clipped.junk-removed", 3 / 5),
    ("recall@1.any-hit.junk-removed", 0.0),
)


def examine() -> int:
    """Print what was found; return 1 if anything is wrong, 0 if things are merely absent."""
    findings = [*_python(), *_lock(), *_device(), *_folders(), *_metrics(), *_data(), *_methods()]
    for state, what, advice in findings:
        print(f"{state:>5}  {what}")
        if advice:
            print(f"       -> {advice}")
    wrong = sum(state == WRONG for state, _, _ in findings)
    print(f"{wrong} wrong" if wrong else "nothing is wrong")
    return int(wrong > 0)


def _python() -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    found = [(WRONG if old else OK, f"Python {version}", "use Python 3.11 or newer" if old else "")]
    for name in (
        "torch",
        "timm",
        "faiss",
        "numpy",
        "scipy",
        "skimage",
        "PIL",
        "pandas",
        "matplotlib",
    ):
        try:
            module = importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken binary raises anything
            found.append((WRONG, f"{name}: {error}", "install what pyproject.toml names"))
        else:
            found.append((OK, f"{name} {getattr(module, '__version__', '')}", ""))
    return found


def _lock() -> list[Finding]:
    """Compare what is installed with the lock; versions that differ are worth knowing."""
    lock = ROOT / "requirements" / "core.txt"
    if not lock.is_file():
        return []
    locked: dict[str, list[str]] = {}  # several, where they depend on the Python
    for name, version in re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^ ;\\\n]+)", reading.text(lock)):
        locked.setdefault(name, []).append(version.partition("+")[0])
    differing, count = [], 0
    for name, versions in locked.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            found, count = metadata.version(name), count + 1
            if found.partition("+")[0] not in versions:
                differing.append(f"{name} {found} (lock: {' or '.join(versions)})")
    if not differing:
        return [(OK, f"versions: {count} packages are those of requirements/core.txt", "")]
    text = f"versions: {len(differing)} of {count} differ from requirements/core.txt: "
    advice = "pip install --require-hashes -r requirements/core.txt, where numbers must be the same"
    return [(NOTE, text + first_few(differing, 20), advice)]


def _device() -> list[Finding]:
    try:
        device = machine.pick_device(None)
        about = machine.describe(device)
    except Exception as error:  # noqa: BLE001 - a driver that does not fit raises anything
        return [(WRONG, f"device: {error}", "see which torch build fits the driver")]
    memory = about["memory_bytes"] / 2**30
    text = f"device {device}: {about['device_name']}, {about['cores']} cores, {memory:.0f} GiB"
    return [(OK, text, "")]


def _folders() -> list[Finding]:
    found: list[Finding] = []
    for name, root in (
        ("RETRIEVAL_BENCH_DATA", data_root()),
        ("RETRIEVAL_BENCH_CACHE", cache_root()),
    ):
        there = root
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        state = "" if root.exists() else " (not there yet)"
        text = f"{name}: {root}{state}, {free / 2**30:.0f} GiB free"
        if not os.access(there, os.W_OK) and name.endswith("CACHE"):
            found.append((WRONG, f"{text}, not writable", f"set {name} to a folder of yours"))
        elif free < LEAST_FREE_BYTES:
            found.append((NOTE, text, f"set {name} to a disk with more room"))
        else:
            found.append((OK, text, ""))
    return found


def _metrics() -> list[Finding]:
    ranks = np.array([1, 3, 4], dtype=np.int64)
    off = [
        f"{name} is {metrics.metric(name).score(ranks, 3)!r}, not {known!r}"
        for name, known in HAND
        if abs(metrics.metric(name).score(ranks, 3) - known) > 1e-12
    ]
    if off:
        return [(WRONG, f"metrics: {'; '.join(off)}", "do not use scores of this installation")]
    return [(OK, f"metrics: {len(HAND)} values worked by hand", "")]


def _data() -> list[Finding]:
    found: list[Finding] = []
    for name in datasets.names():
        try:
            dataset = datasets.load(name)
        except MissingDataError as error:
            found.append((NOTE, f"{name}: {error}", ""))
            continue
        except BenchError as error:
            found.append((WRONG, f"{name}: {error}", "mend or fetch it again"))
            continue
        found.append(
            _truth(name, dataset.variant, dataset)
            if name in known_answers.PERMUTATION
            else (OK, f"{name}: ground truth of {len(dataset.queries)} queries", "")
        )
        wanted = {image.file for image in (*dataset.database, *dataset.queries)}
        try:
            here = len(wanted) - len(datasets.placed(dataset)[1])
        except BenchError as error:
            found.append((WRONG, f"{name}: {error}", ""))
            continue
        complete = here == len(wanted)
        advice = (
            "" if complete else f"put the photographs into {dataset.folder}; `evaluate` needs none"
        )
        found.append((OK if complete else NOTE, f"{name}: {here} of {len(wanted)} images", advice))
    return found


def _truth(name: str, variant: str, dataset: Dataset) -> Finding:
    """Judge a ground truth that has known answers: its hash first, then the golden scores."""
    if variant.endswith("another sha256"):
        return WRONG, f"{name}: {variant}", "fetch the genuine ground truth again"
    off = known_answers.disagreements(dataset)
    if off:
        return WRONG, f"{name}: golden scores: {'; '.join(off)}", "do not use scores from here"
    return OK, f"{name}: ground truth gives all golden scores", ""


def _methods() -> list[Finding]:
    from bench import methods

    return [
        (WRONG, entry.error, "mend or remove the plug-in")
        if entry.error
        else (OK, f"method {entry.name}", "")
        for entry in methods.entries()
    ]


COMMAND = Command(Nothing, lambda _: examine())
