"""`nox -s torture`: kills, flips, writers, bad inputs and injections for a given time.

Prints trials and failures of every campaign, and keeps them in `results/reliability/` with the
version, the date and the seed. Status 1 where anything was lost, ended in a traceback, or differed
in silence; the inputs and the sentences are kept below the folder of work.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.torture import bad_inputs, campaigns
from tests.torture import world as worlds
from tests.torture.world import World

ROOT = Path(__file__).resolve().parents[2]
CAMPAIGNS: dict[str, tuple[float, Callable[[World], list[str]]]] = {
    "kills": (5, campaigns.kill),
    "flips": (4, campaigns.flip),
    "bad inputs": (4, bad_inputs.bad_input),
    "writers": (1, campaigns.writers),
    "injections": (1, campaigns.injection),
}  # by name: the share of the time, and a trial


@dataclass
class Figures:
    """What a campaign came to."""

    trials: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def torture(seconds: float, seed: int, folder: Path) -> dict[str, Figures]:
    """Run trials of all campaigns by turns for so many seconds; return their figures.

    Ctrl-C ends it sooner, and what was found until then is kept.

    Every campaign has a world and random numbers of its own, so that a seed gives the same trials
    whatever the speed, and only their number differs.
    """
    _import_all(folder / "warm")
    figures = {name: Figures() for name in CAMPAIGNS}
    made: dict[str, World] = {}
    end = time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt):
        while time.monotonic() < end:
            name = min(CAMPAIGNS, key=lambda each: figures[each].seconds / CAMPAIGNS[each][0])
            begin = time.monotonic()
            if name not in made:
                draw = random.Random(f"{seed} {name}")
                made[name] = worlds.make(folder / name.replace(" ", "-"), draw)
            else:
                found = CAMPAIGNS[name][1](made[name])
                figures[name].trials += 1
                for fault in found:
                    figures[name].failures.append(f"trial {figures[name].trials}: {fault}")
                    print(
                        f"{name}, trial {figures[name].trials}: {fault}",
                        file=sys.stderr,
                        flush=True,
                    )
            figures[name].seconds += time.monotonic() - begin
    return figures


def _import_all(folder: Path) -> None:
    """Import what commands need, once, before any trial; run none of it here.

    Much is imported when it is first needed: a child runs commands and says what it imported. Of
    0.66 s of the processor for a run 0.3 remain, and every trial is still a process of its own.
    """
    import bench.training.run  # noqa: F401
    from bench import datasets, methods
    from bench.data.model import DatasetFile
    from bench.records.model import Record
    from bench.system import typed

    methods.entries()
    for name in datasets.names():
        datasets.entry_of(name)
    world = worlds.make(folder, random.Random(0))
    record = str(world.records()[0])
    sheet = ["sheet", record, "--worst", "1", "--dataset", str(world.town), "--output"]
    for command in (
        world.command("--compression", "pq2x4"),
        ["verify", record],
        ["report", "--results", str(world.results)],
        ["data", "verify", str(world.town)],
        [*sheet, str(folder / "sheet.html")],
    ):
        for name in worlds.imported_by(world, command):
            with contextlib.suppress(Exception):  # what a command imports and does not need
                importlib.import_module(name)
    typed.checked(Record, None)  # which makes what models are checked by
    typed.checked(DatasetFile, None)
    shutil.rmtree(folder)


def about(figures: dict[str, Figures], seconds: float, seed: int) -> dict[str, Any]:
    """Return what is kept of a session: version, machine, date, trials and failures."""
    from bench.system import machine

    return {
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "source": machine.source(),
        "python": sys.version.split()[0],
        "machine": {k: machine.describe("cpu").get(k) for k in ("processor", "cores", "system")},
        "seed": seed,
        "seconds": round(seconds),
        "campaigns": {
            name: {"trials": figure.trials, "failures": len(figure.failures),
                   "seconds": round(figure.seconds), "first": figure.failures[:5]}
            for name, figure in figures.items()
        },
    }  # fmt: skip


def main() -> int:
    """Run for as long as the command line says; print and keep the figures."""
    parser = argparse.ArgumentParser(prog="nox -s torture --", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="(default: a new one)")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "reliability",
                        help="folder of the figures (default: results/reliability)")  # fmt: skip
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    print(f"seed {seed}, {arguments.minutes:g} minutes, work in {folder}", flush=True)
    begin = time.monotonic()
    figures = torture(60 * arguments.minutes, seed, folder)
    kept = about(figures, time.monotonic() - begin, seed)
    for name, item in kept["campaigns"].items():
        print(f"{name}: {item['trials']} trials, {item['failures']} failures, {item['seconds']} s")
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"{kept['date'].replace(':', '').replace('-', '')}-{seed}.json"
    path.write_text(f"{json.dumps(kept, indent=1)}\n", encoding="ascii")
    print(path)
    if any(figure.failures for figure in figures.values()):
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
