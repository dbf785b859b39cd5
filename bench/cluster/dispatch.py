"""Shards handed out to the workers of a cluster, one at a time to each, as they get free.

A shard is handed out again when its worker dies, and a second time when a worker that is idle
would be done with it sooner; the first answer counts. Only this process puts shards in their
place, holding their locks as a local run does, so a worker that was given up can do no harm.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import secrets
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import BaseFileLock

from bench.cluster import crew as crews
from bench.cluster import recipe as recipes
from bench.cluster import search as searching
from bench.cluster.crew import Crew, Hand
from bench.cluster.worker import Answer, Order
from bench.describe import engine, extract
from bench.errors import BenchError
from bench.search.block import Asked, Counted
from bench.store import shards
from bench.store.matrix import Matrix
from bench.system.paths import write_bytes
from bench.system.progress import Progress

TICK_S = 0.5
DEATHS = 5  # of workers with the same shard
ERRORS = 2  # of workers with the same shard
GAIN = 1.2  # how much sooner an idle worker has to be done than the one with the shard
_numbers = itertools.count()


@dataclass
class Task:
    """A shard in the hands of a worker."""

    job: int
    turn: int
    shard: int
    images: int
    answer: Any
    kept: shards.Store
    start: float = field(default_factory=time.monotonic)
    asked: Any = None
    done: int = 0

    def left_s(self) -> float:
        """Return the seconds to its end, as far as can be told; 0 where nothing can be."""
        taken = time.monotonic() - self.start
        return taken / self.done * (self.images - self.done) if self.done else 0.0


@contextlib.contextmanager
def crew(
    ray: Any, method: str, weights: str | None, loaded: engine.Loaded, url: str | None
) -> Iterator[Cluster]:
    """Give what describes on the cluster that `ray` is connected to, until the end of the block."""
    hired = Crew(ray, recipes.of(method, weights, loaded))
    cluster = Cluster(hired, url)
    try:
        yield cluster
    finally:
        hired.close()
        cluster.tidy()


@dataclass
class Cluster:
    """The engine `ray`: called as `extract.one_by_one` is, it makes the missing shards of a job."""

    crew: Crew
    url: str | None = None
    stores: list[shards.Store] = field(default_factory=list)

    def __call__(self, job: extract.Job, progress: Progress) -> tuple[int, list[str]]:
        """Make the shards; return images described, and a sentence for each that cannot be."""
        if not job.todo:
            return 0, []
        self.stores.append(job.work.store)
        return _Round(self, job, progress).run()

    def hand_out(
        self,
        parts: list[Matrix],
        asked: Asked,
        lasts: Callable[[], Any],
        advance: Callable[[int], None],
    ) -> Iterable[Counted]:
        """Search on the cores that the workers let go of; see `bench.cluster.search`."""
        self.crew.rest()
        return searching.over(self.crew.ray)(parts, asked, lasts, advance)

    def about(self) -> list[dict[str, Any]]:
        """Return what a record keeps of every node."""
        return self.crew.about()

    def tidy(self) -> None:
        """Remove what workers had written of shards that others were sooner with."""
        for kept in self.stores:
            shards.tidy(kept)


class _Round:
    """The shards of one job on their way: to do, in work, done."""

    def __init__(self, cluster: Cluster, job: extract.Job, progress: Progress) -> None:
        self.crew, self.work, self.progress = cluster.crew, job.work, progress
        self.ray, self.kept = cluster.crew.ray, job.work.store
        self.number, self.url, self.phase = next(_numbers), cluster.url, job.phase
        self.free = deque(job.todo)
        self.elsewhere: deque[int] = deque()  # another process holds their locks
        self.locks: dict[int, BaseFileLock] = {}
        self.left = shards.leftovers(self.kept)
        self.faults: dict[int, dict[int, str]] = {}
        self.deaths: dict[int, int] = {}
        self.errors: dict[int, list[tuple[Hand, str]]] = {}
        self.images = self.shown = 0
        self.looked = 0.0

    def run(self) -> tuple[int, list[str]]:
        """Hand out until every shard is in its place."""
        self.nonce = secrets.token_hex(16)
        try:
            self.order = self.ray.put(Order(self.kept, self.work.make, self.nonce, self.url))
            while self.free or self.elsewhere or self.locks:
                self.crew.tend()
                self._hand_out()
                self._wait()
                self._look()
            self._show(self.images)
        finally:
            for lock in self.locks.values():
                lock.release()
            self._give_up(None)
        faults = [why for _, each in sorted(self.faults.items()) for _, why in sorted(each.items())]
        return self.images, faults

    def _hand_out(self) -> None:
        """Give every idle worker a free shard, or the shard of a slow worker a second time."""
        for hand in list(self.crew.hands):
            if not hand.ready or hand.doing is not None:
                continue
            shard = self._next(hand)
            if shard is None:
                shard = self._slow(hand)
            if shard is not None:
                self._give(hand, shard)

    def _next(self, hand: Hand) -> int | None:
        """Return a free shard, locked; None if there is none."""
        for _ in range(len(self.free)):
            shard = self.free.popleft()
            if any(hand is other for other, _ in self.errors.get(shard, ())) and self._others(hand):
                self.free.append(shard)
            elif self._lock(shard):
                return shard
        for _ in range(len(self.elsewhere)):
            shard = self.elsewhere.popleft()
            if self._lock(shard):
                return shard
        return None

    def _others(self, hand: Hand) -> bool:
        return any(other is not hand for other in self.crew.hands)

    def _lock(self, shard: int) -> bool:
        """Take a shard's lock; False where another process has it, or the shard is there."""
        if shard in self.locks:
            return True
        lock = shards.take(self.kept, shard, self.left.pop(shard, ()))
        if lock is None:
            self.elsewhere.append(shard)
            return False
        if shards.has(self.kept, shard, partial=self.work.allow_missing):
            lock.release()
            self.progress.leave_out(self._size(shard))
            return False
        self.locks[shard] = lock
        Path(lock.lock_file).write_text(self.nonce)  # who reads it sees the folder of the store
        return True

    def _slow(self, hand: Hand) -> int | None:
        """Return the shard in work that this worker would finish soonest before the one it is with.

        Speed is known from shards done; a worker without any is as fast as the others.
        """
        rates = [hand.rate for hand in self.crew.hands if hand.rate]
        rate = hand.rate or (statistics.median(rates) if rates else None)
        if rate is None or self.free:
            return None
        late: list[tuple[float, int]] = []
        for shard in self.locks:
            tasks = self._tasks(shard)
            ours = self._size(shard) / rate
            waited = min((time.monotonic() - task.start for task in tasks), default=0.0)
            left = min((task.left_s() or self._silent(task, ours) for task in tasks), default=0.0)
            if left > GAIN * ours and waited > ours / 4:
                late.append((left - ours, shard))
        return max(late)[1] if late else None

    def _silent(self, task: Task, ours: float) -> float:
        """Return the seconds left of a task of which nothing is known: long, if it takes long."""
        taken = time.monotonic() - task.start
        return 2 * GAIN * ours if taken > GAIN * ours + TICK_S else 0.0

    def _tasks(self, shard: int) -> list[Task]:
        doing = (hand.doing for hand in self.crew.hands)
        return [task for task in doing if task and (task.job, task.shard) == (self.number, shard)]

    def _size(self, shard: int) -> int:
        first, end = self.kept.span(shard)
        return end - first

    def _give(self, hand: Hand, shard: int) -> None:
        turn = next(_numbers)
        part = self.work.listed.part(*self.kept.span(shard))
        call = hand.actor.describe.options(concurrency_group="work")
        answer = call.remote(self.order, turn, shard, part)
        hand.doing = Task(self.number, turn, shard, self._size(shard), answer, self.kept)

    def _wait(self) -> None:
        """Wait a moment for answers, and take those that are there."""
        refs = {hand.greeting: hand for hand in self.crew.hands if not hand.ready}
        refs |= {hand.doing.answer: hand for hand in self.crew.hands if hand.doing is not None}
        if not refs:
            time.sleep(TICK_S)
            return
        there, _ = self.ray.wait(list(refs), num_returns=1, timeout=TICK_S)
        if there:  # those that came at the same time
            there, _ = self.ray.wait(list(refs), num_returns=len(refs), timeout=0)
        for ref in there:
            hand = refs[ref]
            if hand.ready:
                self._take(hand)
            else:
                self.crew.greet(hand)
                if self.images == 0:  # what went before tells nothing of the time left
                    self.progress.start = time.perf_counter()

    def _take(self, hand: Hand) -> None:
        """Take the answer of a worker: put the shard in its place, or hand it out again."""
        task: Task = hand.doing
        hand.doing = None
        try:
            answer: Answer = self.ray.get(task.answer)
        except self.ray.exceptions.RayActorError as error:
            self.crew.lose(hand, crews.first_line(error))
            self._died(task, hand)
            return
        except self.ray.exceptions.RayError as error:
            answer = Answer(error=f"{crews.first_line(error)}.")
        for note in answer.notes:
            crews.say(f"{hand.node.host}: {note}")
        if task.job != self.number or task.shard not in self.locks:  # another worker was sooner
            if answer.file is not None:
                (task.kept.folder / answer.file).unlink(missing_ok=True)
        elif answer.error is not None:
            self._failed(task, hand, answer.error)
        else:
            self._place(task, hand, answer)

    def _place(self, task: Task, hand: Hand, answer: Answer) -> None:
        """Put a shard in its place, and its manifest beside it."""
        path = self.kept.path(task.shard)
        if answer.content is not None:
            content = answer.content.tobytes()
            if hashlib.sha256(content).hexdigest() == answer.sha256:
                write_bytes(path, content)
        elif answer.file is not None:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(answer.file).replace(path)
        shards.seal(
            self.kept,
            task.shard,
            answer.sha256,
            extract.inside(self.work.listed.folder, answer.faults),
        )
        if not shards.has(self.kept, task.shard, partial=True):
            path.with_suffix(".json").unlink(missing_ok=True)
            self._failed(task, hand, f"shard {task.shard} arrived incomplete.")
            return
        self.locks.pop(task.shard).release()
        self._give_up(task.shard)
        self.faults[task.shard] = answer.faults
        self.images += task.images
        node = hand.node
        hand.images, hand.seconds = hand.images + task.images, hand.seconds + answer.seconds
        node.failures = 0
        node.shards, node.images = node.shards + 1, node.images + task.images
        node.fetched += answer.fetched
        node.seconds += answer.seconds

    def _give_up(self, shard: int | None) -> None:
        """Stop the workers that are still at this shard, or, None, at any of this job."""
        for hand in self.crew.hands:
            task = hand.doing
            if task and task.job == self.number and shard in (None, task.shard):
                hand.actor.stop.options(concurrency_group="ask").remote(task.turn)

    def _again(self, shard: int) -> None:
        """Let a shard be handed out, unless another worker has it too."""
        if shard in self.locks and not self._tasks(shard):
            self.free.appendleft(shard)

    def _died(self, task: Task, hand: Hand) -> None:
        if task.job != self.number:
            return
        died = self.deaths[task.shard] = self.deaths.get(task.shard, 0) + 1
        if died == DEATHS:
            first, end = self.kept.span(task.shard)
            raise BenchError(
                f"{DEATHS} workers ended while they described the images {first} to {end - 1} of "
                f"the list ({self.phase}), the last on {hand.node.host}; perhaps because memory "
                "ran out: a smaller --batch-megapixels needs less. Finished shards are kept."
            )
        self._again(task.shard)

    def _failed(self, task: Task, hand: Hand, error: str) -> None:
        """Let another worker try, if there is one; else say what is wrong."""
        if error != "stopped":
            errors = self.errors.setdefault(task.shard, [])
            errors.append((hand, error))
            if len(errors) == ERRORS or not self._others(hand):
                raise BenchError(f"{hand.node.host}: {error}")
        self._again(task.shard)

    def _look(self) -> None:
        """Ask the workers how far they are, and show it."""
        if time.monotonic() - self.looked < TICK_S:
            return
        self.looked = time.monotonic()
        in_work: dict[int, int] = {}
        for hand in self.crew.hands:
            task = hand.doing
            if task is None or task.job != self.number:
                continue
            if task.asked is None:
                task.asked = hand.actor.done.options(concurrency_group="ask").remote()
            elif self.ray.wait([task.asked], timeout=0)[0]:
                with contextlib.suppress(self.ray.exceptions.RayError):
                    turn, count = self.ray.get(task.asked)
                    task.done = count if turn == task.turn else 0
                task.asked = None
            in_work[task.shard] = max(task.done, in_work.get(task.shard, 0))
        self._show(self.images + sum(in_work.values()))

    def _show(self, far: int) -> None:
        """Show how many images are done, by how many workers."""
        working = [hand for hand in self.crew.hands if hand.ready]
        hosts = len({id(hand.node) for hand in working})
        many = f"{len(working)} worker{'s' * (len(working) != 1)}"
        where = f"{many} on {hosts} node{'s' * (hosts != 1)}" if working else "waiting for a worker"
        self.progress.rename(f"{self.phase} ({where})")
        if far > self.shown:
            self.progress.advance(far - self.shown)
            self.shown = far
