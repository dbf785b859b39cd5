"""One look at an installation: what is right, what is missing, and what to do about it."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from bench import datasets
from bench.commands.parser import Command
from bench.errors import BenchError, MissingDataError, first_few
from bench.option import option
from bench.root import ROOT
from bench.scoring import known_answers, metrics
from bench.system import machine, reading
from bench.system.paths import cache_root, data_root
from bench.types import Dataset

LEAST_FREE_BYTES = 5 << 30
OK, NOTE, WRONG = "ok", "note", "WRONG"
Finding = tuple[str, str, str, str]  # state, subject, finding, remedy

# One ranking, eight images, positives at places 1, 3 and 4: a worked example.
HAND = (
    ("map.trapezoid.junk-removed", (0 + 1 / 2 + 1 / 3 + 1 / 2 + 2 / 4 + 3 / 5) / 6),
    ("map.finite-sum.junk-removed", (1 / 2 + 2 / 4 + 3 / 5) / 3),
    ("map@4.finite-sum.over-min-k-positives.junk-removed", (1 / 2 + 2 / 4) / 3),
    ("mp@10.clipped.junk-removed", 3 / 5),
    ("recall@1.any-hit.junk-removed", 0.0),
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The options of `doctor`."""

    data: bool = option(
        False, "also show each data set that is not on this machine, and how to get it"
    )


def examine(args: Arguments) -> int:
    """Print the findings; return 1 for faults, 0 for absent files."""
    data = _data() if args.data else _short(_data())
    findings = [*_python(), *_lock(), *_device(), *_folders(), *_metrics(), *data, *_methods()]
    wide = max(len(name) for _, name, _, _ in findings)
    for state, name, text, advice in findings:
        print(f"{state:>5}  {name:{wide}}  {text}{f' -> {advice}' if advice else ''}")
    wrong = sum(state == WRONG for state, *_ in findings)
    print(f"{wrong} wrong" if wrong else "nothing is wrong")
    return int(wrong > 0)


def _python() -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    advice = "use Python 3.11 or newer" if old else ""
    found = [(WRONG if old else OK, "Python", version, advice)]
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
            found.append((WRONG, name, str(error), "install what pyproject.toml names"))
        else:
            found.append((OK, name, getattr(module, "__version__", ""), ""))
    return found


def _lock() -> list[Finding]:
    """Compare the installed versions with the lock."""
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
        return [(OK, "versions", f"{count} packages are those of requirements/core.txt", "")]
    text = f"{len(differing)} of {count} differ from requirements/core.txt: "
    advice = "to reproduce numbers exactly: pip install --require-hashes -r requirements/core.txt"
    return [(NOTE, "versions", text + first_few(differing, 20), advice)]


def _device() -> list[Finding]:
    try:
        device = machine.pick_device(None)
        about = machine.describe(device)
    except Exception as error:  # noqa: BLE001 - a driver that does not fit raises anything
        return [(WRONG, "device", str(error), "install the torch build that fits the driver")]
    memory = about["memory_bytes"] / 2**30
    text = f"{device}: {about['device_name']}, {about['cores']} cores, {memory:.0f} GiB"
    return [(OK, "device", text, "")]


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
        state = "" if root.exists() else " (does not exist yet)"
        text = f"{root}{state}, {free / 2**30:.0f} GiB free"
        if not os.access(there, os.W_OK) and name.endswith("CACHE"):
            found.append(
                (
                    WRONG,
                    name,
                    f"{text}, not writable",
                    f"set {name} to a folder that you may write to",
                )
            )
        elif free < LEAST_FREE_BYTES:
            found.append(
                (NOTE, name, text, f"set {name} to a folder on a disk with more free space")
            )
        else:
            found.append((OK, name, text, ""))
    return found


def _metrics() -> list[Finding]:
    ranks = np.array([1, 3, 4], dtype=np.int64)
    off = [
        f"{name} is {metrics.metric(name).score(ranks, 3)!r} instead of {known!r}"
        for name, known in HAND
        if abs(metrics.metric(name).score(ranks, 3) - known) > 1e-12
    ]
    if off:
        return [(WRONG, "metrics", "; ".join(off), "do not use scores of this installation")]
    return [(OK, "metrics", f"{len(HAND)} values of a worked example are right", "")]


def _data() -> list[Finding]:
    found: list[Finding] = []
    for name in datasets.names():
        try:
            dataset = datasets.load(name)
        except MissingDataError as error:
            found.append((NOTE, name, str(error), ""))
            continue
        except BenchError as error:
            found.append((WRONG, name, str(error), "fix it or download it again"))
            continue
        found.append(
            _truth(name, dataset.variant, dataset)
            if name in known_answers.PERMUTATION
            else (OK, name, f"ground truth of {len(dataset.queries)} queries", "")
        )
        wanted = {image.file for image in (*dataset.database, *dataset.queries)}
        try:
            here = len(wanted) - len(datasets.placed(dataset)[1])
        except BenchError as error:
            found.append((WRONG, name, str(error), ""))
            continue
        complete = here == len(wanted)
        advice = (
            ""
            if complete
            else f"put the photographs into {dataset.folder}; `evaluate` needs no photographs"
        )
        found.append((OK if complete else NOTE, name, f"{here} of {len(wanted)} images", advice))
    return found


def _truth(name: str, variant: str, dataset: Dataset) -> Finding:
    """Judge a ground truth that has known answers: its hash first, then the golden scores."""
    if variant.endswith("another sha256"):
        return WRONG, name, variant, "download the ground truth again"
    off = known_answers.disagreements(dataset)
    if off:
        return WRONG, name, f"golden scores: {'; '.join(off)}", "do not use scores of this data set"
    return OK, name, "ground truth reproduces all known scores", ""


def _short(found: Sequence[Finding]) -> list[Finding]:
    """Return the findings about data without those that are merely absent, which one line names."""
    kept = [finding for finding in found if finding[0] != NOTE]
    if absent := list(dict.fromkeys(name for state, name, _, _ in found if state == NOTE)):
        text = f"{len(absent)} are absent or incomplete: {first_few(absent, 3)}"
        kept.append((NOTE, "data sets", text, "doctor --data"))
    return kept


def _methods() -> list[Finding]:
    """Return the methods that do not load, and how many do."""
    from bench import methods

    entries = methods.entries()
    broken = [entry for entry in entries if entry.error]
    text = f"{len(entries) - len(broken)} can be imported"
    return [(OK, "methods", text, "")] + [
        (WRONG, entry.name, str(entry.error), "fix or remove the plug-in") for entry in broken
    ]


COMMAND = Command(Arguments, examine)
