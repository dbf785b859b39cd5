"""The pages of bench/cluster: their commands are run as they stand, where one machine allows it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import clusters
from tests.support.checkout import ROOT

PAGES = ROOT / "bench" / "cluster"
PLACES = ("shared-folder", "laptop", "hosts", "slurm", "kubernetes")
NAMES = ("README", "what-travels", "why-actors", *PLACES)
ray_needed = pytest.mark.skipif(clusters.MISSING, reason=clusters.REASON)


def blocks(page: str, language: str = "") -> list[str]:
    """Return the code of a page, block by block."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [code for name, code in found if name == language]


def commands(page: str) -> list[str]:
    """Return the lines of a page that call the command line."""
    lines = [line for code in blocks(page) for line in code.splitlines()]
    return [line for line in lines if line.startswith("python -m bench ")]


def test_every_page_is_found_from_the_readme_and_every_link_leads_somewhere() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == set(NAMES)
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    top = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in NAMES[1:]:
        assert f"]({name}.md)" in index
    assert "](bench/cluster/README.md)" in top
    for page in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (PAGES / target).is_file(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", NAMES)
def test_options_of_the_pages_exist(page: str) -> None:
    from bench.commands import main

    lines = [*commands(page)]
    for language in ("bash", "yaml"):
        for code in blocks(page, language):
            lines += re.findall(r"python -m bench [^\n&]*", code)
    assert lines or page not in PLACES
    for line in lines:
        command, prog, words = main.find(shlex.split(line)[3:])
        assert command.read(prog, words)


@pytest.mark.cluster
@ray_needed
def test_the_commands_of_the_laptop_page(process: Callable[..., Any], tmp_path: Path) -> None:
    ran = 0
    for line in commands("laptop"):
        words = shlex.split(line)[3:]
        if "--ray-address" in words:
            continue
        words = [str(tmp_path / word) if word.endswith(".npz") else word for word in words]
        words += ["--results", str(tmp_path)] if words[0] == "run" else []
        text = process(*words)
        assert text.status == 0, text.err
        ran += 1
        if "--dry-run" in words:
            assert "expected time on the cluster: " in text.out
        elif words[0] == "run":
            assert ">> mini: " in text.out
    assert ran == 3
    assert (tmp_path / "queries.npz").is_file()


def in_a_world_of_its_own() -> bool:
    """Tell whether network and processes can be hidden, as `ray stop` ends all that it finds."""
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("ip")):
        return False
    tried = "ip link add near type veth peer name far"
    return not subprocess.run(
        ["unshare", "-n", "-p", "-f", "--mount-proc", "sh", "-c", tried],
        capture_output=True,
        check=False,
    ).returncode


@pytest.mark.cluster
@ray_needed
@pytest.mark.skipif(not in_a_world_of_its_own(), reason="needs root and namespaces (Linux)")
def test_the_commands_of_a_head_started_by_hand(tmp_path: Path) -> None:
    """Token, head, run and end, as on the page; who has no token is refused."""
    code = blocks("hosts")
    token = next(some for some in code if "get-auth-token" in some)
    head = next(some for some in code if "ray start --head" in some)
    run = next(some for some in code if "python -m bench" in some)
    small = " --num-cpus=1 --object-store-memory=100000000 --temp-dir=$HOME/r"
    # Ray gives itself 30 s to start, which a busy machine may need more than once.
    script = f"""
set -e
ip link set lo up
ip link add near type veth peer name far
ip addr add 10.0.0.1/24 dev near
ip link set near up
ip link set far up
{token}
test $(stat -c %a ~/.ray/auth_token) = 600
head() {{
{head.rstrip()}{small}
}}
head || {{ ray stop --force; head; }} || {{ ray stop --force; head; }}
{run.rstrip()} --output $HOME/results
ss -ltnH | awk '{{print $4}}' | sed 's/.*://' | sort -u > $HOME/ports
unset RAY_AUTH_MODE
echo refused: $(RAY_AUTH_MODE=disabled timeout 25 {run.splitlines()[-1]} --force 2>&1 | tail -n 1)
ray stop
"""
    home = Path("/tmp") / f"rb{os.getpid()}"  # short: the names of sockets have a limit
    home.mkdir()
    try:
        done = subprocess.run(
            ["unshare", "-n", "-p", "-f", "--mount-proc", "bash", "-c", script],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=400,
            env={
                "HOME": str(home), "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0",
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "RETRIEVAL_BENCH_CACHE": str(tmp_path / "cache"),
                "RETRIEVAL_BENCH_DATA": str(tmp_path / "data"),
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert ">> mini: " in done.stdout
        assert ">> mini: " not in done.stdout.split("refused:")[1]
        open_ports = {int(port) for port in (home / "ports").read_text().split()}
        closed = {*range(6379, 6390), *range(10002, 11000)}
        assert open_ports <= closed, "ports that the firewall of the page leaves open"
        assert 6379 in open_ports
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_the_script_for_slurm_is_one(tmp_path: Path) -> None:
    (script,) = blocks("slurm", "bash")
    file = tmp_path / "job.sh"
    file.write_text(script)
    subprocess.run(["bash", "-n", str(file)], check=True)
    assert script.startswith("#!/bin/bash\n#SBATCH ")
    (process,) = re.findall(r"ray symmetric-run(.*?) -- ", script)
    every_node = {"--address", "--min-nodes", "--num-cpus", "--num-gpus"}
    assert set(re.findall(r"--[a-z-]+", process)) <= every_node, "options of the head alone"


def test_the_resources_for_kubernetes_are_whole() -> None:
    job, policy = (yaml.safe_load(code) for code in blocks("kubernetes", "yaml"))
    cluster = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert cluster["authOptions"] == {"mode": "token"}
    head, (group,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["serviceType"] == "ClusterIP"
    for part in (head, group):
        pod = part["template"]["spec"]
        (container,) = pod["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert {item["name"] for item in container["env"]} >= {"RETRIEVAL_BENCH_CACHE"}
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"]["podSelector"] == {"matchLabels": {"ray.io/is-ray-node": "yes"}}
