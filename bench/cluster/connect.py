"""The connection to Ray: the only place that imports it, and only when it is asked for.

Without an address, a cluster starts on this machine. It listens on the loopback address, asks for a
token that is drawn for it, has no dashboard, and stops with the run. With an address, the run joins
a running cluster; its owner is responsible for its settings and security.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bench.cluster import head
from bench.errors import BenchError
from bench.root import ROOT
from bench.system import interrupt

Engine = Literal["local", "ray"]

INSTALL = "python -m pip install -r requirements/ray.txt"
PATIENCE_S = 10.0
LONGEST = 20  # characters of a folder in which the names of Ray's sockets fit the system's limit

# What workers get of the checkout; all else stays here. The last match of a path counts.
CODE = ("/*", "!.", "!/bench", "!/methods", "!/datasets", "!/noxfile.py", "/datasets/mini-data")
NOT_CODE = ("__pycache__", "*.pyc")

# Read by Ray when it is imported. On a machine of its own it would listen on every address.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}


@contextlib.contextmanager
def engine(name: Engine, address: str | None = None) -> Iterator[Any]:
    """Give the module `ray`, connected until the end of the block; None for the engine local.

    `address` is "auto" (the cluster that this host belongs to), "HOST:PORT", or None for a cluster
    of this machine alone.
    """
    if name == "local":
        if address is not None:
            raise BenchError(
                "--ray-address needs --engine ray; add --engine ray, or remove --ray-address."
            )
        yield None
        return
    with contextlib.ExitStack() as stack:
        private = None if address is not None else stack.enter_context(folder())
        ray = _import(QUIET if address is not None else QUIET | LOOPBACK)
        handlers = {number: signal.getsignal(number) for number in interrupt.SIGNALS}
        try:
            if address is None:
                _start(ray, private)
            else:
                _join(ray, address)
        finally:  # Ray has its own way to end at SIGTERM
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        stack.callback(ray.shutdown)
        stack.enter_context(head.watched(ray))
        yield ray


def _import(settings: Mapping[str, str]) -> Any:
    """Return the module, or raise the sentence that says how to install it."""
    for key, value in settings.items():
        os.environ.setdefault(key, value)
    if os.environ.get("RAY_AUTH_MODE") == "token" and settings.keys() >= LOOPBACK.keys():
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        import ray
    except ImportError as error:
        raise BenchError(
            f"--engine ray needs the package ray, which cannot be imported ({error}); install it "
            f"with `{INSTALL}`, or remove --engine."
        ) from error
    return ray


def _common(temporary: str | None = None) -> dict[str, Any]:
    """Return what every connection needs; workers write below the folder `temporary`."""
    variables = {"OMP_WAIT_POLICY": "passive"}
    if temporary is not None:
        variables["TMPDIR"] = temporary
    return {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "namespace": f"bench-{secrets.token_hex(8)}",
        "runtime_env": {
            "working_dir": str(ROOT),
            "excludes": [*CODE, *NOT_CODE],
            "env_vars": variables,
        },
    }


def _start(ray: Any, folder: str | None) -> None:
    """Start a cluster of this machine alone; it ends with this process."""
    start = partial(ray.init, "local", include_dashboard=False, _temp_dir=folder)
    try:
        try:
            start(**_common(folder))
        except Exception:  # noqa: BLE001 - its patience of 30 s is short for a busy machine
            ray.shutdown()
            start(**_common(folder))
    except Exception as error:
        raise BenchError(
            f"Ray could not be started on this machine: {_sentence(error)}; try again, or use "
            "--engine local."
        ) from error


def _join(ray: Any, address: str) -> None:
    """Connect to a cluster that is there; this host must be one of its nodes."""
    mine: dict[str, Any] = {}
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S) as reached:
                mine["_node_ip_address"] = reached.getsockname()[0]
        except OSError as error:
            raise BenchError(
                f"nothing answers at --ray-address {address} ({error.strerror or error}); start "
                f"a cluster there with `ray start --head --port={port} "
                "--include-dashboard=false`, or remove the option to use a cluster of this "
                "machine alone."
            ) from error
    try:
        ray.init(address=address, **mine, **_common())
    except Exception as error:
        known = address if address != "auto" else "HOST:PORT"
        raise BenchError(
            f"--ray-address {address}: {_sentence(error)}. This host must be a node of the "
            f"cluster: `ray start --address={known}` joins it."
        ) from error


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """Give a temporary folder, removed at the end; those of processes that were killed go too."""
    home = Path(tempfile.gettempdir())
    if len(str(home)) > LONGEST:
        home = Path("/tmp")
    for old in home.glob("bench-ray-*"):
        pid = old.name.split("-")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(old, ignore_errors=True)
    made = tempfile.mkdtemp(prefix=f"bench-ray-{os.getpid()}-", dir=home)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _sentence(error: BaseException) -> str:
    """Return the first line of what Ray says, without its full stop."""
    cause = error.__cause__ or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or ['no reason given'])[0].rstrip('.')}"
