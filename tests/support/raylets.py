"""A Ray cluster on this machine for tests: a program of its own, told what to do by its input.

`python raylets.py MIB`, the size of the object store of each node.

It prints the address, then answers each line of its input with one of JSON: `add CPUS` (the pid of
the new node's raylet), `kill PID` (a node, at once), `workers PID` (the pids of a node's workers),
`head 0` (the pid of the process that all others ask, which nothing replaces).
Its head has no processors to give. It ends, with all nodes, when its input does.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from ray.cluster_utils import Cluster

SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 6,
}


def children(pid: int) -> list[int]:
    """Return the processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def called(pid: int) -> bytes:
    """Return how a process is called, nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def patiently(make):
    """Return what is made; Ray gives a node 30 s to start, and a busy machine needs more."""
    for _ in range(5):
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - Ray raises no other
            print(error, file=sys.stderr)
    return make()


def main(folder: str, store_mib: int) -> None:
    """Obey until the input ends; Ray writes below `folder`, objects of a node take so many MiB."""
    head = {
        "num_cpus": 0,
        "object_store_memory": store_mib << 20,
        "include_dashboard": False,
        "_system_config": SOON,
        "temp_dir": folder,  # and not where `--ray-address auto` looks
    }
    cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    print(json.dumps(cluster.address), flush=True)
    nodes = {}
    for line in sys.stdin:
        word, number = line.split()
        if word == "add":
            wanted = {"num_cpus": int(number), "object_store_memory": store_mib << 20}
            node = patiently(partial(cluster.add_node, **wanted))
            pid = node.all_processes["raylet"][0].process.pid
            nodes[pid] = node
            answer = pid
        elif word == "kill":
            every = [int(number), *children(int(number))]
            for pid in every:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            answer = every
        elif word == "head":
            answer = cluster.head_node.all_processes["gcs_server"][0].process.pid
        else:
            answer = [pid for pid in children(int(number)) if b"ray::" in called(pid)]
        print(json.dumps(answer), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="rbc", dir="/tmp") as short:  # sockets lie there
        # Where a cluster notes its address, in a folder that only real programs make.
        os.environ["RAY_TMPDIR"] = short
        (Path(short) / "ray").mkdir()
        main(short, int(sys.argv[1]))
