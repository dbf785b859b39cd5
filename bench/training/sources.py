"""The heads `lite1`, each trained without one source of photographs and judged on that source.

    python -m bench.training.sources PACKAGES OUTPUT [--source NAME] [--row NAME]

makes the photographs and data sets of `methods/weights/sources.py` below OUTPUT, trains and runs
by the commands `train` and `run`, and prints the tables of `methods/weights/README.md`. What is
done already is not done again; `--source` and `--row` are repeatable.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.methods.weights import sources
from bench.records import record

BASE, WHITENING = "gem.lite0", "whitening"
BEFORE, RERANKED = "delg-not-reranked", "delg-reranked"
ROWS = (BASE, WHITENING, "dolg", "delg", "token")
LISTS = (BEFORE, RERANKED)  # of delg, on the smaller data sets
METRIC = "map.trapezoid.junk-removed"
DRAWS, SEED = 4000, 0
Values = Mapping[str, float]  # by photograph, or by group


def command(*arguments: object) -> None:
    """Run a command of ours; refuse to go on where it fails."""
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], check=False)
    if done.returncode:
        raise BenchError(f"python -m {' '.join(map(str, arguments))} ended in {done.returncode}.")


def trained(output: Path, source: str, head: str) -> Path:
    """Return the weights of a head that has not seen a source.

    Those of the head "whitening" are DOLG's before training: a step at a rate of 1e-12.
    """
    folder = output / "trained" / f"{head}-{source}"
    method = "dolg" if head == WHITENING else head
    stop = ("--steps", 1, "--lr", 1e-12) if head == WHITENING else ()
    if not (folder / "final.safetensors").is_file():
        command(
            "bench", "train", "--method", f"{method}.lite1", "--data", output / "photographs",
            "--leave-out", output / f"{source}.txt", "--seed", 1, "--out", folder, *stop,
        )  # fmt: skip
    return folder / "final.safetensors"


def found(output: Path, source: str, row: str) -> Path | None:
    """Return the record of a row of the tables for a source, if there is one."""
    records = record.find(output / "records" / row)
    return next((path for path in records if path.parent.parent.name == source), None)


def judge(output: Path, source: str, row: str) -> None:
    """Make the record of a row for a source, if it is not there."""
    of_lists = row in LISTS
    dataset = f"{source}-rerank" if of_lists else source
    if found(output, dataset, row) is not None:
        return
    head = "delg" if of_lists else row
    method = BASE if row == BASE else f"{'dolg' if row == WHITENING else head}.lite1"
    weights = () if row == BASE else ("--weights", trained(output, source, head))
    command(
        "bench", "run", "--method", method, "--dataset", output / f"{dataset}.json", "--measure",
        "none", "--results", output / "records" / row, *weights,
        *(("--rerank",) if row == RERANKED else ()),
    )  # fmt: skip


def group_of(name: str) -> str:
    """Return the first photograph of the group of one."""
    return next((group[0] for group in sources.GROUPS if name in group), name)


def values(
    output: Path, chosen: Sequence[str], row: str, protocol: str, unit: Callable[[str], str]
) -> Values:
    """Return the mean AP of the queries of each unit of photographs, 0..100.

    Nothing where a record of one of the data sets `chosen` is missing.
    """
    of_unit: dict[str, list[float]] = {}
    for dataset in chosen:
        path = found(output, dataset, row)
        if path is None:
            return {}
        queries = json.loads((output / f"{dataset}.json").read_text())["queries"]
        scores = record.read(path)["scores"].get(protocol)
        per_query = scores[METRIC]["per_query"] if scores else [None] * len(queries)
        for query, value in zip(queries, per_query, strict=True):
            if value is not None:
                name = Path(query["file"]).stem.partition("-")[0]
                of_unit.setdefault(unit(name), []).append(100 * value)
    return {name: float(np.mean(each)) for name, each in of_unit.items()}


def interval(differences: Sequence[NDArray[np.float64]]) -> tuple[float, float, float]:
    """Return the mean over sources of their mean differences, and the ends of its 95 % interval.

    Bootstrap over the photographs (n,) of each source, 4,000 draws; the sources stay.
    """
    draw = np.random.default_rng(SEED)
    rows = [draw.integers(0, len(each), (DRAWS, len(each))) for each in differences]
    drawn = [each[chosen].mean(axis=1) for each, chosen in zip(differences, rows, strict=True)]
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return float(np.mean([each.mean() for each in differences])), float(low), float(high)


def cell(mine: Sequence[Values], base: Sequence[Values] | None) -> str:
    """Return a mean over sources, and under it the paired difference from `base`."""
    if not all(mine) or (base is not None and not all(base)):
        return "–"
    mean = np.mean([np.mean(list(each.values())) for each in mine])
    if base is None:
        return f"{mean:.1f}"
    pairs = zip(mine, base, strict=True)
    by, low, high = interval([np.array([m[name] - b[name] for name in m]) for m, b in pairs])
    return f"{mean:.1f}<br>{by:+.1f} [{low:+.1f}, {high:+.1f}]"


def table(output: Path, rows: Sequence[str], chosen: Sequence[str]) -> str:
    """Return a Markdown table of data sets: a row per network, differences from the first row."""
    heads = ["", *chosen, "mean", "same thing", "same thing, undisturbed"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    first: list[Sequence[Values] | None] = []
    for row in rows:
        views = [values(output, [dataset], row, "view", str) for dataset in chosen]
        columns: list[Sequence[Values]] = [*([view] for view in views), views]
        things = ("thing", "real")
        columns += [[values(output, chosen, row, protocol, group_of)] for protocol in things]
        base = first or [None] * len(columns)
        cells = [cell(*pair) for pair in zip(columns, base, strict=True)]
        lines.append(f"| `{row}` | {' | '.join(cells)} |")
        first = first or [*columns]
    return "\n".join(lines)


def prepare(packages: Path, output: Path) -> None:
    """Make photographs and data sets, where they are not there."""
    if not (output / "photographs" / "LICENCE.txt").is_file():
        command("bench.methods.weights.photographs", packages, output / "photographs")
    if not (output / f"{list(sources.SOURCES)[-1]}-rerank.json").is_file():
        command("bench.methods.weights.sources", packages, output)


def main(arguments: Sequence[str]) -> int:
    """Train and judge what is asked for, and print the tables of all that is there."""
    parser = argparse.ArgumentParser(prog="python -m bench.training.sources", description=__doc__)
    parser.add_argument("packages", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--source", action="append", choices=list(sources.SOURCES))
    parser.add_argument("--row", action="append", choices=(*ROWS, *LISTS))
    args = parser.parse_args(arguments)
    output = args.output.absolute()
    prepare(args.packages.absolute(), output)
    for source in args.source or sources.SOURCES:
        for row in args.row or (*ROWS, *LISTS):
            judge(output, source, row)
    every = list(sources.SOURCES)
    sys.stdout.write(table(output, ROWS, every) + "\n\n")
    sys.stdout.write(table(output, LISTS, [f"{source}-rerank" for source in every]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
