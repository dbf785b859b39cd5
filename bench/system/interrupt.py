"""Ctrl-C and SIGTERM: stop within a second or two, and say how to go on.

Python raises KeyboardInterrupt only between two of its own steps, and then waits for threads and
worker processes. So a thread of its own watches for the signals: if the process has not ended a
moment later, it ends it. That is safe at any time, because files appear complete or not at all.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import signal
import socket
import sys
import threading
import time
from multiprocessing import connection
from typing import NoReturn

from bench.system.notes import note

STATUS = 130
PATIENCE_S = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM)

_once = threading.Lock()


def watch() -> None:
    """Let SIGINT and SIGTERM end this process soon, with status 130; for its main thread.

    Processes forked from it leave Ctrl-C to it, and end at SIGTERM without a word.
    """
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    seen, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=leave_to_parent)
    threading.Thread(target=_end, args=(seen, told), daemon=True).start()


def leave_to_parent() -> None:
    """Ignore Ctrl-C, which a terminal sends to workers as well; for the begin of a worker."""
    with contextlib.suppress(ValueError):  # not the main thread: no handler to restore
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def follow_parent() -> None:
    """Leave Ctrl-C to the process that gives out the work, and do not outlive it; for a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def say() -> None:
    """Say once that the command was stopped, and how to go on."""
    if _once.acquire(blocking=False):
        command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
        note("", "stopped; run the same command again to continue:", f"  {command}")


def _interrupt(_number: int, _frame: object) -> NoReturn:
    for number in SIGNALS:  # the first is enough
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end(seen: socket.socket, _told: socket.socket) -> None:
    """Wait for a signal, give the process a moment to end by itself, and end it."""
    while seen.recv(1)[0] not in SIGNALS:
        pass
    time.sleep(PATIENCE_S)
    leave()


def leave() -> NoReturn:
    """End the process and its workers at once: taking down large libraries takes seconds."""
    say()
    if threading.current_thread() is threading.main_thread():  # else it may hold the lock
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(STATUS)
