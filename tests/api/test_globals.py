"""A fresh process after calls: environment, warnings, threads, folders and numbers are as before.

Packages change some of them when they are imported, which the first call does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

PROGRAM = '''
import json, logging, os, random, signal, sys, threading, time, warnings

def state():
    import numpy, torch
    from threadpoolctl import threadpool_info
    return {
        "environment": dict(os.environ), "folder": os.getcwd(), "path": list(sys.path),
        "warnings": [str(one) for one in warnings.filters], "shown": repr(warnings.showwarning),
        "threads": threading.active_count(), "hook": repr(sys.excepthook),
        "signals": [repr(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM)],
        "logging": [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        "random": hash(random.getstate()), "numbers": hash(numpy.random.get_state()[1].tobytes()),
        "errors": numpy.geterr(), "torch": [
            torch.get_num_threads(), torch.is_grad_enabled(), str(torch.get_default_dtype()),
            torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.benchmark, torch.initial_seed(),
            hash(torch.get_rng_state().numpy().tobytes()),
        ],
        "pools": sorted((one["filepath"], one["num_threads"]) for one in threadpool_info()),
    }

def first():
    """What needs no import of ours."""
    return {"environment": dict(os.environ), "warnings": [str(one) for one in warnings.filters]}

import numpy
fresh = first()
import bench
data = bench.load_dataset("mini")
draw = numpy.random.default_rng(0)
rows = [draw.standard_normal((count, 8)).astype("f4") for count in (49, 15)]
bench.evaluate(data, database=rows[0], queries=rows[1])
changed = [["first", name] for name, value in first().items() if value != fresh[name]]

import torch
kept = state()
folder = sys.argv[1]

def check(name):
    end = time.monotonic() + 20  # threads that decode end when they are idle
    while threading.active_count() > kept["threads"] and time.monotonic() < end:
        time.sleep(0.01)
    now = state()
    for key, value in kept.items():
        known = [one for one in now[key] if one in value] if key == "pools" else now[key]
        if known != value:
            changed.append([name, key, str(value)[:200], str(now[key])[:200]])

one = bench.evaluate(data, database=rows[0], queries=rows[1], stages=["k-reciprocal:5"])
check("evaluate")
other = bench.evaluate(data, database=rows[0] + 1, queries=rows[1], stages=["k-reciprocal:5"])
bench.compare(one, other)
check("compare")
bench.verify(one.save(folder))
bench.read_records(folder)
check("read")
one.sheet(os.path.join(folder, "sheet.png"), worst=1)
check("sheet")
bench.run("gem.untrained", "mini", limit=1, device="cpu")
check("run")
tensors = [torch.tensor(part) for part in rows]
bench.validate(torch.nn.Identity(), data, database=[tensors[0]], queries=[tensors[1]])
check("validate")
for wrong in ({"database": rows[0][:3]}, {"stages": ["aqe"]}, {"search": "ivf4,flat,nprobe9"}):
    try:
        bench.evaluate(data, **{"database": rows[0], "queries": rows[1], **wrong})
    except bench.BenchError:
        pass
check("an error")
print(json.dumps(changed))
'''


@pytest.mark.slow
def test_a_fresh_process_is_as_before_after_every_call(workspace, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    changed = json.loads(done.stdout)
    assert not changed, "\n".join(map(str, changed))
    assert done.stderr == ""
