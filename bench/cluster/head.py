"""The head of the cluster: whether it can still be reached, and the end of a run where it cannot.

Without it nothing can be done: every call into Ray would wait, the one that ends it too.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from bench.system.notes import note

LOOK_S = 2.0  # between two looks, and for an answer
PATIENCE_S = 30.0  # Ray ends this process without our message after 60 s


def address_of(ray: Any) -> str:
    """Return HOST:PORT of the head of the cluster that the module `ray` is connected to."""
    return str(ray.get_runtime_context().gcs_address)


def fault(address: str) -> str | None:
    """Return why a head cannot be reached, None where it can."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), LOOK_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


@contextlib.contextmanager
def watched(ray: Any) -> Iterator[None]:
    """Until the end of the block, end this process with a sentence where the head is gone."""
    address, over = address_of(ray), threading.Event()

    def watch() -> None:
        answered = time.monotonic()
        while not over.wait(LOOK_S):
            why = fault(address)
            if why is None:
                answered = time.monotonic()
            elif time.monotonic() - answered > PATIENCE_S and not over.is_set():
                note(
                    f"error: the head of the cluster at {address} no longer answers ({why}). "
                    "Finished shards are kept: start the cluster, then run the same command "
                    "again."
                )
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
