"""All that is measured on a GPU, in one prepared script: `python -m tests.perf.gpu`.

It takes the interpreter that runs it, from the checkout alone, and makes its photographs and rows
itself; `--quick` rehearses every part on a processor in minutes. Every part is a process with a
time limit, and writes each figure the moment it has it; what a part lacks, a package for instance,
makes it "not run". The file, `gpu.json`, is written anew after every part, and after SIGTERM; a
kill leaves the file of the parts before. It is in the folder $OUT, or in results/perf/gpu. The
script ends after `--seconds`, which a rehearsal has more of, as its processors may have other work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESERVE_S = 5.0  # of the time, to write what there is


@dataclass(frozen=True)
class Part:
    """A part by its name, and the most seconds it may take; `quick_s` with --quick."""

    name: str
    most_s: float
    quick_s: float = 240.0


# What is most wanted first: a run that is cut short has it.
PARTS = (
    Part("images", 45),
    Part("extract dolg.r50", 60),
    Part("extract vit-b14", 45),
    Part("search many rows", 75),
    Part("search many queries", 45),
    Part("agreement", 45),
    Part("extract token.r50", 50),
    Part("extract delg.r101-port", 60),
    Part("decode", 20),
    Part("verification", 20),
    Part("tests", 60),
    Part("compile", 75),
)


def arguments(inputs: list[str] | None = None) -> argparse.Namespace:
    """Return the options; `--part`, `--folder` and `--lines` are for the processes of the parts."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.gpu", description=__doc__)
    parser.add_argument("--seconds", type=float, help="end after so many (480; --quick: 1200)")
    parser.add_argument("--quick", action="store_true", help="rehearse on a processor, in minutes")
    parser.add_argument("--out", type=Path, help="folder of gpu.json ($OUT, or results/perf/gpu)")
    parser.add_argument("--only", action="append", help="run this part alone; repeatable")
    for name in ("--part", "--folder", "--lines"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args(inputs)
    if options.seconds is None:  # a rehearsal may share its processors
        options.seconds = 1200.0 if options.quick else 480.0
    return options


def about() -> dict[str, Any]:
    """Return the machine, as far as the standard library and torch tell."""
    out: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "commit": _commit(),
        "device": "cpu",
    }
    try:
        import torch

        out["torch"] = torch.__version__
        if torch.cuda.is_available():
            found = torch.cuda.get_device_properties(0)
            out |= {"device": found.name, "device_bytes": found.total_memory,
                    "cuda": torch.version.cuda}  # fmt: skip
    except ImportError as error:
        out["torch"] = f"not here: {error}"
    return out


def _commit() -> str | None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    return None


@dataclass
class Report:
    """What there is to write, and where."""

    path: Path
    content: dict[str, Any]

    def write(self) -> None:
        """Write the file, complete or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(f".{os.getpid()}.tmp")
        beside.write_text(f"{json.dumps(self.content, indent=1)}\n", encoding="utf-8")
        beside.replace(self.path)

    def part(self, name: str, state: str, seconds: float, figures: list[dict[str, Any]]) -> None:
        """Add a part, and write."""
        self.content["parts"].append(
            {"part": name, "state": state, "seconds": round(seconds, 1), "figures": figures}
        )
        self.write()
        print(f"{name}: {state}, {seconds:.1f} s", flush=True)
        for figure in figures:
            print(f"  {json.dumps(figure)}", flush=True)


class Stopped(Exception):  # noqa: N818
    """SIGTERM or Ctrl-C."""


def main(inputs: argparse.Namespace) -> int:
    """Run all parts; return 0 if every part was done, 1 if not."""

    def stop(*_signal: object) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    end = time.monotonic() + inputs.seconds - RESERVE_S
    out = inputs.out or Path(os.environ.get("OUT") or ROOT / "results" / "perf" / "gpu")
    content = {**about(), "quick": inputs.quick, "parts": []}
    report = Report(out / "gpu.json", content)
    report.write()
    state, work = "stopped", tempfile.mkdtemp(prefix="gpu-")
    try:
        for part in PARTS:
            if inputs.only and part.name not in (*inputs.only, "images"):
                continue
            left = end - time.monotonic()
            if left <= 1:
                report.part(part.name, "not run: the time is over", 0.0, [])
            else:
                _run(part, min(part.quick_s if inputs.quick else part.most_s, left), inputs, work,
                     report)  # fmt: skip
        state = "finished"
    except Stopped:
        print("stopped", flush=True)
    finally:
        content["state"] = state
        report.write()
        _remove(work)
    print(report.path)
    done = all(part["state"] == "done" for part in report.content["parts"])
    return 0 if state == "finished" and done else 1


def _run(part: Part, limit: float, inputs: argparse.Namespace, work: str, report: Report) -> None:
    """Run a part in a process of its own, at most `limit` seconds; keep the figures it wrote."""
    lines, start = Path(work) / f"{part.name.replace(' ', '-')}.jsonl", time.monotonic()
    asked = [sys.executable, "-m", "tests.perf.gpu", "--part", part.name, "--folder", work,
             "--lines", str(lines), "--seconds", str(limit)]  # fmt: skip
    asked += ["--quick"] if inputs.quick else []
    environment = {**os.environ, "RETRIEVAL_BENCH_CACHE": f"{work}/cache", "OMP_WAIT_POLICY":
                   "passive", "PYTHONPATH": str(ROOT)}  # fmt: skip
    with (Path(work) / "said").open("w+b") as text:
        child = subprocess.Popen(
            asked, cwd=ROOT, env=environment, stdout=text, stderr=text, start_new_session=True
        )
        try:
            status: int | None = child.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            text.seek(0)
            words = text.read().decode(errors="replace").strip().splitlines()
            figures = _figures(lines)
            state = _state(status, words, limit)
            report.part(part.name, state, time.monotonic() - start, figures)


def _figures(lines: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file of figures; a kill may have cut the last."""
    out = []
    if lines.is_file():
        for line in lines.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                out.append(json.loads(line))
    return out


def _state(status: int | None, words: list[str], limit: float) -> str:
    if status == 0:
        return "done"
    if status is None:
        return f"cut short after {limit:.0f} s"
    last = words[-1] if words else f"status {status}"
    absent = "ModuleNotFoundError" in last or "ImportError" in last
    return f"not run: {last}" if absent else f"failed: {last}"


def _remove(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    options = arguments()
    if options.part:
        from tests.perf import gpu_parts

        gpu_parts.main(options)
    else:
        sys.exit(main(options))
