"""Keep what a run of the performance suite measured: a small JSON of its own, and one table.

`python -m tests.perf.keep BENCHMARKS.json results/perf`; the session `perf` of nox does it. Every
test says in `benchmark.extra_info` what its figure is and what it is a multiple of.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from bench.system import machine
from bench.system.paths import write_bytes

WORDS = ("figure", "reference")
SOURCE = {"commit": "id", "dirty": "dirty"}  # as pytest-benchmark found it when it measured
HEAD = """\
# Performance

Each figure is a ratio within one run, against the reference named beside it, on the machine named
above the table; seconds of different machines are not compared. Made by `nox -s perf`, which adds a
file and writes this page anew from all files of the folder; the bounds are asserted by the tests
themselves, in `tests/perf`. RETRIEVAL_BENCH_PERF_DIM=2048 makes the million rows 8 GB instead of 2.
"""


def kept(raw: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a file of pytest-benchmark: machine, source, figures."""
    figures = []
    for item in raw["benchmarks"]:
        extra = item["extra_info"]
        about = {word: extra[word] for word in WORDS if word in extra}
        numbers = {k: v for k, v in extra.items() if isinstance(v, int | float)}
        figures.append({"test": item["fullname"].removeprefix("tests/perf/"), **about, **numbers})
    return {
        "date": raw["datetime"][:10],
        "machine": machine.describe(None),
        "libraries": machine.libraries(),
        "source": {key: raw["commit_info"].get(name) for key, name in SOURCE.items()},
        "figures": sorted(figures, key=lambda figure: figure["test"]),
    }


def table(run: dict[str, Any]) -> str:
    """Return heading and table of one run."""
    about, source = run["machine"], run["source"]
    commit = (source["commit"] or "not known")[:9] + (" with changes" if source["dirty"] else "")
    lines = [
        f"## {run['date']}, {about['processor']}, {about['cores']} cores\n",
        f"Commit {commit}; "
        + ", ".join(f"{name} {version}" for name, version in run["libraries"].items())
        + ".\n",
        "| what | reference | times the reference | at most | also |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for figure in run["figures"]:
        known = {"test", *WORDS, "times_the_reference", "at_most"}
        also = "; ".join(
            f"{key.replace('_', ' ')} {value:,}"
            for key, value in figure.items()
            if key not in known
        )
        cells = [
            figure.get("figure", figure["test"]),
            figure.get("reference", ""),
            figure.get("times_the_reference", ""),
            figure.get("at_most", ""),
            also,
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def page(folder: Path) -> str:
    """Return the page made of all files of the folder, the newest first."""
    runs = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"), reverse=True)
    ]
    return "\n".join([HEAD, *map(table, runs)])


def main(source: Path, folder: Path) -> None:
    """Add a run to the folder, one file per day and machine, and write its README.md anew."""
    run = kept(json.loads(source.read_text(encoding="utf-8")))
    which = json.dumps([run["machine"], [f["test"] + f.get("figure", "") for f in run["figures"]]])
    name = f"{run['date']}-{hashlib.sha256(which.encode()).hexdigest()[:8]}.json"
    write_bytes(folder / name, f"{json.dumps(run, indent=1, ensure_ascii=True)}\n".encode("ascii"))
    write_bytes(folder / "README.md", page(folder).encode())
    print(folder / "README.md")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
