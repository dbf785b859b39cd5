"""Two hosts that share no folder, in network namespaces with a mount namespace of their own.

The second host sees neither the images nor the store nor the method's file: they go over the wire.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support import clusters, small_net
from tests.support.checkout import ROOT

NAMES = "rb-near", "rb-far"
NEAR, FAR, PORT = "10.77.13.1", "10.77.13.2", 6391
SOON = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 6,
}
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def can_make_hosts() -> bool:
    if not (shutil.which("ip") and shutil.which("unshare") and os.geteuid() == 0):
        return False
    made = subprocess.run(["ip", "netns", "add", "rb-try"], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "del", "rb-try"], capture_output=True, check=False)
    return made.returncode == 0


pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(clusters.MISSING, reason=clusters.REASON),
    pytest.mark.skipif(not can_make_hosts(), reason="needs root, iproute2 and unshare (Linux)"),
]


class Hosts:
    """The two hosts; `folder` is the near one's, and empty for the far one."""

    def __init__(self, base: Path) -> None:
        """Connect two network namespaces by a cable."""
        self.folder, self.base = base / "near", base
        self.folder.mkdir()
        near, far = NAMES
        for name in NAMES:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", "rb0", "netns", near, "type", "veth", "peer", "rb1", "netns", far)
        for name, device, address in ((near, "rb0", NEAR), (far, "rb1", FAR)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def _start(self, name: str, command: list[str], **environment: str) -> None:
        environment = {**os.environ, **clusters.ENVIRONMENT, **environment}
        del environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]  # this is one
        self.running[name] = subprocess.Popen(
            ["ip", "netns", "exec", name, *command],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def near(self) -> None:
        """Start the head."""
        command = [
            *RAY, "--head", "--num-cpus=0", f"--node-ip-address={NEAR}", f"--port={PORT}",
            "--include-dashboard=false", f"--temp-dir={self.folder}/ray",
            f"--system-config={json.dumps(SOON)}", "--object-store-memory=100000000",
        ]  # fmt: skip
        self._start(NAMES[0], command, RETRIEVAL_BENCH_CACHE=str(self.base / "cache-near"))
        end = time.monotonic() + 120
        while subprocess.run(
            ["ip", "netns", "exec", NAMES[0], "bash", "-c", f"true < /dev/tcp/{NEAR}/{PORT}"],
            capture_output=True,
            check=False,
        ).returncode:
            assert time.monotonic() < end
            time.sleep(0.2)

    def far(self) -> None:
        """Start the other node, which joins."""
        hide = f'mount -t tmpfs none {self.folder} && exec "$@"'
        command = [
            "unshare", "-m", "sh", "-c", hide, "sh",
            *RAY, "--num-cpus=1", f"--address={NEAR}:{PORT}", f"--node-ip-address={FAR}",
            "--object-store-memory=100000000",
        ]  # fmt: skip
        self._start(NAMES[1], command, RETRIEVAL_BENCH_CACHE=str(self.base / "cache-far"))

    def kill(self, name: str) -> None:
        """End every process of a host at once."""
        done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, check=False)
        for pid in map(int, done.stdout.split()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if name in self.running:
            self.running.pop(name).wait(30)

    def close(self) -> None:
        """Take both hosts away."""
        for name in NAMES:
            self.kill(name)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with tempfile.TemporaryDirectory(prefix="rbh", dir="/tmp") as base:  # sockets: a short name
        made = Hosts(Path(base))
        try:
            yield made
        finally:
            made.close()


def test_a_host_without_a_shared_folder_that_leaves_and_returns(hosts: Hosts) -> None:
    pictures = clusters.pictures(hosts.folder / "pictures", 1500)
    method = pictures / "halves.py"
    method.write_text(method.read_text().replace(f'"{pictures}"', f'"{hosts.base}"'))
    arguments = ["run", "--method", method, "--dataset", pictures]
    local, place = hosts.folder / "local", hosts.folder / "run"
    clusters.ended(clusters.start(local, *arguments))
    clusters.described(hosts.base)
    hosts.near()
    hosts.far()
    (hosts.base / "slow").write_text("0.5")
    log = hosts.base / "log"
    with log.open("w") as text:
        running = clusters.start(
            place, *arguments, "--engine", "ray", "--ray-address", f"{NEAR}:{PORT}",
            before=("ip", "netns", "exec", NAMES[0]), log=text,
        )  # fmt: skip

        def far_works() -> None:
            """Wait until the far host, the only one that can work, is in its second shard."""
            before = len(clusters.shards(place))
            clusters.until(lambda: len(clusters.shards(place)) > before, running, 300)
            clusters.described(hosts.base)
            clusters.until((hosts.base / "count").exists, running, 300)

        far_works()
        hosts.kill(NAMES[1])
        clusters.until(lambda: log.read_text().count("is lost") == 1, running, 120)
        hosts.far()
        far_works()
        ip("-n", NAMES[0], "link", "set", "rb0", "down")
        clusters.until(lambda: log.read_text().count("is lost") == 2, running, 120)
        ip("-n", NAMES[0], "link", "set", "rb0", "up")
        hosts.running[NAMES[1]].wait(120)  # Ray ends a node that was given up
        hosts.kill(NAMES[1])
        hosts.far()
        far_works()
        (hosts.base / "slow").write_text("0")
        clusters.ended(running)
    assert clusters.stored(place) == clusters.stored(local)
    assert clusters.results(place) == clusters.results(local)
    nodes = clusters.nodes(place)
    assert [node["lost"] for node in nodes].count(True) == 2
    assert sum(node["images"] for node in nodes) == 1505
    near, *far = nodes
    assert near["shards"] == near["fetched_bytes"] == 0
    assert len(far) == 3
    size = (pictures / "jpg" / "00000.png").stat().st_size
    for node in far:
        assert 0 < node["images"] <= node["fetched_bytes"] // (size // 2)


def test_images_by_url_and_weights_from_the_driver(hosts: Hosts) -> None:
    pictures = clusters.pictures(hosts.folder / "pictures", 200)
    bucket = shutil.copytree(pictures / "jpg", hosts.base / "bucket")
    method = shutil.copy(ROOT / "tests" / "support" / "small_net.py", hosts.folder)
    torch.manual_seed(3)
    weights = hosts.folder / "small.safetensors"
    save_file(small_net.Net().state_dict(), weights)
    arguments = ["run", "--method", method, "--weights", weights, "--dataset", pictures]
    local, place = hosts.folder / "local", hosts.folder / "run"
    clusters.ended(clusters.start(local, *arguments))
    hosts.near()
    hosts.far()
    on = ["--engine", "ray", "--ray-address", f"{NEAR}:{PORT}", "--image-url", f"file://{bucket}"]
    enter = "ip", "netns", "exec", NAMES[0]
    clusters.ended(clusters.start(place, *arguments, *on, before=enter))
    assert clusters.stored(place) == clusters.stored(local)
    assert clusters.results(place) == clusters.results(local)
    near, far = clusters.nodes(place)
    sizes = [file.stat().st_size for file in sorted(bucket.iterdir())]
    assert near["shards"] == 0
    assert far["fetched_bytes"] == sum(sizes) + sum(sizes[:5])
