"""The workers of a cluster: one per GPU, or one per as many cores as this process has threads.

Nodes are looked at every few seconds, so that one that comes, or comes back, gets workers, and a
worker that died is replaced. One that would not compute the same, or whose device cannot do what
is asked, takes no part; the sentence that says why is printed once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bench.cluster import head
from bench.cluster.recipe import Recipe
from bench.cluster.worker import Files, Hello, Worker
from bench.errors import BenchError
from bench.system.notes import note

LOOK_S = 2.0  # between two looks at the nodes
TRIES = 5  # workers in a row that a node may lose without a shard
WAIT_S = 300.0  # for a worker, where none is left


@dataclass
class Node:
    """A machine of the cluster, and what its workers have done."""

    host: str
    cores: int
    gpus: int
    alive: bool = True
    failures: int = 0
    refused: str | None = None
    hello: Hello | None = None
    workers: int = 0
    shards: int = 0
    images: int = 0
    fetched: int = 0
    seconds: float = 0.0  # in which its workers described, added up

    def rate(self) -> float | None:
        """Return images per second of all its workers while they describe."""
        return self.workers * self.images / self.seconds if self.seconds else None


@dataclass
class Hand:
    """A worker as the driver sees it: an actor, and the calls it has not answered yet."""

    number: int
    actor: Any
    node: Node
    greeting: Any
    ready: bool = False
    doing: Any = None  # the task in work, of `bench.cluster.dispatch`
    images: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float | None:
        """Return images per second, None before the first shard."""
        return self.images / self.seconds if self.seconds else None


class Crew:
    """The workers of one method, started when there is work; close it at the end."""

    def __init__(self, ray: Any, recipe: Recipe) -> None:
        """Take the recipe; nothing is started yet."""
        self.ray, self.recipe = ray, recipe
        self.nodes: dict[str, Node] = {}
        self.hands: list[Hand] = []
        self.sent: Any = None
        self.looked = -LOOK_S
        self.empty_since: float | None = None
        self.started = 0

    def tend(self) -> None:
        """Look for nodes that came or went, and give each the workers that it lacks."""
        if time.monotonic() - self.looked < LOOK_S:
            return
        self.looked = time.monotonic()
        if self.sent is None:
            self.sent = self.ray.put(self.recipe)
            self.files = self._files()
        if head.fault(head.address_of(self.ray)):  # every call below would wait
            return
        for about in self.ray.nodes():
            self._note(about)
            if about["Alive"]:
                self._fill(about["NodeID"])
        self._check()

    def greet(self, hand: Hand) -> None:
        """Take the answer of a worker that has been started."""
        try:
            hello: Hello = self.ray.get(hand.greeting)
        except self.ray.exceptions.RayError as error:
            self.lose(hand, first_line(error))
            return
        node = hand.node
        node.hello, node.host = hello, hello.host
        if hello.error is None:
            hand.ready = True
        else:
            node.refused = hello.error
            self._let_go(hand)
            say(f"{node.host} is not used: {hello.error}")

    def lose(self, hand: Hand, why: str) -> None:
        """Do without a worker that died, or that cannot be reached."""
        if hand not in self.hands:
            return
        self._let_go(hand)
        node = hand.node
        node.failures += 1
        if node.failures == TRIES and node.alive:
            node.refused = f"{TRIES} successive workers ended on it ({why})."
            say(f"{node.host} is no longer used: {node.refused}")
        self.looked = min(self.looked, time.monotonic() - LOOK_S + 0.5)

    def rest(self) -> None:
        """End the workers, so that their cores and GPUs are free; `tend` starts others."""
        for hand in list(self.hands):
            self._let_go(hand)

    def close(self) -> None:
        """End all that was started."""
        self.rest()
        if self.sent is not None:
            self.ray.kill(self.files)

    def about(self) -> list[dict[str, Any]]:
        """Return what a record keeps of every node."""
        listed = []
        for node in self.nodes.values():
            hello, rate = node.hello or Hello(node.host), node.rate()
            listed.append(
                {
                    "host": node.host,
                    "cores": node.cores,
                    "device": hello.device or None,
                    "device_name": hello.device_name or None,
                    "precision": hello.precision or None,
                    "workers": node.workers,
                    "shards": node.shards,
                    "images": node.images,
                    "images_per_s": None if rate is None else round(rate, 3),
                    "fetched_bytes": node.fetched,
                    "lost": not node.alive,
                    "refused": node.refused,
                }
            )
        return listed

    def _note(self, about: dict[str, Any]) -> None:
        """Keep what is new about a node."""
        number, alive = about["NodeID"], bool(about["Alive"])
        if number not in self.nodes:
            if not alive:  # before our time
                return
            has = about["Resources"]
            self.nodes[number] = Node(
                about["NodeManagerHostname"], int(has.get("CPU", 0)), int(has.get("GPU", 0))
            )
        node = self.nodes[number]
        if node.alive and not alive:
            say(f"the node {node.host} is lost; other nodes take over its shards")
        node.alive = alive

    def _fill(self, number: str) -> None:
        """Start the workers that a node lacks."""
        node = self.nodes[number]
        if node.refused is not None:
            return
        if self.recipe.device == "cuda" and not node.gpus and node.cores:
            node.refused = "it has no GPU, and this run uses GPUs."
            say(f"{node.host} is not used: {node.refused}")
            return
        cores = min(self.recipe.threads, node.cores)
        if self.recipe.device == "cuda":
            wanted, gpus = node.gpus, 1
            cores = min(cores, node.cores // max(1, node.gpus))
        else:
            wanted, gpus = node.cores // max(1, cores), 0
        there = sum(hand.node is node for hand in self.hands)
        node.workers = max(node.workers, wanted)
        for _ in range(wanted - there):
            self._start(number, cores, gpus)

    def _start(self, number: str, cores: int, gpus: int) -> None:
        made = self.ray.remote(concurrency_groups={"work": 1, "ask": 1})(Worker).options(
            num_cpus=cores,
            num_gpus=gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=self._on(number),
        )
        actor = made.remote(self.sent, self.files)
        self.started += 1
        greeting = actor.hello.options(concurrency_group="work").remote()
        self.hands.append(Hand(self.started, actor, self.nodes[number], greeting))

    def _files(self) -> Any:
        """Start the actor that reads the driver's files, on the driver's host."""
        here = self.ray.get_runtime_context().get_node_id()
        made = self.ray.remote(Files).options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=3,
            max_concurrency=4,
            scheduling_strategy=self._on(here),
        )
        return made.remote()

    def _on(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=False)

    def _let_go(self, hand: Hand) -> None:
        self.hands.remove(hand)
        self.ray.kill(hand.actor)

    def _check(self) -> None:
        """Refuse to wait for missing resources; print the awaited resource."""
        if self.hands:
            self.empty_since = None
            return
        alive = [node for node in self.nodes.values() if node.alive]
        refused = [f"{node.host}: {node.refused}" for node in alive if node.refused]
        if refused and len(refused) == sum(node.cores + node.gpus > 0 for node in alive):
            raise BenchError(f"no machine of the cluster can run this command. {' '.join(refused)}")
        now = time.monotonic()
        what = "GPU" if self.recipe.device == "cuda" else "processor core"
        if self.empty_since is None:
            self.empty_since = now
            say(f"no node of the cluster has a free {what} for a worker; waiting")
        elif now - self.empty_since > WAIT_S:
            raise BenchError(
                f"no node of the cluster had a free {what} for a worker in {WAIT_S:.0f} s; add a "
                "node and run the same command again: finished shards are kept."
            )


def say(text: str) -> None:
    """Print a line for the user."""
    note(text)


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
