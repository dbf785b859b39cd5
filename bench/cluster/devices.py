"""Several devices of this host: a process for each describes shards of one store.

The first device is this process's own. A process for each of the others loads the method there and
takes shards as a run on another host does: under a lock per shard, the one who gets it first. What
a process leaves undone, whatever ended it, this process makes, so nothing is lost with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bench import plugins
from bench.describe import engine, extract
from bench.errors import BenchError
from bench.plugins import split
from bench.quiet import quiet
from bench.search import exact
from bench.store import shards
from bench.system import interrupt, machine
from bench.system.progress import Progress

if TYPE_CHECKING:
    from bench.cluster.recipe import Recipe

TICK_S = 0.2


def several(text: str | None) -> tuple[str | None, ...]:
    """Return the devices that `--device` names; refuse those that cannot fill one store.

    A GPU is named once; the processor as often as there shall be processes.
    """
    named = text.split(",") if text else [None]
    if len(named) == 1:
        return (text,)
    found = [machine.pick_device(name) for name in named]
    kinds = sorted({device.partition(":")[0] for device in found})
    if len(kinds) > 1:
        raise BenchError(
            f"--device {text}: descriptors of {' and '.join(kinds)} differ by rounding and are "
            "stored separately; name devices of one kind."
        )
    gpus = [device if ":" in device else f"{device}:0" for device in found if kinds == ["cuda"]]
    twice = sorted({device for device in gpus if gpus.count(device) > 1})
    if twice:
        raise BenchError(f"--device {text}: {', '.join(twice)} is named twice; name a GPU once.")
    return tuple(found)


@dataclass(frozen=True)
class Task:
    """The shards of a job, for a process that has loaded the method itself."""

    number: int
    work: extract.Work  # its network is None on the way
    todo: Sequence[int]


@dataclass(frozen=True)
class Told:
    """What a process says: it is ready, images it described, a shard it made, or why it ends.

    `shard` comes before the lock of the shard is let go, so that who takes the lock knows of it.
    """

    job: int = -1
    images: int = 0
    shard: int | None = None
    faults: tuple[str, ...] = ()
    seconds: float = 0.0
    text: str | None = None
    ready: bool = False
    over: bool = False
    error: str | None = None


@dataclass
class Helper:
    """A process beside this one, and what it has done."""

    device: str
    process: BaseProcess | None = None
    connection: Connection | None = None
    working: bool = False
    workers: int = 1
    shards: int = 0
    images: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def crew(
    devices: Sequence[str], method: str, weights: str | None, loaded: engine.Loaded
) -> Iterator[Devices]:
    """Give what describes on all of `devices`, the first in this process, until the block ends."""
    found = Devices([Helper(device) for device in devices], method, weights, loaded)
    try:
        yield found
    finally:
        found.close()


def hired(
    devices: Sequence[str | None], method: str, weights: str | None, loaded: engine.Loaded
) -> AbstractContextManager[Devices] | None:
    """Return the crew of several devices; None for one."""
    named = [device for device in devices if device is not None]
    return crew(named, method, weights, loaded) if len(named) > 1 else None


@dataclass
class Devices:
    """Called as `extract.one_by_one` is, it makes the missing shards of a job on all devices."""

    helpers: list[Helper]
    method: str
    weights: str | None
    loaded: engine.Loaded
    jobs: int = 0
    made: dict[int, tuple[str, ...]] = field(default_factory=dict)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, job: extract.Job, progress: Progress) -> tuple[int, list[str]]:
        """Make the shards; return images described, and a sentence for each that cannot be."""
        kept, own, self.made = job.work.store, self.helpers[0], {}
        self.jobs += 1
        self._begin(job)
        left_out, mine, over = list[int](), dict[int, list[str]](), threading.Event()
        listener = threading.Thread(target=self._listen, args=(progress, over), daemon=True)
        listener.start()
        progress.rename(f"{job.phase} ({len(self.helpers)} devices)")
        try:
            partial = job.work.allow_missing
            for shard in shards.claim(kept, list(job.todo), left_out.append, partial=partial):
                self._receive(progress, 0)
                if shard in self.made:  # whole but for images that cannot be decoded
                    continue
                start = time.perf_counter()
                mine[shard] = list(extract.make_shard(job.work, shard, progress).values())
                first, end = kept.span(shard)
                own.shards, own.images = own.shards + 1, own.images + end - first
                own.seconds += time.perf_counter() - start
            while any(helper.working for helper in self.helpers):
                self._receive(progress, TICK_S)
        finally:
            over.set()
            listener.join()
        if not all(helper.workers for helper in self.helpers):
            shards.tidy(kept)
        elsewhere = [shard for shard in left_out if shard not in self.made]
        progress.leave_out(sum(end - first for first, end in map(kept.span, elsewhere)))
        described = {**self.made, **{shard: tuple(faults) for shard, faults in mine.items()}}
        count = sum(end - first for first, end in map(kept.span, described))
        return count, [fault for shard in sorted(described) for fault in described[shard]]

    @property
    def hand_out(self) -> exact.HandOut:
        """Search in this process, with the first device."""
        return exact.here

    def about(self) -> list[dict[str, Any]]:
        """Return what a record keeps of every device, as of the nodes of a cluster."""
        listed = []
        for helper in self.helpers:
            found = machine.describe(helper.device)
            rate = helper.images / helper.seconds if helper.seconds else None
            listed.append(
                {
                    "host": os.uname().nodename,
                    "cores": found["cores"],
                    "device": helper.device,
                    "device_name": found["device_name"],
                    "precision": engine.precision(self.loaded),
                    "workers": helper.workers,
                    "shards": helper.shards,
                    "images": helper.images,
                    "images_per_s": None if rate is None else round(rate, 3),
                    "fetched_bytes": 0,
                }
            )
        return listed

    def close(self) -> None:
        """End the processes; what one has in work is made again another time."""
        for helper in self.helpers:
            if helper.connection is not None:
                helper.connection.close()
            if helper.process is not None:
                helper.process.kill()
                helper.process.join()
            helper.process = helper.connection = None

    def _begin(self, job: extract.Job) -> None:
        """Send the job to as many processes as there are shards beside one for this process."""
        nothing: Any = None  # each process has a network of its own
        work = replace(job.work, loaded=nothing)
        task = Task(self.jobs, work, list(job.todo))
        for helper in self.helpers[1 : len(job.todo)]:
            if helper.process is None and helper.workers:
                self._start(helper)
            if helper.connection is not None:
                with contextlib.suppress(OSError):  # it has ended; `_receive` reports it
                    helper.connection.send(task)
                helper.working = True

    def _start(self, helper: Helper) -> None:
        from bench.cluster import recipe as recipes  # it imports torch

        recipe = recipes.of(self.method, self.weights, self.loaded)
        spawn = multiprocessing.get_context("spawn")
        helper.connection, theirs = spawn.Pipe()
        helper.process = spawn.Process(
            target=serve, args=(replace(recipe, device=helper.device), theirs), daemon=False
        )
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # else a user's script would run there too
        try:  # a terminal sends Ctrl-C to both; this process ends the other
            helper.process.start()
        finally:
            sys.modules["__main__"] = program
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def _listen(self, progress: Progress, over: threading.Event) -> None:
        """Take what the processes say while this one describes."""
        while not over.wait(TICK_S):
            self._receive(progress, 0)

    def _receive(self, progress: Progress, timeout: float) -> None:
        """Take all messages of the processes; wait at most this long for the first."""
        with self.mutex:
            by = {h.connection: h for h in self.helpers if h.connection is not None}
            for connection in wait(list(by), timeout):
                helper = by[connection]  # type: ignore[index]
                try:
                    while helper.connection is not None and helper.connection.poll():
                        self._take(helper, helper.connection.recv(), progress)
                except (EOFError, OSError):
                    self._lose(helper, progress, None)

    def _take(self, helper: Helper, told: Told, progress: Progress) -> None:
        if told.text is not None:
            progress.note(f"{helper.device}: {told.text}")
        if told.error is not None:
            self._lose(helper, progress, told.error)
        if told.job != self.jobs:
            return
        progress.advance(told.images)
        helper.images, helper.seconds = helper.images + told.images, helper.seconds + told.seconds
        if told.shard is not None:
            self.made[told.shard] = told.faults
            helper.shards += 1
        helper.working = helper.working and not told.over

    def _lose(self, helper: Helper, progress: Progress, why: str | None) -> None:
        """Do without a process; one sentence says why."""
        if helper.process is not None and why is None:
            helper.process.join()
            code = helper.process.exitcode or 0
            how = f"signal {-code}" if code < 0 else f"status {code}"
            why = f"its process ended ({how}), perhaps because memory ran out."
        progress.note(
            f"{helper.device} is no longer used: {why} The other devices take over its images."
        )
        if helper.process is not None:
            helper.process.kill()
            helper.process.join()
        if helper.connection is not None:
            helper.connection.close()
        helper.process, helper.connection, helper.working, helper.workers = None, None, False, 0


class Count(Progress):
    """Tells the first process of images and notes."""

    def __init__(self, connection: Connection, job: int) -> None:
        """Take the connection to it."""
        super().__init__("", None, quiet=True)
        self.connection, self.job = connection, job

    def advance(self, count: int = 1) -> None:
        """Say that images are done."""
        self.connection.send(Told(self.job, images=count))

    def note(self, text: str) -> None:
        """Pass a note on, once."""
        if text not in self.notes:
            self.notes.add(text)
            self.connection.send(Told(self.job, text=text))


def serve(recipe: Recipe, connection: Connection) -> None:
    """Load the method and make shards of one job after another, until the first process ends."""
    interrupt.follow_parent()
    try:
        from bench.cluster import recipe as recipes

        with quiet():
            if recipe.source is not None:
                path = Path(split(recipe.method)[0])
                if path.read_bytes() != recipe.source:
                    raise _changed(str(path))
            loaded = recipes.load(recipe, _not_again, Path())
            while True:
                _do(connection.recv(), loaded, connection)
    except BenchError as error:
        connection.send(Told(error=str(error)))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the first process says it
        connection.send(Told(error=f"{plugins.fault(error)}."))


def _do(task: Task, loaded: engine.Loaded, connection: Connection) -> None:
    """Describe shards of a job that no other process describes."""
    work = replace(task.work, loaded=loaded)
    count = Count(connection, task.number)
    for shard in shards.claim(work.store, list(task.todo), partial=work.allow_missing):
        start = time.perf_counter()
        faults = tuple(extract.make_shard(work, shard, count).values())
        taken = time.perf_counter() - start
        connection.send(Told(task.number, shard=shard, faults=faults, seconds=taken))
    connection.send(Told(task.number, over=True))


def _not_again(path: str, _at: int) -> bytes:
    raise _changed(path)


def _changed(path: str) -> BenchError:
    return BenchError(f"{path} changed during the run; run the same command again.")
